package received

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"signpost/internal/report/read"
)

// Filter selects reports. Empty fields select all reports.
type Filter struct {
	Domain       string    // the Policy Domain
	Since, Until time.Time // reports whose range begins at Since or later, and before Until
	Reporter     string
	OnlyVerified bool // omit imported reports
}

// where returns the condition for the table report, which has the name r, and its arguments. Reporters whose day begins some seconds before
// midnight are within a Filter that begins at midnight.
func (f Filter) where(kind read.Kind) (string, []any) {
	since := f.Since.Add(-tolerance).Unix()
	text, args := "r.kind = ? AND r.end_at >= ? AND r.begin_at >= ? AND r.begin_at < ?", []any{kind, since, since, int64(math.MaxInt64)}
	if !f.Until.IsZero() {
		args[3] = f.Until.Add(-tolerance).Unix()
	}
	if f.Domain != "" && kind != read.TLS { // the domains of a TLS report are those of its policies
		text, args = text+" AND r.domain = ?", append(args, f.Domain)
	}
	if f.Reporter != "" {
		text, args = text+" AND r.reporter = ?", append(args, f.Reporter)
	}
	if f.OnlyVerified {
		text += " AND r.verified"
	}
	return text, args
}

// limit is the maximum number of rows that a list has. Reporters choose the values by which rows are grouped.
const limit = 10000

// sums are the messages and the passed messages of several reports.
const sums = "SUM(r.messages) AS n, SUM(r.passed)"

// date returns the UTC day of a number of seconds since 1970.
func date(seconds int64) time.Time { return time.Unix(seconds, 0).UTC().Truncate(24 * time.Hour) }

// Volume counts messages.
type Volume struct {
	Messages int64 `json:"messages"`
	Passed   int64 `json:"passed"` // DMARC
	Failed   int64 `json:"failed"`
}

// PassRate returns the part of the messages that passed, from 0 to 1. It is 1 without messages.
func (v Volume) PassRate() float64 {
	if v.Messages == 0 {
		return 1
	}
	return float64(v.Passed) / float64(v.Messages)
}

// Day is a UTC day.
type Day struct {
	Day time.Time `json:"day"` // its first second
	Volume
}

// Days returns the days with aggregate reports, the oldest first. A report whose range is not one day is omitted.
func (s *Store) Days(ctx context.Context, f Filter) (all []Day, err error) {
	all = []Day{}
	where, args := f.where(read.Aggregate)
	err = s.each(ctx, func(scan func(...any) error) error {
		var d Day
		var at int64
		err := scan(&at, &d.Messages, &d.Passed)
		d.Day, d.Failed = date(at), d.Messages-d.Passed
		all = append(all, d)
		return err
	}, "SELECT r.day, "+sums+" FROM report r WHERE "+where+" AND r.day IS NOT NULL GROUP BY r.day ORDER BY r.day DESC LIMIT ?", append(args, limit)...)
	slices.Reverse(all)
	return all, err
}

// Domain is a Policy Domain with reports.
type Domain struct {
	Domain  string    `json:"domain"`
	Reports int64     `json:"reports"` // aggregate reports
	Last    time.Time `json:"last"`    // the last day that a report is about
	Volume
	Reporters int64 `json:"reporters"`
}

// Domains returns the domains with aggregate reports, those with most messages first.
func (s *Store) Domains(ctx context.Context, f Filter) (all []Domain, err error) {
	all = []Domain{}
	where, args := f.where(read.Aggregate)
	err = s.each(ctx, func(scan func(...any) error) error {
		var d Domain
		var last int64
		err := scan(&d.Domain, &d.Reports, &last, &d.Messages, &d.Passed, &d.Reporters)
		d.Last, d.Failed = date(last), d.Messages-d.Passed
		all = append(all, d)
		return err
	}, `SELECT r.domain, COUNT(*), MAX(COALESCE(r.day, r.begin_at)), `+sums+`, COUNT(DISTINCT r.reporter)
		FROM report r WHERE `+where+" GROUP BY r.domain ORDER BY n DESC, r.domain LIMIT ?", append(args, limit)...)
	return all, err
}

// Reporter is a domain that sent reports.
type Reporter struct {
	Reporter string    `json:"reporter"`
	Verified bool      `json:"verified"` // false: all of its reports were imported
	Trusted  bool      `json:"trusted"`  // counts for alarms and for the cost of a policy
	Reports  int64     `json:"reports"`
	Last     time.Time `json:"last"`        // the last day that a report is about
	LastID   int64     `json:"last_number"` // the number of the last report
	Volume
}

// Reporters returns the reporters of aggregate reports, those with most messages first.
func (s *Store) Reporters(ctx context.Context, f Filter) (all []Reporter, err error) {
	trusted, err := s.Trusted(ctx)
	if err != nil {
		return nil, err
	}
	all = []Reporter{}
	where, args := f.where(read.Aggregate)
	err = s.each(ctx, func(scan func(...any) error) error {
		var one Reporter
		var last int64
		err := scan(&one.Reporter, &one.Verified, &one.Reports, &last, &one.LastID, &one.Messages, &one.Passed)
		one.Last, one.Failed = date(last), one.Messages-one.Passed
		one.Trusted = one.Verified && slices.Contains(trusted, one.Reporter)
		all = append(all, one)
		return err
	}, `SELECT r.reporter, MAX(r.verified), COUNT(*), MAX(COALESCE(r.day, r.begin_at)), MAX(r.id), `+sums+`
		FROM report r WHERE `+where+" GROUP BY r.reporter ORDER BY n DESC, r.reporter LIMIT ?", append(args, limit)...)
	return all, err
}

// PolicyPeriod is a policy that reporters found in DNS.
type PolicyPeriod struct {
	read.Policy
	Reporters int64     `json:"reporters"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"` // days
}

// mostPolicies limits the policies of a domain. A policy is what a reporter wrote.
const mostPolicies = 20

// Policies returns the policies that reporters found, those that were seen last first.
func (s *Store) Policies(ctx context.Context, f Filter) (all []PolicyPeriod, err error) {
	all = []PolicyPeriod{}
	where, args := f.where(read.Aggregate)
	err = s.each(ctx, func(scan func(...any) error) error {
		var p PolicyPeriod
		var text string
		var first, last int64
		if err := scan(&text, &p.Reporters, &first, &last); err != nil {
			return err
		}
		p.First, p.Last = date(first), date(last)
		all = append(all, p)
		if err := json.Unmarshal([]byte(text), &all[len(all)-1].Policy); err != nil {
			return fmt.Errorf("a policy in the database: %w", err)
		}
		return nil
	}, `SELECT r.policy, COUNT(DISTINCT r.reporter) AS n, MIN(COALESCE(r.day, r.begin_at)), MAX(COALESCE(r.day, r.begin_at)) AS last
		FROM report r WHERE `+where+" GROUP BY r.policy ORDER BY last DESC, n DESC, r.policy LIMIT ?", append(args, mostPolicies)...)
	return all, err
}
