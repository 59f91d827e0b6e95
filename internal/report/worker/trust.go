package worker

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"signpost/internal/dmarc"
	"signpost/internal/domain"
	"signpost/internal/journal"
	"signpost/internal/report/received"
	"signpost/policy"
)

const (
	// trustDays is the number of earlier days on which a reporter must have sent reports.
	trustDays = 5
	// mailDays is the number of days in which our mail to a reporter's domains counts.
	mailDays = 30
	// maxRecipients is the number of domains of recipients that are considered: those with the most messages. The others have few.
	maxRecipients = 1000
	// lookupAge is the age at which a cached lookup of names is repeated. Mail exchangers seldom change.
	lookupAge = 7 * 24 * time.Hour
	// maxLookups and lookupTime limit the lookups of one kind in one run; the next run continues.
	maxLookups = 200
	lookupTime = 30 * time.Second
	// countDays limits the days of the journal that one run reads.
	countDays = 3
)

// mailTo is the number of our messages to the domains of each reporter in the last 30 days and in the last week. It is nil if the journal has no
// recipients.
type mailTo map[string]struct{ month, week int64 }

// trust returns the reporters whose evidence counts: they sent reports on five earlier days, and the journal has mail to their domains; or the
// operator trusts them. Without recipients in the journal, only the large receivers of large.go count, since anyone can register a domain and
// send reports for a week.
func (w *Worker) trust(ctx context.Context) (trusted []string, mail mailTo, err error) {
	days, err := w.Store.ReportDays(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := w.countMail(ctx); err != nil {
		return nil, nil, err
	}
	var regular []string
	for _, name := range slices.Sorted(maps.Keys(days)) {
		switch {
		case slices.ContainsFunc(w.Trusted, func(t string) bool { return domain.Within(name, t) }):
			trusted = append(trusted, name)
		case days[name] >= trustDays && !anybodysMailbox(name):
			regular = append(regular, name)
		}
	}
	orgs, err := w.organizations(ctx, regular)
	if err != nil {
		return nil, nil, err
	}
	if w.Journal == nil {
		for _, name := range regular {
			if len(exchangersOf(orgs[name])) > 0 {
				trusted = append(trusted, name)
			}
		}
		slices.Sort(trusted)
		return trusted, nil, nil
	}
	month, week, exchangers, err := w.recipients(ctx)
	if err != nil {
		return nil, nil, err
	}
	mail = mailTo{}
	for _, name := range slices.Concat(trusted, regular) {
		to := mail[name]
		for recipient := range month {
			if belongs(recipient, exchangers[recipient], name, orgs[name]) {
				to.month, to.week = to.month+month[recipient], to.week+week[recipient]
			}
		}
		mail[name] = to
		if to.month > 0 && !slices.Contains(trusted, name) {
			trusted = append(trusted, name)
		}
	}
	slices.Sort(trusted)
	return trusted, mail, nil
}

// belongs reports whether mail to a domain goes to the organization of a reporter: the domain or one of its mail exchangers is within that
// organization, or within the domains of the organization's mail exchangers.
func belongs(recipient string, exchangers []string, reporter, org string) bool {
	if org == "" {
		org = reporter
	}
	if domain.Within(recipient, org) || domain.Within(reporter, recipient) {
		return true
	}
	within := append(exchangersOf(org), org)
	return slices.ContainsFunc(exchangers, func(host string) bool {
		return slices.ContainsFunc(within, func(parent string) bool { return domain.Within(host, parent) })
	})
}

// recipients returns our messages by the domain of the recipients, and the mail exchangers of these domains.
func (w *Worker) recipients(ctx context.Context) (month, week map[string]int64, exchangers map[string][]string, err error) {
	today := day(w.Now())
	if month, err = w.Store.Recipients(ctx, today.AddDate(0, 0, -mailDays), maxRecipients); err != nil {
		return nil, nil, nil, err
	}
	if week, err = w.Store.Recipients(ctx, today.AddDate(0, 0, -7), maxRecipients); err != nil {
		return nil, nil, nil, err
	}
	frequent := slices.SortedFunc(maps.Keys(month), func(a, b string) int { return int(month[b] - month[a]) })
	hosts, err := w.lookups(ctx, received.LookupMX, frequent, func(ctx context.Context, name string) (string, error) {
		all, err := w.Resolver.LookupMX(ctx, name)
		var hosts []string
		for _, mx := range all {
			hosts = append(hosts, domain.Fold(mx.Host))
		}
		return strings.Join(hosts, " "), err
	})
	exchangers = map[string][]string{}
	for name, list := range hosts {
		exchangers[name] = strings.Fields(list)
	}
	return month, week, exchangers, err
}

// organizations returns the Organizational Domains of reporters.
func (w *Worker) organizations(ctx context.Context, reporters []string) (map[string]string, error) {
	return w.lookups(ctx, received.LookupOrganization, reporters, func(ctx context.Context, name string) (string, error) {
		org, _, err := dmarc.Organization(ctx, w.Resolver, name)
		return org, err
	})
}

// lookups returns the values of names, from the cache if they are recent. A name whose lookup fails, or is left to the next run, keeps its old
// value.
func (w *Worker) lookups(ctx context.Context, kind received.LookupKind, names []string, look func(context.Context, string) (string, error)) (map[string]string, error) {
	asking, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	values, asked := map[string]string{}, 0
	for _, name := range names {
		known, err := w.Store.Lookup(ctx, kind, name)
		if err != nil {
			return nil, err
		}
		if w.Now().Sub(known.At) > lookupAge && asked < maxLookups && asking.Err() == nil {
			asked++
			if value, err := look(asking, name); err == nil || notFound(err) {
				if known, err = w.Store.SetLookup(ctx, kind, name, value); err != nil {
					return nil, err
				}
			}
		}
		values[name] = known.Value
	}
	return values, nil
}

// notFound reports whether a retry of a lookup would not help.
func notFound(err error) bool {
	dns, ok := err.(*net.DNSError)
	return ok && !dns.Temporary()
}

// countMail counts our outbound mail of the days that have not been counted yet, newest first.
func (w *Worker) countMail(ctx context.Context) error {
	if w.Journal == nil {
		return nil
	}
	done, err := w.Store.Mailed(ctx)
	if err != nil {
		return err
	}
	counted := 0
	for ago := 1; ago <= mailDays && counted < countDays; ago++ {
		that := day(w.Now()).AddDate(0, 0, -ago)
		if done[that] {
			continue
		}
		counted++
		n := map[string]int64{}
		outbound := func(o journal.Outcome) bool { return o.Role == string(policy.RoleSign) }
		if err := w.Journal.Each(ctx, journal.Filter{Since: that, Before: that.AddDate(0, 0, 1), Outcome: outbound}, func(e *journal.Entry) bool {
			for name := range recipientDomains(e) {
				if _, known := n[name]; known || len(n) < 100*maxRecipients {
					n[name]++
				}
			}
			return true
		}); err != nil {
			return err
		}
		for _, name := range slices.SortedFunc(maps.Keys(n), func(a, b string) int { return int(n[b] - n[a]) })[min(maxRecipients, len(n)):] {
			delete(n, name)
		}
		if err := w.Store.SetMailed(ctx, that, n); err != nil {
			return err
		}
	}
	return nil
}

// recipientDomains returns the domains of the recipients of a message that was not refused.
func recipientDomains(e *journal.Entry) map[string]bool {
	all := map[string]bool{}
	if e.Action == policy.Reject || e.Action == policy.Tempfail || e.Action == policy.Discard {
		return all
	}
	for _, to := range e.Recipients {
		if name, err := domain.Parse(strings.TrimSuffix(to[strings.LastIndexByte(to, '@')+1:], ">")); err == nil {
			all[name] = true
		}
	}
	return all
}
