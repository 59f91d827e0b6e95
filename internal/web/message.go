package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"signpost/internal/explain"
	"signpost/internal/journal"
)

type message struct {
	view
	Entry              *journal.Entry // nil: there is none
	Client             string
	Reply              string // the codes, where the verdict has some
	Story              explain.Story
	Told               []told
	OfDomain, OfClient string // the way to others
	Results            []result
}

// told is a part of the story.
type told struct {
	Title string
	Rows  []rows
}

// rows are a label and all that is said under it.
type rows struct {
	Label string
	Texts []string
}

func gather(all []explain.Row) (out []rows) {
	for _, r := range all {
		if r.Label != "" || len(out) == 0 {
			out = append(out, rows{Label: r.Label})
		}
		out[len(out)-1].Texts = append(out[len(out)-1].Texts, r.Text)
	}
	return out
}

func (s *site) message(r *http.Request) (string, shown) {
	m := &message{view: view{Title: "Message"}}
	number, err := strconv.ParseInt(r.PathValue("number"), 10, 64)
	if err != nil {
		m.wrong(http.StatusNotFound, "A message has a number; search for its queue ID.")
		return "message", m
	}
	reader, err := s.Open()
	if err != nil {
		m.wrong(http.StatusServiceUnavailable, err.Error())
		return "message", m
	}
	defer reader.Close()
	all, err := reader.Entries(r.Context(), []int64{number})
	if len(all) == 0 && err == nil {
		err = reader.Unread()
	}
	switch {
	case err != nil:
		m.wrong(http.StatusServiceUnavailable, "reading the journal: "+err.Error())
		return "message", m
	case len(all) == 0:
		m.wrong(http.StatusNotFound, "This message is not in the journal, or no longer: it forgets what is old.")
		return "message", m
	}
	e := &all[0]
	m.Entry, m.Results, m.Client = e, results(e), client(e)
	_, m.Reply, _ = strings.Cut(e.Done, " ")
	if e.Evidence.QueueID != "" {
		m.Title = "Message " + show(e.Evidence.QueueID)
	}
	if d := e.Domain(); d != "" {
		m.OfDomain = search(url.Values{"domain": {d}})
	}
	if a := e.Evidence.Connection.Client; a.IsValid() {
		m.OfClient = search(url.Values{"client": {a.WithZone("").String()}})
	}
	m.Story = explain.Tell(e.Report)
	if e.Cut {
		m.Story.Head = append(m.Story.Head, explain.Row{Label: "incomplete", Text: journal.CutNote})
	}
	m.Told = []told{{"Who brought it", gather(m.Story.Head)}, {"What was found", gather(m.Story.Found)}, {"What was decided", gather(m.Story.Decided)}}
	return "message", m
}
