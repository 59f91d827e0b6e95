package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"signpost/internal/domain"
	"signpost/internal/glance"
	"signpost/internal/journal"
)

const (
	// domainTimeout limits the checks of the DNS records of a domain.
	domainTimeout = 90 * time.Second
	// mostLooks limits the domains whose last check is kept, and atOnce the checks at the same time.
	mostLooks, atOnce = 200, 2
	// lookAge is how long the result of a check is not repeated.
	lookAge = time.Minute
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

// of returns the checks of a domain. If there are too many, it forgets a domain whose records are not being checked. Those that are being checked
// are at most as many as the hosted domains that were requested within domainTimeout.
func (l *looks) of(name string) *background[glance.Domain] {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.all[name]
	if b == nil {
		for other, b := range l.all {
			if len(l.all) < mostLooks {
				break
			}
			if !b.last().Running {
				delete(l.all, other)
			}
		}
		b = &background[glance.Domain]{}
		l.all[name] = b
	}
	return b
}

type aboutDomain struct {
	view
	Known glance.Domain // without DNS
	traffic
	lastRun[glance.Domain]
	DNS     examined // of the last check
	Whole   bool     // the charts have all messages
	Volume  *chart   // of received reports; nil: there are none
	Senders []sourceList
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
	s.read(&m.view, func(reader *journal.Reader) error {
		span := historySpans()[0]
		start := span.start(s.Now())
		hours, whole, err := reader.History(r.Context(), journal.Filter{Domain: name, Since: start})
		if err == nil {
			m.Whole = whole
			m.count(hours, span, start, url.Values{"domain": {name}})
		}
		return err
	})
	if r := m.Known.Reports; r != nil {
		m.Volume = latestPeriod(s.Now()).volume(r.Days)
		m.Senders = []sourceList{{ID: "senders", Title: "Who sends as " + name, Sources: r.Senders}, {ID: "failing", Title: "Who sends as " + name + " and fails", Sources: r.Failing}}
	}
	m.lastRun = s.looks.of(name).last()
	m.DNS = newExamined(m.Value.Findings)
	if m.Running {
		m.refresh = "3"
	}
	if m.Err != nil {
		m.wrong(0, m.Err.Error())
	}
	return m
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
		s.looks.of(name).start(s.Now, lookAge, func() (glance.Domain, error) {
			ctx, cancel := context.WithTimeout(context.Background(), domainTimeout)
			defer cancel()
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
