package web

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"signpost/internal/domain"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
	"signpost/internal/report/summary"
)

// ErrNotHosted is the error of Site.About for a domain that this site does not host.
var ErrNotHosted = errors.New("this domain is not hosted here")

// receivedSpans returns the periods of the pages of received reports.
func receivedSpans() []span {
	return []span{{"30d", "30 days", oneDay, 30}, {"7d", "a week", oneDay, 7}, {"90d", "3 months", 3 * oneDay, 30}, {"360d", "a year", 12 * oneDay, 30}}
}

const oneDay = 24 * time.Hour

// mostRows limits the lists of a page about a domain.
const mostRows = 10

// period is the part of the models that have a period.
type period struct {
	Spans []link
	Since time.Time
	span
}

// choosePeriod returns the period that a request asks for, for a page at a path. It begins and ends with UTC days, as reports do, and ends with
// yesterday.
func choosePeriod(r *http.Request, path string, now time.Time) (p period) {
	all := receivedSpans()
	p.span = all[0]
	for _, sp := range all {
		if sp.name == r.FormValue("span") {
			p.span = sp
		}
	}
	for _, sp := range all {
		p.Spans = append(p.Spans, link{Path: path + "?span=" + sp.name, Name: sp.label, Here: sp == p.span})
	}
	p.begin(now)
	return p
}

// latestPeriod returns the first of the periods.
func latestPeriod(now time.Time) (p period) {
	p.span = receivedSpans()[0]
	p.begin(now)
	return p
}

func (p *period) begin(now time.Time) {
	p.Since = now.UTC().Truncate(oneDay).Add(-time.Duration(p.bars) * p.step)
}

// filter returns the reports of the period.
func (p period) filter(name string) received.Filter {
	return received.Filter{Domain: name, Since: p.Since, Until: p.end()}
}

func (p period) end() time.Time { return p.Since.Add(time.Duration(p.bars) * p.step) }

// domainLine is a domain with the number of its alarms.
type domainLine struct {
	received.Domain
	Link   string
	Alarms int
}

type receivedList struct {
	view
	period
	None    bool // no report was received yet
	Domains []domainLine
	Silent  []string
	Foreign int
	Alarms  []status.Alarm
	Omitted int
}

// mostDomains limits the domains on the page. Those with most messages are shown.
const mostDomains = 500

func (s *site) received(r *http.Request) shown {
	m := &receivedList{view: view{Title: "Reports received"}, period: choosePeriod(r, "/received", s.Now())}
	o, err := s.Received(r.Context(), m.filter(""))
	if m.None = errors.Is(err, received.ErrNone); err != nil && !m.None {
		m.wrong(http.StatusServiceUnavailable, err.Error())
	}
	alarms := map[string]int{}
	for _, a := range o.Alarms {
		alarms[a.Domain]++
	}
	for _, d := range o.Domains[:min(len(o.Domains), mostDomains)] {
		m.Domains = append(m.Domains, domainLine{d, "/received/" + url.PathEscape(d.Domain) + "?span=" + m.name, alarms[d.Domain]})
	}
	m.Silent, m.Foreign, m.Alarms = o.Silent[:min(len(o.Silent), mostDomains)], o.Foreign, o.Alarms[:min(len(o.Alarms), mostRows)]
	m.Omitted = o.Omitted + len(o.Alarms) - len(m.Alarms)
	return m
}

type receivedAbout struct {
	view
	period
	About    received.About
	Found    bool
	Numbers  []number
	PassRate string
	Charts   []*chart
	Lists    []sourceList
	More     int // reporters that are not on the page
}

// sourceList is a table of sources.
type sourceList struct {
	ID, Title string
	Sources   []received.Source
	More      int // sources that are not on the page
}

func (s *site) receivedAbout(r *http.Request) shown {
	m := &receivedAbout{view: view{Title: "Reports received"}}
	name, err := domain.ParseArgument(r.PathValue("domain"))
	if err != nil {
		m.wrong(http.StatusNotFound, ErrNotHosted.Error())
		return m
	}
	m.period = choosePeriod(r, "/received/"+url.PathEscape(name), s.Now())
	a, err := s.About(r.Context(), m.filter(name))
	switch {
	case errors.Is(err, ErrNotHosted), errors.Is(err, received.ErrNone):
		m.wrong(http.StatusNotFound, err.Error())
		return m
	case err != nil:
		m.wrong(http.StatusServiceUnavailable, err.Error())
		return m
	}
	m.Title, m.Found, m.About = "Reports received about "+name, true, a
	m.Numbers = []number{{"messages", a.Messages}, {"passed DMARC", a.Passed}, {"failed DMARC", a.Failed}, {"reporters", int64(len(a.Reporters))}}
	m.PassRate = summary.Percent(a.Passed, a.Messages)
	if m.More = max(0, len(a.Reporters)-mostRows); m.More > 0 {
		m.About.Reporters = a.Reporters[:mostRows]
	}
	for _, l := range []struct {
		sourceList
		count int
	}{{sourceList{ID: "sources", Title: "Sources of mail", Sources: a.Most}, a.Count}, {sourceList{ID: "failing", Title: "Who sends in the name of " + name + " and fails", Sources: a.MostFailed}, a.Failing}} {
		l.Sources = l.Sources[:min(len(l.Sources), mostRows)]
		l.More = l.count - len(l.Sources)
		m.Lists = append(m.Lists, l.sourceList)
	}
	m.draw()
	return m
}

// draw draws the charts: messages by result, and failed messages by cause.
func (m *receivedAbout) draw() {
	cost := &chart{ID: "causes", Title: "Failed messages by cause, of trusted reporters"}
	for i, name := range []string{"own addresses", "known sources", "forwarded", "addresses that also pass", "addresses that never pass"} { // as Causes
		cost.Series = append(cost.Series, series{Name: name, Class: "c-" + string(received.Causes()[i])})
	}
	m.period.add(cost, func(add func(day time.Time, n ...int64)) {
		for _, d := range m.About.Cost.PerDay {
			add(d.Day, d.Failed...)
		}
	})
	m.Charts = append(m.Charts, m.volume(m.About.Days), cost)
}

// volume returns the chart of the messages of reports by result.
func (p period) volume(days []received.Day) *chart {
	c := &chart{ID: "volume", Title: "Messages by DMARC result", Series: []series{{Name: "passed", Class: "r-pass"}, {Name: "failed", Class: "r-fail"}}}
	p.add(c, func(add func(day time.Time, n ...int64)) {
		for _, d := range days {
			add(d.Day, d.Passed, d.Failed)
		}
	})
	return c
}

// add draws a chart of the period. fill calls its argument with the numbers of each day.
func (p period) add(c *chart, fill func(add func(day time.Time, n ...int64))) {
	for i := range p.bars {
		c.Rows = append(c.Rows, row{Start: p.Since.Add(time.Duration(i) * p.step), N: make([]int64, len(c.Series))})
	}
	fill(func(day time.Time, n ...int64) {
		if at := int(day.Sub(p.Since) / p.step); !day.Before(p.Since) && at < p.bars {
			for i := range n {
				c.Rows[at].N[i] += n[i]
			}
		}
	})
	c.draw(p.step, func(t time.Time) string { return t.Format(time.DateOnly) })
	c.Days = true
}
