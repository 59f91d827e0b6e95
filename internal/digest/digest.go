// Package digest summarizes a period of mail for a message to the administrator: volumes, what was not accepted and why, new sources, keys,
// alarms and reports. It fits on one screen.
package digest

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"signpost/internal/journal"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
	"signpost/keys"
	"signpost/policy"
)

// Digest is the summary of a period.
type Digest struct {
	Host    string         `json:"host"`
	From    time.Time      `json:"from"`
	To      time.Time      `json:"to"`
	Journal *Mail          `json:"journal"`           // nil: there is no journal
	Keys    []Due          `json:"keys"`              // that need action, or have a step in a period of the same length from now
	Alarms  []status.Alarm `json:"alarms"`            // of received reports
	Problem string         `json:"problem,omitempty"` // the line of signpost check
	// Problems are those of signpost check, by check.
	Problems []Problem `json:"problems,omitempty"`
	Sent     *Sent     `json:"reports_sent"`       // nil: no reports are sent
	Seen     *Received `json:"reports_received"`   // nil: no reports are received
	Omitted  int       `json:"alarms_omitted"`     // alarms that the status file does not have
	Errors   []string  `json:"not_read,omitempty"` // what could not be read, and why
}

// Problem is what a check of signpost check found.
type Problem struct {
	Check string `json:"check"`
	N     int    `json:"problems"`
	First string `json:"first"` // the worst
}

// Mail is what the journal has.
type Mail struct {
	Oldest  time.Time `json:"oldest"`  // the oldest message of the journal
	Now     Volumes   `json:"volumes"` // of the period
	Before  *Volumes  `json:"before"`  // of the period of the same length before; nil: the journal does not cover it
	Reasons []Reason  `json:"reasons"` // why inbound or outbound mail was not accepted, the most frequent first
	Sources []Source  `json:"new_sources"`
	// Observed is true if some messages arrived in observe mode: their actions were not carried out.
	Observed bool `json:"observed,omitempty"`
}

// Volumes are numbers of messages. The actions are those of all messages.
type Volumes struct {
	Messages int64 `json:"messages"`
	Signed   int64 `json:"signed"`
	Unsigned int64 `json:"unsigned"` // outbound mail with another action than sign, reject, tempfail or hold
	Inbound  int64 `json:"inbound"`  // role verify
	Passed   int64 `json:"passed"`   // of these: DMARC passed
	Failed   int64 `json:"failed"`   // of these: DMARC failed
	Rejected int64 `json:"rejected"` // reject or discard
	Held     int64 `json:"held"`     // tag or hold
	Deferred int64 `json:"deferred"` // tempfail
}

// Reason is why messages were not accepted.
type Reason struct {
	Code    policy.Code     `json:"code"`
	Action  policy.Action   `json:"action"`
	N       int64           `json:"messages"`
	Domains []journal.Count `json:"domains"` // the Author Domains with most of these messages
}

// Source is a client that sent mail of a hosted domain in this period, and not in the period before. In the journal, this mail passed DMARC.
type Source struct {
	Domain string     `json:"domain"`
	Client netip.Addr `json:"client"`
	N      int64      `json:"messages"`
}

// Due is a step of a key.
type Due struct {
	Domain   string    `json:"domain"`
	Selector string    `json:"selector,omitempty"` // empty: a key will be created
	Step     string    `json:"step,omitempty"`     // activate, retire, revoke, remove or create
	At       time.Time `json:"at,omitzero"`
	Action   string    `json:"action_needed,omitempty"` // what the operator must do
}

// Sent counts deliveries of our reports that changed in the period.
type Sent struct {
	Accepted   int `json:"accepted"`
	Refused    int `json:"refused"`
	GivenUp    int `json:"given_up"`
	Suppressed int `json:"suppressed"`
	Waiting    int `json:"waiting"` // of any time
}

// Received is what the reports of others about the period state.
type Received struct {
	Reports   int64 `json:"reports"`
	Reporters int64 `json:"reporters"` // the largest number of reporters of one domain
	Messages  int64 `json:"messages"`
	Passed    int64 `json:"passed"`
	Domains   int   `json:"domains"`

	Own       Aligned  `json:"own"`         // mail from networks of this site
	OwnBefore Aligned  `json:"own_before"`  // in the period before
	Sources   []Source `json:"new_sources"` // neither of this site nor known
}

// Aligned are numbers of messages that passed, according to other receivers.
type Aligned struct {
	Messages int64 `json:"messages"`
	Passed   int64 `json:"passed"` // DMARC
	DKIM     int64 `json:"dkim_aligned"`
	SPF      int64 `json:"spf_aligned"`
}

// AddSources adds the sources of a domain in the period, and in the period before, according to received reports.
func (r *Received) AddSources(domain string, now, before []received.Source) {
	known := map[netip.Addr]bool{}
	for _, s := range before {
		known[s.Address] = true
		r.OwnBefore.add(s)
	}
	for _, s := range now {
		r.Own.add(s)
		if s.Owner == received.Other && !known[s.Address] {
			r.Sources = append(r.Sources, Source{domain, s.Address, s.Messages})
		}
	}
	sortSources(r.Sources)
}

func (a *Aligned) add(s received.Source) {
	if s.Owner == received.Own {
		a.Messages, a.Passed, a.DKIM, a.SPF = a.Messages+s.Messages, a.Passed+s.Passed, a.DKIM+s.DKIM, a.SPF+s.SPF
	}
}

// mostDomains limits the domains of a Reason.
const mostDomains = 3

// ReadMail reads the journal. hosted reports whether a domain is hosted here.
func ReadMail(ctx context.Context, r *journal.Reader, from, to time.Time, hosted func(domain string) bool) (*Mail, error) {
	oldest, _, err := r.Covers(ctx)
	if err != nil {
		return nil, err
	}
	m := &Mail{Oldest: oldest, Reasons: []Reason{}, Sources: []Source{}}
	period := journal.Filter{Since: from, Before: to}
	outcomes, err := r.Outcomes(ctx, period)
	if err != nil {
		return nil, err
	}
	for o, n := range outcomes {
		m.Now.add(o, n)
		m.Observed = m.Observed || o.Observed
	}
	earlier := journal.Filter{Since: from.Add(-to.Sub(from)), Before: from}
	covered := !oldest.IsZero() && !oldest.After(earlier.Since)
	if covered {
		if outcomes, err = r.Outcomes(ctx, earlier); err != nil {
			return nil, err
		}
		m.Before = &Volumes{}
		for o, n := range outcomes {
			m.Before.add(o, n)
		}
	}
	if err := m.readReasons(ctx, r, period); err != nil || !covered {
		return m, err
	}
	return m, m.readSources(ctx, r, earlier.Since, from, to, hosted)
}

func (v *Volumes) add(o journal.Outcome, n int64) {
	v.Messages += n
	inbound := o.Role == string(policy.RoleVerify)
	if inbound {
		v.Inbound += n
		switch o.DMARC {
		case "pass":
			v.Passed += n
		case "fail":
			v.Failed += n
		}
	}
	switch policy.Action(o.Action) {
	case policy.Sign:
		v.Signed += n
	case policy.Reject, policy.Discard:
		v.Rejected += n
	case policy.Tag, policy.Hold:
		v.Held += n
	case policy.Tempfail:
		v.Deferred += n
	default:
		if !inbound {
			v.Unsigned += n
		}
	}
}

// readReasons counts the messages that were not accepted by their reason.
func (m *Mail) readReasons(ctx context.Context, r *journal.Reader, f journal.Filter) error {
	type key struct {
		code   policy.Code
		action policy.Action
	}
	all := map[key]map[string]int64{}
	f.Outcome = func(o journal.Outcome) bool {
		return slices.Contains([]policy.Action{policy.Reject, policy.Discard, policy.Tag, policy.Hold, policy.Tempfail}, policy.Action(o.Action))
	}
	if err := r.Each(ctx, f, func(e *journal.Entry) bool {
		k := key{e.Code, e.Decided()}
		if all[k] == nil {
			all[k] = map[string]int64{}
		}
		all[k][e.Domain()]++
		return true
	}); err != nil {
		return err
	}
	for k, domains := range all {
		one := Reason{Code: k.code, Action: k.action, Domains: journal.MostFrequent(domains, mostDomains)}
		for _, n := range domains {
			one.N += n
		}
		m.Reasons = append(m.Reasons, one)
	}
	slices.SortFunc(m.Reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Action, b.Action))
	})
	return nil
}

// readSources finds the new sources of mail that passes DMARC for hosted domains.
func (m *Mail) readSources(ctx context.Context, r *journal.Reader, before, from, to time.Time, hosted func(string) bool) error {
	type key struct {
		domain string
		client netip.Addr
	}
	n, known := map[key]int64{}, map[key]bool{}
	passed := journal.Filter{Since: before, Before: to, Outcome: func(o journal.Outcome) bool { return o.Role == string(policy.RoleVerify) && o.DMARC == "pass" }}
	if err := r.Sources(ctx, passed, func(id int64, domain string, client netip.Addr) {
		k := key{domain, client}
		switch {
		case !hosted(domain):
		case id < from.UnixMicro():
			known[k] = true
		default:
			n[k]++
		}
	}); err != nil {
		return err
	}
	for k, count := range n {
		if !known[k] {
			m.Sources = append(m.Sources, Source{k.domain, k.client, count})
		}
	}
	sortSources(m.Sources)
	return nil
}

// sortSources sorts sources, those with the most messages first.
func sortSources(all []Source) {
	slices.SortFunc(all, func(a, b Source) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Domain, b.Domain), a.Client.Compare(b.Client))
	})
}

// KeysDue returns the keys that need action, and the steps until a time.
func KeysDue(all []keys.Status, until time.Time) []Due {
	due := []Due{}
	for _, k := range all {
		if k.Action != "" {
			due = append(due, Due{Domain: k.Domain, Selector: k.Selector, Action: k.Action})
		}
		for _, s := range k.Steps {
			if !s.Due.After(until) && s.Do != keys.DoCheck && s.Do != keys.DoConfirm { // each run checks

				due = append(due, Due{Domain: k.Domain, Selector: k.Selector, Step: string(s.Do), At: s.Due})
			}
		}
	}
	slices.SortStableFunc(due, func(a, b Due) int {
		if (a.Action == "") != (b.Action == "") {
			return cmp.Compare(a.Action, b.Action) * -1
		}
		return a.At.Compare(b.At)
	})
	return due
}
