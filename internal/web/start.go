package web

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"signpost/internal/doctor"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
	"signpost/internal/report/summary"
	"signpost/keys"
)

const (
	// receivedTime limits the queries about received reports on the start page.
	receivedTime = 2 * time.Second
	// mostTodo and mostOwn limit the lists of the start page.
	mostTodo, mostOwn = 20, 50
	// doctorInterval is the time between two runs of doctor, so that the start page has findings. They send DNS queries for all domains.
	doctorInterval = 12 * time.Hour
)

// start is the part of the start page that answers whether everything is in order.
type start struct {
	Todo    []doctor.Finding // the worst first
	More    int              // that are not on the page
	Checked string           // what was checked
	Unknown []string         // what could not be checked, with the reason
	Own     []ownDomain
	OwnMore int // domains that are not on the page
}

// ownDomain is a hosted domain.
type ownDomain struct {
	Name, Link string
	Signing    []string // the selectors
	Action     bool     // a key needs action
	Reported   *received.Domain
	Alarms     int
}

// survey collects what is to be done.
func (s *site) survey(ctx context.Context, now time.Time) (m start) {
	did := []string{}
	d := s.doctor.last()
	switch {
	case d.Ended.IsZero() && d.Running:
		m.Unknown = append(m.Unknown, "doctor is running for the first time")
	case d.Ended.IsZero():
		m.Unknown = append(m.Unknown, "doctor has not run yet: run it on the page Doctor")
	case d.err != nil:
		m.Unknown = append(m.Unknown, "doctor: "+d.err.Error())
	default:
		did = append(did, "doctor at "+d.Ended.In(now.Location()).Format("2006-01-02 15:04"))
	}
	for _, f := range d.Result {
		if f.Level != doctor.Green {
			m.Todo = append(m.Todo, f)
		}
	}
	if problem, err := s.Check(ctx); err != nil {
		m.Unknown = append(m.Unknown, "the daemon: "+err.Error())
	} else {
		did = append(did, "the daemon")
		if problem != "" {
			m.Todo = append(m.Todo, doctor.Finding{Check: "check", Level: doctor.Red, What: problem, Fix: "signpost check"}.Printable())
		}
	}
	reported := s.reported(ctx, now, &m, &did)
	if err := s.surveyKeys(now, reported, &m); err != nil {
		m.Unknown = append(m.Unknown, "keys: "+err.Error())
	} else {
		did = append(did, "keys")
	}
	m.Todo = doctor.Arrange(m.Todo)
	if m.More = len(m.Todo) - mostTodo; m.More > 0 {
		m.Todo = m.Todo[:mostTodo]
	}
	m.Checked = strings.Join(did, ", ")
	return m
}

// reported adds the alarms of received reports, and returns the reports by domain.
func (s *site) reported(ctx context.Context, now time.Time, m *start, did *[]string) map[string]*ownDomain {
	all := map[string]*ownDomain{}
	ctx, cancel := context.WithTimeout(ctx, receivedTime)
	defer cancel()
	end := now.UTC().Truncate(oneDay)
	o, err := s.Received(ctx, received.Filter{Since: end.AddDate(0, 0, -30), Until: end})
	switch {
	case errors.Is(err, received.ErrNone):
		return all
	case err != nil:
		m.Unknown = append(m.Unknown, "received reports: "+err.Error())
		return all
	}
	*did = append(*did, "received reports")
	of := func(name string) *ownDomain {
		if all[name] == nil {
			all[name] = &ownDomain{Name: name}
		}
		return all[name]
	}
	for i := range o.Domains {
		of(o.Domains[i].Domain).Reported = &o.Domains[i]
	}
	for _, a := range o.Alarms {
		of(a.Domain).Alarms++
		m.Todo = append(m.Todo, alarmFinding(a))
	}
	return all
}

// alarmFinding returns an alarm of received reports as a finding.
func alarmFinding(a status.Alarm) doctor.Finding {
	f := doctor.Finding{Check: string(a.Code), Level: doctor.Yellow, What: a.String(), Domain: a.Domain, Fix: summary.Advice(a.Code)}
	if a.Domain != "" {
		f.What = a.Domain + ": " + f.What
	}
	if a.Code == status.SelectorFails {
		f.Level = doctor.Red
	}
	return f.Printable()
}

// surveyKeys adds the keys that need action, and the hosted domains.
func (s *site) surveyKeys(now time.Time, reported map[string]*ownDomain, m *start) error {
	all, err := s.Keys()
	if err != nil {
		return err
	}
	for _, k := range all {
		if len(m.Own) == 0 || m.Own[len(m.Own)-1].Name != k.Domain {
			one := ownDomain{Name: k.Domain}
			if r := reported[k.Domain]; r != nil {
				one = *r
			}
			one.Link = "/domain/" + url.PathEscape(k.Domain)
			m.Own = append(m.Own, one)
		}
		one := &m.Own[len(m.Own)-1]
		if k.Signs {
			one.Signing = append(one.Signing, k.Selector)
		}
		if k.Action != "" {
			one.Action = true
			m.Todo = append(m.Todo, keyFinding(k))
		}
	}
	// A domain with something to do comes first, then those with most mail.
	slices.SortStableFunc(m.Own, func(a, b ownDomain) int { return b.urgency() - a.urgency() })
	if m.OwnMore = len(m.Own) - mostOwn; m.OwnMore > 0 {
		m.Own = m.Own[:mostOwn]
	}
	return nil
}

func keyFinding(k keys.Status) doctor.Finding {
	return doctor.Finding{Check: "key", Level: doctor.Red, What: fmt.Sprintf("the key %s of %s needs action", k.Selector, k.Domain), Cause: "key " + k.Selector, Domain: k.Domain,
		Where: string(k.State), Fix: k.Action}.Printable()
}

func (d *ownDomain) urgency() (n int) {
	if d.Action {
		n += 2
	}
	return n + min(1, d.Alarms)
}
