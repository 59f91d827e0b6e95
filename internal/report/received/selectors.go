package received

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/report/read"
	"signpost/internal/report/seen"
)

// Key is a key of this site.
type Key struct{ Domain, Selector, Algorithm string }

// Selectors returns what receivers saw of the signatures of keys on mail from the networks of this site, and omits keys that no report has. It
// counts the verified reports that end after since. Signatures without a selector are not counted, and those on mail from other addresses are
// not either: a forwarder may have broken them, or a forger.
func (s *Store) Selectors(ctx context.Context, keys []Key, networks []netip.Prefix, trusted func(reporter string) bool, since time.Time) ([]seen.Selector, error) {
	all := []seen.Selector{}
	for _, k := range keys {
		days, err := s.signedDays(ctx, k, networks, since)
		if err != nil {
			return nil, err
		}
		if len(days) > 0 {
			all = append(all, summary(k, days, trusted))
		}
	}
	return all, nil
}

// signedDay is what one reporter reported about a key and one day. It adds up reports: some reporters send several a day, of different systems.
type signedDay struct {
	reporter                  string
	day                       int64 // its first second
	begin, end                int64
	passed, failed, notJudged int64
}

func (d signedDay) judged() int64 { return d.passed + d.failed }

// fails reports whether so many signatures fail that there is an error. Single failures are normal.
func (d signedDay) fails() bool { return d.failed*100 > d.judged()*seen.FailingShare }

// signedDays returns the days with signatures of a key, by reporter and day.
func (s *Store) signedDays(ctx context.Context, k Key, networks []netip.Prefix, since time.Time) ([]signedDay, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT report.reporter, report.begin_at, report.end_at, signature.address, signature.result, signature.count
		FROM signature JOIN report ON report.id = signature.report
		WHERE signature.domain = ? AND signature.selector = ? AND report.kind = ? AND report.verified AND report.end_at > ?
		ORDER BY report.reporter, report.begin_at`, k.Domain, strings.ToLower(k.Selector), read.Aggregate, since.Unix())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var days []signedDay
	for rows.Next() {
		var d signedDay
		var address []byte
		var result string
		var count int64
		if err := rows.Scan(&d.reporter, &d.begin, &d.end, &address, &result, &count); err != nil {
			return nil, err
		}
		from, _ := netip.AddrFromSlice(address)
		if !slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(from) }) {
			continue
		}
		switch result {
		case "pass":
			d.passed = count
		case "fail", "hardfail", "permerror":
			d.failed = count
		case "temperror": // an error of DNS, which says nothing about the key
			continue
		default: // neutral and policy, for example of a receiver that does not support Ed25519
			d.notJudged = count
		}
		d.day = time.Unix(d.begin, 0).Add(tolerance).UTC().Truncate(24 * time.Hour).Unix()
		if n := len(days) - 1; n < 0 || days[n].reporter != d.reporter || days[n].day != d.day {
			days = append(days, d)
		} else {
			last := &days[n]
			last.end = max(last.end, d.end)
			last.passed, last.failed, last.notJudged = last.passed+d.passed, last.failed+d.failed, last.notJudged+d.notJudged
		}
	}
	return days, rows.Err()
}

// summary adds up the days of a key, which are sorted by reporter and day.
func summary(k Key, days []signedDay, trusted func(string) bool) seen.Selector {
	all := seen.Selector{Domain: k.Domain, Selector: k.Selector, Algorithm: k.Algorithm}
	for i, d := range days {
		all.Passed, all.Failed, all.NotJudged = all.Passed+d.passed, all.Failed+d.failed, all.NotJudged+d.notJudged
		if end := time.Unix(d.end, 0).UTC(); end.After(all.Last) {
			all.Last = end
		}
		if i+1 < len(days) && days[i+1].reporter == d.reporter {
			continue
		}
		all.Receivers++
		if f, fails := failing(days[:i+1]); fails {
			f.Trusted = trusted(f.Reporter)
			all.Failing = append(all.Failing, f)
		}
	}
	all.Messages = all.Passed + all.Failed + all.NotJudged
	slices.SortFunc(all.Failing, func(a, b seen.Failing) int {
		if a.Trusted && !b.Trusted {
			return -1
		} else if b.Trusted && !a.Trusted {
			return 1
		}
		return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(a.Reporter, b.Reporter))
	})
	all.Failing = all.Failing[:min(len(all.Failing), seen.MaxFailing)]
	all.Trusted = trustedSince(all.Failing, days, trusted)
	return all
}

// failing returns the last days with failures of the last reporter in days. fails is false if its last day is without.
func failing(days []signedDay) (f seen.Failing, fails bool) {
	f.Reporter = days[len(days)-1].reporter
	for _, d := range slices.Backward(days) {
		if d.reporter != f.Reporter || d.judged() > 0 && !d.fails() {
			break
		}
		if !d.fails() {
			continue
		}
		if f.Last.IsZero() {
			f.Last = time.Unix(d.end, 0).UTC()
		}
		f.Failed, f.Messages, f.Since = f.Failed+d.failed, f.Messages+d.judged(), time.Unix(d.begin, 0).UTC()
	}
	return f, f.Failed > 0
}

// trustedSince returns the number of messages that passed or failed at trusted reporters since the first failure at one of them.
func trustedSince(failing []seen.Failing, days []signedDay, trusted func(string) bool) (n int64) {
	var since time.Time
	for _, f := range failing {
		if f.Trusted && (since.IsZero() || f.Since.Before(since)) {
			since = f.Since
		}
	}
	if since.IsZero() {
		return 0
	}
	for _, d := range days {
		if d.end > since.Unix() && trusted(d.reporter) {
			n += d.judged()
		}
	}
	return n
}
