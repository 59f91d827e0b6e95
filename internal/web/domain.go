package web

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/internal/glance"
	"signpost/internal/journal"
	"signpost/policy"
)

const (
	// domainTimeout limits the checks of the DNS records of a domain.
	domainTimeout = 90 * time.Second
	// mostLooks limits the domains whose last check is kept, and atOnce the checks at the same time.
	mostLooks, atOnce = 200, 2
)

// looks has the last check of the DNS records of each domain.
type looks struct {
	mu  sync.Mutex
	all map[string]*background[glance.Domain]
	now chan struct{} // has room for the checks that run at the same time
}

func newLooks() *looks {
	return &looks{all: map[string]*background[glance.Domain]{}, now: make(chan struct{}, atOnce)}
}

// of returns the checks of a domain. It forgets another domain if there are too many.
func (l *looks) of(name string) *background[glance.Domain] {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.all[name]
	if b == nil {
		for other := range l.all {
			if len(l.all) < mostLooks {
				break
			}
			delete(l.all, other)
		}
		b = &background[glance.Domain]{}
		l.all[name] = b
	}
	return b
}

type aboutDomain struct {
	view
	Known glance.Domain // without DNS
	last[glance.Domain]
	DNS     findings // of the last check
	Charts  []*chart
	Whole   bool   // the chart has all messages
	Look    string // the URL that starts a check
	Reports string // the URL of the reports
	Search  string
}

// domain shows a hosted domain. It does not look up DNS records, because a browser may prefetch the page.
func (s *site) domain(r *http.Request) shown {
	m := &aboutDomain{view: view{Title: "Domain"}}
	name, err := s.hosted(r)
	if err == nil {
		m.Known, err = s.Domain(r.Context(), name)
	}
	if err != nil {
		status := http.StatusServiceUnavailable
		if errors.Is(err, ErrNotHosted) {
			status = http.StatusNotFound
		}
		m.wrong(status, err.Error())
		return m
	}
	m.Title = name
	path := "/domain/" + url.PathEscape(name)
	m.Look, m.Reports, m.Search = path+"/look", "/received/"+url.PathEscape(name), search(url.Values{"domain": {name}})
	s.read(&m.view, func(reader *journal.Reader) error { return m.history(r.Context(), reader, name, s.Now()) })
	m.last = s.looks.of(name).last()
	m.DNS.sort(m.Result.Findings)
	if m.Running {
		m.refresh = "3"
	}
	if m.err != nil {
		m.wrong(0, m.err.Error())
	}
	return m
}

// historyDays is the number of days of the chart.
const historyDays = 30

// kind is one series of the chart.
type kind struct {
	series
	query url.Values // of a search for its messages
	is    func(journal.Hour) bool
}

// history draws the mail of the domain by day, in the time zone of the page.
func (m *aboutDomain) history(ctx context.Context, reader *journal.Reader, name string, now time.Time) error {
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	start := today.AddDate(0, 0, 1-historyDays)
	hours, whole, err := reader.HoursOf(ctx, name, start)
	if err != nil {
		return err
	}
	m.Whole = whole
	c := &chart{ID: "mail", Title: "Mail of the last 30 days in the journal"}
	kinds := []kind{
		{series{Name: "signed", Class: "v-sign"}, url.Values{"role": {"sign"}, "action": {"sign"}}, func(h journal.Hour) bool { return h.Role == string(policy.RoleSign) && h.Action == string(policy.Sign) }},
		{series{Name: "inbound, DMARC passed", Class: "r-pass"}, url.Values{"role": {"verify"}, "dmarc": {"pass"}}, func(h journal.Hour) bool { return h.Role == string(policy.RoleVerify) && h.DMARC == "pass" }},
		{series{Name: "inbound, DMARC failed", Class: "r-fail"}, url.Values{"role": {"verify"}, "dmarc": {"fail"}}, func(h journal.Hour) bool { return h.Role == string(policy.RoleVerify) && h.DMARC == "fail" }},
		{series{Name: "other", Class: "r-none"}, url.Values{}, func(journal.Hour) bool { return true }},
	}
	for _, k := range kinds {
		c.Series = append(c.Series, k.series)
	}
	for i := range historyDays {
		r := row{Start: start.AddDate(0, 0, i), N: make([]int64, len(kinds))}
		for _, k := range kinds {
			q := url.Values{"domain": {name}, "since": {r.Start.Format(time.RFC3339)}, "until": {r.Start.AddDate(0, 0, 1).Format(time.RFC3339)}}
			maps.Copy(q, k.query)
			r.Links = append(r.Links, search(q))
		}
		c.Rows = append(c.Rows, r)
	}
	for _, h := range hours {
		for day := len(c.Rows) - 1; day >= 0; day-- {
			if h.Start.Before(c.Rows[day].Start) {
				continue
			}
			c.Rows[day].N[slices.IndexFunc(kinds, func(k kind) bool { return k.is(h) })] += h.N
			break
		}
	}
	c.draw(oneDay, func(t time.Time) string { return t.Format(time.DateOnly) })
	m.Charts = append(m.Charts, c)
	return nil
}

// hosted returns the domain of a request, or ErrNotHosted: the page looks up no names for others.
func (s *site) hosted(r *http.Request) (string, error) {
	name, err := domain.ParseArgument(r.PathValue("domain"))
	if err != nil {
		return "", ErrNotHosted
	}
	all, err := s.Keys()
	if err != nil {
		return "", err
	}
	for _, k := range all {
		if k.Domain == name {
			return name, nil
		}
	}
	return "", ErrNotHosted
}

// lookDomain starts a check of the DNS records of a domain, and redirects to its page.
func (s *site) lookDomain(w http.ResponseWriter, r *http.Request) {
	name, err := s.hosted(r)
	if err != nil {
		http.Error(w, show(err.Error()), http.StatusNotFound)
		return
	}
	if r.Method == http.MethodGet {
		s.looks.of(name).start(s.Now, domainTimeout, func(ctx context.Context) (glance.Domain, error) {
			select {
			case s.looks.now <- struct{}{}:
				defer func() { <-s.looks.now }()
				return s.Examine(ctx, name)
			case <-ctx.Done():
				return glance.Domain{}, ctx.Err()
			}
		})
	}
	http.Redirect(w, r, "/domain/"+url.PathEscape(name), http.StatusSeeOther)
}

// Level returns the level of the whole domain by its last check.
func (m *aboutDomain) Level() doctor.Level {
	for _, level := range []doctor.Level{doctor.Red, doctor.Yellow} {
		for _, f := range m.Result.Findings {
			if f.Level == level {
				return level
			}
		}
	}
	return doctor.Green
}
