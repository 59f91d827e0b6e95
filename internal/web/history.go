package web

import (
	"net/http"
	"net/url"
	"time"

	"signpost/internal/domain"
	"signpost/internal/journal"
)

// historySpans returns the periods of the history of a domain.
func historySpans() []span {
	return []span{{"14d", "2 weeks", oneDay, 14}, {"30d", "30 days", oneDay, 30}, {"90d", "3 months", 3 * oneDay, 30}}
}

type history struct {
	view
	traffic
	Name   string
	Spans  []link
	Links  []link
	Whole  bool // all messages are counted
	Looked bool
}

// history shows the messages of an Author Domain per day. Those of a hosted domain are both its outbound mail and mail from other hosts
// in its name.
func (s *site) history(r *http.Request) shown {
	m := &history{view: view{Title: "History"}}
	name := r.PathValue("domain")
	if len(name) > maxText {
		m.wrong(http.StatusBadRequest, "the name of the domain is too long")
		return m
	}
	if parsed, err := domain.ParseArgument(name); err == nil { // otherwise it is what the sender wrote
		name = parsed
	}
	if s.signs(r.Context(), name) {
		m.Links = append(m.Links, link{Path: "/domain/" + url.PathEscape(name), Name: "all about " + name}, link{Path: "/received/" + url.PathEscape(name), Name: "reports received about it"})
	}
	m.Name = name
	m.Title = "Messages of " + show(name)
	path := "/history/" + url.PathEscape(name)
	chosen := choose(r, historySpans())
	m.Spans = spanLinks(path, historySpans(), chosen)
	m.Links = append([]link{{Path: search(url.Values{"domain": {name}}), Name: "its messages"}}, m.Links...)
	s.read(&m.view, func(reader *journal.Reader) error {
		start := chosen.start(s.Now())
		hours, whole, err := reader.History(r.Context(), journal.Filter{Domain: name, Since: start})
		if err != nil {
			return err
		}
		m.Looked, m.Whole = true, whole
		m.count(hours, chosen, start, url.Values{"domain": {name}})
		return nil
	})
	return m
}

// start returns the beginning of the first bar. The last bar contains the present time. Bars begin at midnight in the time zone of the
// page, or at a multiple of step after midnight.
func (sp span) start(now time.Time) time.Time {
	day := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	end := day.Add((now.Sub(day)/sp.step + 1) * sp.step)
	return end.Add(-time.Duration(sp.bars) * sp.step)
}

// choose returns the span that a request names, or the first.
func choose(r *http.Request, all []span) span {
	for _, sp := range all {
		if sp.name == r.FormValue("span") {
			return sp
		}
	}
	return all[0]
}

func spanLinks(path string, all []span, chosen span) (links []link) {
	for _, sp := range all {
		links = append(links, link{Path: path + "?span=" + sp.name, Name: sp.label, Here: sp == chosen})
	}
	return links
}
