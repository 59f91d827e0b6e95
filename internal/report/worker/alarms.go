package worker

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/report/received"
	"signpost/internal/report/status"
)

const (
	// alarmDays is the number of days whose reports raise alarms: a fault that has ended is forgotten after a week.
	alarmDays = 7
	// minMessages is the number of messages of an unknown source. Fewer may be a test, or the mistake of one receiver.
	minMessages = 10
	// minSessions and minShare are the number and the percentage of TLS sessions that must fail. A few sessions fail everywhere, because of
	// lost connections.
	minSessions = 10
	minShare    = 1
	// A regular reporter sent reports on regularDays of the 14 days before the week in which it is silent.
	regularDays = 10
	silentDays  = 7
	beforeDays  = 14
)

// alarms returns what is wrong now. The alarms of the codes in unknown could not be computed.
func (w *Worker) alarms(ctx context.Context, about func(string) bool, trusted []string, mail mailTo) (all []status.Alarm, unknown []status.Code, err error) {
	since := day(w.Now()).AddDate(0, 0, -alarmDays)
	total, _, err := w.Store.Messages(ctx, since)
	if err != nil {
		return nil, nil, err
	}
	passing := sources{site: w.Site, all: bundles{}}
	sessions := failures{all: bundles{}, total: map[string]int64{}}
	if err := w.Store.EachPassed(ctx, since, w.Site.sends, func(p received.Passed) {
		if about(p.Domain) {
			passing.add(p)
		}
	}); err != nil {
		return nil, nil, err
	}
	if err := w.Store.EachSessions(ctx, since, func(s received.Sessions) {
		if about(s.Domain) {
			sessions.add(s)
		}
	}); err != nil {
		return nil, nil, err
	}
	arrivals, err := w.Store.Arrivals(ctx, day(w.Now()).AddDate(0, 0, -silentDays-beforeDays))
	if err != nil {
		return nil, nil, err
	}
	seen, err := w.Store.SeenPolicies(ctx, w.Now().Add(-policyAge))
	if err != nil {
		return nil, nil, err
	}
	seen = slices.DeleteFunc(seen, func(p received.SeenPolicy) bool { return !about(p.Domain) })
	differing, err := w.policies(ctx, seen)
	if err != nil {
		return nil, nil, err
	}
	all = slices.Concat(passing.alarms(total), silent(arrivals, trusted, mail, day(w.Now())), differing, sessions.alarms())
	if w.Selectors != nil {
		failing, err := w.Selectors(ctx, trusted)
		if err != nil {
			w.Log.Warn("the alarms about selectors cannot be computed", "error", err)
			unknown = append(unknown, status.SelectorFails)
		}
		all = append(all, failing...)
	}
	return all, unknown, nil
}

// silent returns the regular reporters that have sent nothing for a week, although we still send mail to their domains.
func silent(arrivals []received.Regularity, trusted []string, mail mailTo, today time.Time) (all []status.Alarm) {
	from := today.AddDate(0, 0, -silentDays)
	for _, r := range arrivals {
		last := r.Days[len(r.Days)-1]
		if !slices.Contains(trusted, r.Reporter) || !last.Before(from) || len(r.Days) < regularDays {
			continue
		}
		if mail != nil && mail[r.Reporter].week == 0 {
			continue
		}
		all = append(all, status.Alarm{Code: status.ReporterSilent, Reporters: []string{r.Reporter}, Messages: mail[r.Reporter].week, Since: last, Last: today.AddDate(0, 0, -1)})
	}
	return all
}

// maxAddresses limits the addresses that are counted for one alarm.
const maxAddresses = 10_000

// bundle is an alarm whose evidence is being collected.
type bundle struct {
	status.Alarm
	reporters map[string]bool
	addresses map[netip.Addr]int64
	reports   map[int64]bool
}

// bundles are alarms by their keys.
type bundles map[string]*bundle

// add adds evidence to the alarm that has the key of a.
func (all bundles) add(a status.Alarm, e received.Evidence, n int64) *bundle {
	key := a.Key()
	b := all[key]
	if b == nil {
		a.Since, a.Last = e.Day, e.Day
		b = &bundle{a, map[string]bool{}, map[netip.Addr]int64{}, map[int64]bool{}}
		all[key] = b
	}
	b.Messages += n
	if e.Day.Before(b.Since) {
		b.Since = e.Day
	}
	if e.Day.After(b.Last) {
		b.Last = e.Day
	}
	b.reporters[e.Reporter], b.reports[e.Report] = true, true
	return b
}

// from counts messages from an address.
func (b *bundle) from(a netip.Addr, n int64) {
	if _, known := b.addresses[a]; known || len(b.addresses) < maxAddresses {
		b.addresses[a] += n
	}
}

// finish returns the alarm.
func (b *bundle) finish(total int64) status.Alarm {
	a := b.Alarm
	a.Total = total
	a.Reporters = slices.Sorted(maps.Keys(b.reporters))
	a.Reporters = a.Reporters[:min(status.MaxReporters, len(a.Reporters))]
	a.Reports = slices.SortedFunc(maps.Keys(b.reports), func(x, y int64) int { return cmp.Compare(y, x) })
	a.Reports = a.Reports[:min(status.MaxReports, len(a.Reports))]
	a.Sources = len(b.addresses)
	for address, n := range b.addresses {
		if !a.Source.IsValid() || n > b.addresses[a.Source] || n == b.addresses[a.Source] && address.Less(a.Source) {
			a.Source = address
		}
	}
	return a
}

// sorted returns the bundles in the order of their keys.
func (all bundles) sorted() (list []*bundle) {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[key])
	}
	return list
}

// failures collects failed TLS sessions.
type failures struct {
	all   bundles
	total map[string]int64 // sessions by domain
}

func (f failures) add(s received.Sessions) {
	f.total[s.Domain] += s.Successful + s.Failed
	left := s.Failed
	for _, failure := range s.Failures {
		left -= failure.Count
		f.all.add(status.Alarm{Code: status.TLSFailure, Domain: s.Domain, Failure: failureType(failure.Type)}, s.Evidence, failure.Count)
	}
	if left > 0 {
		f.all.add(status.Alarm{Code: status.TLSFailure, Domain: s.Domain, Failure: otherFailure}, s.Evidence, left)
	}
}

func (f failures) alarms() (all []status.Alarm) {
	for _, b := range f.all.sorted() {
		if total := f.total[b.Domain]; b.Messages >= minSessions && b.Messages*100 >= total*minShare {
			all = append(all, b.finish(total))
		}
	}
	return all
}

// otherFailure is a failure without a type, or with a type that RFC 8460 does not list.
const otherFailure = "other"

// failureType returns a result-type of RFC 8460 section 4.3, or otherFailure.
func failureType(word string) string {
	switch word = strings.ToLower(word); word {
	case "starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "certificate-not-trusted", "validation-failure",
		"tlsa-invalid", "dnssec-invalid", "dane-required", "sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid":
		return word
	}
	return otherFailure
}
