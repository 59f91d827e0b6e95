package web

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"signpost/internal/journal"
	"signpost/policy"
)

// span is a period that the overview can show, in bars of length step.
type span struct {
	name, label string
	step        time.Duration
	bars        int
}

func spans() []span {
	return []span{{"1d", "a day", time.Hour, 24}, {"7d", "a week", 6 * time.Hour, 28}, {"14d", "2 weeks", 12 * time.Hour, 28}, {"90d", "3 months", 72 * time.Hour, 30}}
}

// number is a total.
type number struct {
	Name string
	N    int64
}

// sources are the sources of failing mail.
type sources struct {
	ID, Title, Column string
	Counts            []linked
	Whole             bool
}

type linked struct {
	journal.Count
	Link string
}

// kept describes the journal file.
type kept struct {
	File           string
	Size           int64
	Oldest, Newest time.Time
}

type overview struct {
	view
	start
	Spans    []link
	Numbers  []number
	Observed bool
	Charts   []*chart
	Sources  []sources
	Kept     *kept
}

// mostSources is the maximum length of each list of sources.
const mostSources = 10

func (s *site) overview(r *http.Request) shown {
	m := &overview{view: view{Title: "Is my mail in order?"}, start: s.survey(r.Context(), s.Now())}
	chosen := spans()[0]
	for _, sp := range spans() {
		if sp.name == r.FormValue("span") {
			chosen = sp
		}
	}
	for _, sp := range spans() {
		m.Spans = append(m.Spans, link{Path: "/?span=" + sp.name, Name: sp.label, Here: sp == chosen})
	}
	s.read(&m.view, func(reader *journal.Reader) error { return m.read(r.Context(), reader, chosen, s.Now()) })
	if m.Kept != nil {
		m.Kept.File = s.File
	}
	return m
}

func (m *overview) read(ctx context.Context, reader *journal.Reader, sp span, now time.Time) error {
	// The last bar contains the present time. Bars begin at midnight in the time zone of the page, or at a multiple of step after
	// midnight.
	day := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	end := day.Add((now.Sub(day)/sp.step + 1) * sp.step)
	start := end.Add(-time.Duration(sp.bars) * sp.step)
	hours, err := reader.Hours(ctx, start)
	if err != nil {
		return err
	}
	m.count(hours, sp, start)
	for _, of := range []struct {
		sources
		clients bool
		link    func(name string) string
	}{
		{sources{ID: "domains", Title: "Failing mail by author domain", Column: "Domain"}, false, func(name string) string {
			return search(url.Values{"domain": {name}, "failed": {"1"}})
		}},
		{sources{ID: "clients", Title: "Failing mail by client", Column: "Client"}, true, func(name string) string {
			if _, err := netip.ParseAddr(name); err != nil {
				return ""
			}
			return search(url.Values{"client": {name}, "failed": {"1"}})
		}},
	} {
		top, whole, err := reader.Top(ctx, journal.Filter{Outcome: journal.Outcome.Failed, Since: start}, of.clients, mostSources)
		if err != nil {
			return err
		}
		of.Whole = whole
		for _, c := range top {
			l := linked{Count: c}
			if c.Name == "" {
				l.Name = "(no readable domain)"
			} else {
				l.Link = of.link(c.Name)
			}
			of.Counts = append(of.Counts, l)
		}
		m.Sources = append(m.Sources, of.sources)
	}
	m.Kept = &kept{}
	if m.Kept.Size, _, err = reader.Size(ctx); err != nil {
		return err
	}
	m.Kept.Oldest, m.Kept.Newest, err = reader.Covers(ctx)
	return err
}

// count computes the charts and the totals.
func (m *overview) count(hours []journal.Hour, sp span, start time.Time) {
	actions := make([]string, 0, len(policy.Actions()))
	for _, a := range policy.Actions() {
		actions = append(actions, string(a))
	}
	dmarc := []string{"pass", "none", "temperror", "permerror", "fail"}
	charts := []struct {
		*chart
		words []string
		of    func(journal.Hour) string
		class string
	}{
		{&chart{ID: "action", Title: "Messages by action"}, actions, func(h journal.Hour) string { return h.Action }, "v-"},
		{&chart{ID: "dmarc", Title: "Inbound messages by DMARC result"}, dmarc, func(h journal.Hour) string { return h.DMARC }, "r-"},
	}
	var all int64
	for _, h := range hours {
		all += h.N
		m.Observed = m.Observed || h.Observed
	}
	m.Numbers = []number{{"messages", all}}
	for _, c := range charts {
		place := map[string]int{}
		for i, w := range c.words {
			place[w] = i
			c.Series = append(c.Series, series{Name: w, Class: c.class + w})
		}
		for i := range sp.bars {
			r := row{Start: start.Add(time.Duration(i) * sp.step), N: make([]int64, len(c.words))}
			for _, w := range c.words {
				r.Links = append(r.Links, search(url.Values{c.ID: {w}, "since": {r.Start.Format(time.RFC3339)}, "until": {r.Start.Add(sp.step).Format(time.RFC3339)}}))
			}
			c.Rows = append(c.Rows, r)
		}
		for _, h := range hours {
			k, ok := place[c.of(h)]
			at := int(h.Start.Sub(start) / sp.step)
			if ok && h.Start.Compare(start) >= 0 && at < sp.bars {
				c.Rows[at].N[k] += h.N
			}
		}
		c.draw(sp.step, func(t time.Time) string { return t.In(start.Location()).Format("2006-01-02 15:04") })
		m.Charts = append(m.Charts, c.chart)
	}
	for _, of := range m.Charts[0].Series {
		m.Numbers = append(m.Numbers, number{of.Name, of.Total})
	}
}

// search returns the URL of a search.
func search(v url.Values) string { return "/search?" + v.Encode() }
