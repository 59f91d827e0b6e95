package web

import (
	"context"
	"errors"
	"maps"
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
	Link    string
	History string
}

// kept describes the journal file.
type kept struct {
	File           string
	Size           int64
	Oldest, Newest time.Time
}

// traffic has the numbers of messages in a period.
type traffic struct {
	Numbers  []number
	Observed bool
	Charts   []*chart
}

type overview struct {
	view
	start
	traffic
	Spans   []link
	Sources []sources
	Slow    bool // Sources are missing, because counting took too long
	Kept    *kept
}

// mostSources is the maximum length of each list of sources.
const mostSources = 10

// sourcesTimeout limits the time in which the sources of failing mail are counted. The rest of the page does not wait longer.
const sourcesTimeout = 2 * time.Second

func (s *site) overview(r *http.Request) shown {
	chosen, now := choose(r, spans()), s.Now()
	m := &overview{view: view{Title: "Is my mail in order?"}, start: s.begin(r.Context(), now), Spans: spanLinks("/", spans(), choose(r, spans()))}
	if m.Checked.Running || m.start.Doctor.Running {
		m.refresh = "5"
	}
	s.read(&m.view, func(reader *journal.Reader) error { return m.read(r.Context(), reader, chosen, now) })
	if m.Kept != nil {
		m.Kept.File = s.File
	}
	return m
}

func (m *overview) read(ctx context.Context, reader *journal.Reader, sp span, now time.Time) error {
	start := sp.start(now)
	hours, err := reader.Hours(ctx, start)
	if err != nil {
		return err
	}
	m.count(hours, sp, start, nil)
	within, cancel := context.WithTimeout(ctx, sourcesTimeout)
	defer cancel()
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
		top, whole, err := reader.Top(within, journal.Filter{Outcome: journal.Outcome.Failed, Since: start}, of.clients, mostSources)
		if errors.Is(err, context.DeadlineExceeded) {
			m.Slow = true
			break
		}
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
				if !of.clients {
					l.History = historyOf(c.Name)
				}
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

// count computes the charts and the totals. Each bar links to the search of its messages, with the filter.
func (m *traffic) count(hours []journal.Hour, sp span, start time.Time, filter url.Values) {
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
		field string // of the search
	}{
		{&chart{ID: "actions", Title: "Messages by action"}, actions, func(h journal.Hour) string { return h.Action }, "v-", "action"},
		{&chart{ID: "dmarc", Title: "Inbound messages by DMARC result"}, dmarc, func(h journal.Hour) string { return h.DMARC }, "r-", "dmarc"},
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
			c.Rows = append(c.Rows, row{Start: start.Add(time.Duration(i) * sp.step), N: make([]int64, len(c.words))})
		}
		for _, h := range hours {
			k, ok := place[c.of(h)]
			at := int(h.Start.Sub(start) / sp.step)
			if ok && h.Start.Compare(start) >= 0 && at < sp.bars {
				c.Rows[at].N[k] += h.N
			}
		}
		c.search = func(at time.Time, word string) string {
			v := url.Values{"since": {at.UTC().Format(time.RFC3339)}, "until": {at.Add(sp.step).UTC().Format(time.RFC3339)}, c.field: {word}}
			maps.Copy(v, filter)
			return search(v)
		}
		c.draw(sp.step, func(t time.Time) string { return t.In(start.Location()).Format("2006-01-02 15:04") })
		m.Charts = append(m.Charts, c.chart)
	}
	for _, of := range m.Charts[0].Series {
		if of.Total > 0 {
			m.Numbers = append(m.Numbers, number{of.Name, of.Total})
		}
	}
}

// search returns the URL of a search.
func search(v url.Values) string { return "/search?" + v.Encode() }

// historyOf returns the URL of the history of a domain.
func historyOf(name string) string { return "/history/" + url.PathEscape(name) }
