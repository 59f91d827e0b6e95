package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/cluster/messages"
	"signpost/internal/explain"
	"signpost/internal/journal"
)

type message struct {
	view
	Entry              *journal.Entry // nil: not found
	Host               string         // empty: this host
	Codes              string         // the codes of the reply, if there is one
	Explained          explain.Explanation
	Sections           []section
	OfDomain, OfClient string // addresses of searches
	History            string // of the domain
	Parts              []messagePart
}

// messagePart is what a host did with the message, if several hosts handled it.
type messagePart struct {
	Time      time.Time
	Host, Did string
	Link      string // empty: this page
}

// section is a part of the explanation.
type section struct {
	Title string
	Rows  []rows
}

// rows are a label and the texts under it.
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

func (s *site) message(r *http.Request) shown {
	m := &message{view: view{Title: "Message"}}
	number, err := strconv.ParseInt(r.PathValue("number"), 10, 64)
	if err != nil {
		m.wrong(http.StatusNotFound, "The address must end with the number of a message. Use the search to find a message.")
		return m
	}
	if host := r.URL.Query().Get("host"); host != "" {
		m.ofHost(r.Context(), s.Cluster, messages.Position{ID: number, Host: host})
		s.findParts(r.Context(), m)
		return m
	}
	s.read(&m.view, func(reader *journal.Reader) error {
		all, err := reader.Entries(r.Context(), []int64{number})
		if len(all) == 0 && err == nil {
			err = reader.Unread()
		}
		switch {
		case err != nil:
			return err
		case len(all) == 0:
			m.wrong(http.StatusNotFound, "This message is not in the journal. Old messages are deleted after journal.keep.")
		default:
			m.fill(&all[0])
		}
		return nil
	})
	s.findParts(r.Context(), m)
	return m
}

// partsTime limits the search for the parts of a message on other hosts.
const partsTime = 2 * time.Second

// findParts finds what other hosts of the cluster did with the message. The rest of the page does not depend on it.
func (s *site) findParts(ctx context.Context, m *message) {
	if s.Cluster == nil || m.Entry == nil || m.Entry.MessageID == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, partsTime)
	defer cancel()
	found, err := messages.Find(ctx, *s.Cluster, m.Entry.MessageID)
	if err != nil {
		return
	}
	all := found.Messages
	s.read(&view{}, func(reader *journal.Reader) error {
		entries, err := reader.Find(ctx, m.Entry.MessageID)
		for _, e := range entries {
			all = append(all, messages.Message{Host: s.Host, Entry: e})
		}
		return err
	})
	host := cmp.Or(m.Host, s.Host)
	here := func(p messages.Message) bool { return p.ID == m.Entry.ID && p.Host == host }
	for _, group := range messages.Group(all) {
		if len(group) < 2 || !slices.ContainsFunc(group, here) {
			continue
		}
		for _, p := range group {
			part := messagePart{Time: p.Time, Host: p.Host, Did: explain.Did(&p)}
			switch {
			case here(p):
			case p.Host == s.Host:
				part.Link = "/message/" + strconv.FormatInt(p.ID, 10)
			default:
				part.Link = "/message/" + strconv.FormatInt(p.ID, 10) + "?" + url.Values{"host": {p.Host}}.Encode()
			}
			m.Parts = append(m.Parts, part)
		}
	}
}

// ofHost shows a message of another host.
func (m *message) ofHost(ctx context.Context, client *control.Client, at messages.Position) {
	if client == nil {
		m.wrong(http.StatusNotFound, "This host does not belong to a cluster.")
		return
	}
	a, err := messages.Get(ctx, *client, at)
	switch {
	case err != nil:
		cause, _, _ := strings.Cut(err.Error(), "\n")
		m.wrong(http.StatusServiceUnavailable, cause)
	case len(a.Messages) == 0 && a.Omitted() != "":
		m.wrong(http.StatusServiceUnavailable, a.Omitted())
	case len(a.Messages) == 0:
		m.wrong(http.StatusNotFound, "This message is not in the database. Old messages are deleted after cluster.keep.")
	default:
		m.Host = at.Host
		m.fill(&a.Messages[0].Entry)
	}
}

func (m *message) fill(e *journal.Entry) {
	m.Entry = e
	if r := e.Reply; r.Code != 0 {
		m.Codes = fmt.Sprintf("%d %s", r.Code, r.Enhanced)
	}
	if e.QueueID != "" {
		m.Title = "Message " + show(e.QueueID)
	}
	if d := e.Domain(); d != "" {
		m.OfDomain, m.History = search(url.Values{"domain": {d}}), historyOf(d)
	}
	if a := e.Client; a.IsValid() {
		m.OfClient = search(url.Values{"client": {a.WithZone("").String()}})
	}
	m.Explained = explain.Message(&e.Record)
	if e.Cut {
		m.Explained.Head = append(m.Explained.Head, explain.Row{Label: "incomplete", Text: journal.CutNote})
	}
	x := m.Explained
	m.Sections = []section{{"Session", gather(x.Head)}, {"Checks", gather(x.Found)}, {"Decision", gather(x.Decided)}}
}
