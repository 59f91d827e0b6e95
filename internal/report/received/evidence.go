package received

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"signpost/internal/report/read"
)

// fromTrusted is the condition on reports whose evidence counts.
const fromTrusted = "verified AND reporter IN (SELECT reporter FROM trusted)"

// Evidence is from which report something is known.
type Evidence struct {
	Report   int64
	Reporter string
	Domain   string    // the Policy Domain, or the domain of a TLS policy
	Day      time.Time // the first second of the UTC day in which the range begins
}

// scan returns the arguments of a query for evidence. After the row has been scanned, the caller calls finish.
func (e *Evidence) scan(into ...any) (all []any, finish func()) {
	var begin int64
	return append([]any{&e.Report, &e.Reporter, &e.Domain, &begin}, into...), func() {
		e.Day = time.Unix(begin, 0).UTC().Truncate(24 * time.Hour)
	}
}

// Passed is a record of an aggregate report whose messages passed DMARC.
type Passed struct {
	Evidence
	Source     netip.Addr
	Messages   int64
	DKIM, SPF  bool // passed and aligned
	HeaderFrom string
	Signatures []read.Signature // all of the record
}

// EachPassed calls f for each record of the reports of trusted reporters whose range began after a time and whose messages passed DMARC, except
// those from an address for which ours returns true. f must not use the store.
func (s *Store) EachPassed(ctx context.Context, since time.Time, ours func(netip.Addr) bool, f func(Passed)) error {
	return s.each(ctx, func(scan func(...any) error) error {
		var p Passed
		var address, more []byte
		into, finish := p.scan(&address, &p.Messages, &p.DKIM, &p.SPF, &p.HeaderFrom, &more)
		if err := scan(into...); err != nil {
			return err
		}
		finish()
		if p.Source, _ = netip.AddrFromSlice(address); !p.Source.IsValid() || ours(p.Source) {
			return nil
		}
		var d detail
		if err := json.Unmarshal(more, &d); err != nil {
			return err
		}
		p.Signatures = d.Signatures
		f(p)
		return nil
	}, `SELECT report.id, reporter, domain, begin_at, address, count, dkim, spf, header_from, detail FROM report JOIN source ON source.report = report.id
		WHERE begin_at >= ? AND end_at >= ? AND kind = ? AND folded = 0 AND passed > 0 AND `+fromTrusted+` AND (dkim OR spf)`, since.Unix(), since.Unix(), read.Aggregate)
}

// Messages returns the number of messages in the reports of trusted reporters whose range began after a time, by Policy Domain: all of them, and
// those that passed.
func (s *Store) Messages(ctx context.Context, since time.Time) (all, passed map[string]int64, err error) {
	return s.messages(ctx, "begin_at >= ? AND end_at >= ?", since.Unix(), since.Unix())
}

// MessagesOf is like Messages, but for the reports about one UTC day.
func (s *Store) MessagesOf(ctx context.Context, day time.Time) (all, passed map[string]int64, err error) {
	return s.messages(ctx, "day = ? AND end_at BETWEEN ? AND ?", day.Unix(), day.Unix(), day.Add(24*time.Hour+tolerance).Unix())
}

func (s *Store) messages(ctx context.Context, where string, args ...any) (all, passed map[string]int64, err error) {
	all, passed = map[string]int64{}, map[string]int64{}
	err = s.each(ctx, func(scan func(...any) error) error {
		var name string
		var n, good int64
		err := scan(&name, &n, &good)
		all[name], passed[name] = n, good
		return err
	}, "SELECT domain, sum(messages), sum(passed) FROM report WHERE "+where+" AND kind = ? AND "+fromTrusted+" GROUP BY domain", append(args, read.Aggregate)...)
	return all, passed, err
}

// SeenPolicy is the policy in a report.
type SeenPolicy struct {
	Evidence
	Begin  time.Time
	Policy read.Policy
}

// SeenPolicies returns the policy in the newest report of each trusted reporter and Policy Domain, of the reports whose range began after a time.
func (s *Store) SeenPolicies(ctx context.Context, since time.Time) (all []SeenPolicy, err error) {
	err = s.each(ctx, func(scan func(...any) error) error {
		var p SeenPolicy
		var policy []byte
		var begin int64
		into, finish := p.scan(&begin, &policy)
		if err := scan(into...); err != nil {
			return err
		}
		finish()
		p.Begin = time.Unix(begin, 0).UTC()
		all = append(all, p)
		return json.Unmarshal(policy, &all[len(all)-1].Policy)
	}, `SELECT id, reporter, domain, begin_at, max(begin_at), policy FROM report WHERE end_at >= ? AND begin_at >= ? AND kind = ? AND `+fromTrusted+`
		GROUP BY domain, reporter ORDER BY domain, reporter`, since.Unix(), since.Unix(), read.Aggregate)
	return all, err
}

// Sessions are the TLS sessions of a policy in a TLS report.
type Sessions struct {
	Evidence
	Successful, Failed int64
	Failures           []read.TLSFailure
}

// EachSessions calls f for each policy of the TLS reports of trusted reporters whose range began after a time. f must not use the store.
func (s *Store) EachSessions(ctx context.Context, since time.Time, f func(Sessions)) error {
	return s.each(ctx, func(scan func(...any) error) error {
		var t Sessions
		var failures []byte
		into, finish := t.scan(&t.Successful, &t.Failed, &failures)
		if err := scan(into...); err != nil {
			return err
		}
		finish()
		if err := json.Unmarshal(failures, &t.Failures); err != nil {
			return err
		}
		f(t)
		return nil
	}, `SELECT report.id, reporter, tls.domain, begin_at, successful, failed, failures FROM report JOIN tls ON tls.report = report.id
		WHERE begin_at >= ? AND end_at >= ? AND kind = ? AND `+fromTrusted, since.Unix(), since.Unix(), read.TLS)
}

// Regularity is when a reporter has sent reports.
type Regularity struct {
	Reporter string
	Days     []time.Time // UTC days on which verified reports arrived, in order
}

// Arrivals returns when each reporter has sent verified aggregate reports since a time. The reporters are sorted.
func (s *Store) Arrivals(ctx context.Context, since time.Time) (all []Regularity, err error) {
	err = s.each(ctx, func(scan func(...any) error) error {
		var name string
		var day int64
		err := scan(&name, &day)
		if n := len(all); n == 0 || all[n-1].Reporter != name {
			all = append(all, Regularity{Reporter: name})
		}
		last := &all[len(all)-1]
		last.Days = append(last.Days, time.Unix(day*86400, 0).UTC())
		return err
	}, "SELECT DISTINCT reporter, received / 86400 AS day FROM report WHERE received >= ? AND verified AND kind = ? ORDER BY reporter, day", since.Unix(), read.Aggregate)
	return all, err
}

// ReportDays returns, for each reporter that sent a verified report, on how many UTC days before today its reports arrived.
func (s *Store) ReportDays(ctx context.Context) (days map[string]int, err error) {
	days = map[string]int{}
	err = s.each(ctx, func(scan func(...any) error) error {
		var name string
		var n int
		err := scan(&name, &n)
		days[name] = n
		return err
	}, "SELECT reporter, count(DISTINCT iif(received < ?, received / 86400, NULL)) FROM report WHERE verified GROUP BY reporter", s.today().Unix())
	return days, err
}
