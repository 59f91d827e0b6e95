// Package testreports has received reports for tests.
package testreports

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
)

// Own and Known are networks of the site to which the reports were sent.
func Own() []netip.Prefix   { return []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28")} }
func Known() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")} }

// Fill stores reports about the last 35 days before now. Three reporters send a report about example.org each day: google.com and yahoo.example
// are trusted, new.example is not. There is one report about example.net, one about a foreign domain, an imported report and TLS reports. The
// text evil is in each field that a reporter chooses freely.
func Fill(t testing.TB, s *received.Store, now time.Time, evil string) {
	t.Helper()
	today := now.UTC().Truncate(24 * time.Hour)
	add := func(r *read.Report, reporter string, verified bool) {
		t.Helper()
		r.OrgName, r.Contact, r.Generator, r.Errors = "Organization "+evil, evil+"@"+reporter, evil, []string{evil}
		o := received.Origin{Reporter: reporter, Verified: verified, Received: r.End.Add(4 * time.Hour)}
		if verified {
			o.QueueID = "4fXyReport"
		}
		if err := s.Add(t.Context(), r, o); err != nil && !errors.Is(err, received.ErrDuplicate) {
			t.Fatal(err)
		}
	}
	for ago := 35; ago > 0; ago-- {
		begin := today.AddDate(0, 0, -ago)
		add(Aggregate("example.org", begin, evil, rows(ago, evil)), "google.com", true)
		add(Aggregate("example.org", begin, evil, rows(ago, evil)[:1]), "yahoo.example", true)
		add(Aggregate("example.org", begin, evil, []read.Row{row("198.51.100.66", 500, false, false)}), "new.example", true)
		add(&read.Report{Kind: read.TLS, ID: fmt.Sprint("tls-", ago), Begin: begin, End: begin.Add(24*time.Hour - time.Second), Domain: "example.org",
			Policies: []read.TLSPolicy{{Type: "sts", Domain: "example.org", Successful: 100, Failed: 3, Failures: []read.TLSFailure{
				{Type: "certificate-expired", MX: "mx.example.org" + evil, Count: 2, Reason: evil, Info: evil, Sending: netip.MustParseAddr("2001:db8::1")}, {Type: "sts" + evil, Count: 1}}},
				{Type: "no-policy-found", Domain: "example.com", Successful: 7}}}, "google.com", true)
	}
	yesterday := today.AddDate(0, 0, -1)
	add(Aggregate("example.net", yesterday, evil, []read.Row{row("192.0.2.1", 3, true, true)}), "google.com", true)
	add(Aggregate("foreign.example", yesterday, evil, []read.Row{row("192.0.2.1", 3, true, true)}), "google.com", true)
	add(Aggregate("example.org", yesterday, evil, []read.Row{row("198.51.100.99", 1, false, false)}), "old.example", false)
	week := Aggregate("example.org", yesterday.AddDate(0, 0, -6), evil, []read.Row{row("192.0.2.1", 70, true, false)})
	week.End = today.Add(-time.Second)
	add(week, "weekly.example", true)
	if err := s.SetTrusted(t.Context(), []string{"google.com", "yahoo.example"}); err != nil {
		t.Fatal(err)
	}
}

// Aggregate returns an aggregate report about a day.
func Aggregate(domain string, begin time.Time, evil string, rows []read.Row) *read.Report {
	return &read.Report{Kind: read.Aggregate, ID: fmt.Sprint(begin.Unix(), evil), Begin: begin, End: begin.Add(24*time.Hour - time.Second), Domain: domain, Policy: read.Policy{P: "none", SP: "none" + evil}, Rows: rows}
}

func row(source string, n int64, dkim, spf bool) read.Row {
	return read.Row{Source: netip.MustParseAddr(source), Count: n, Disposition: "none", DKIM: dkim, SPF: spf, HeaderFrom: "example.org"}
}

// rows returns what one reporter saw on a day: own mail, of which one message in 10 days fails, a known source that passes SPF only, a
// mailing list, a source that passes sometimes, and forged mail from changing addresses.
func rows(ago int, evil string) []read.Row {
	all := []read.Row{row("192.0.2.1", 100, true, true), row("203.0.113.5", 20, false, true), row("198.51.100.1", 4, false, false), row("198.51.100.2", 6, true, false),
		row("198.51.100.2", 2, false, false), row(fmt.Sprintf("198.51.100.%d", 100+ago), 9, false, false), row("2001:db8::25", 1, true, true)}
	all[0].Signatures = []read.Signature{{Domain: "example.org", Selector: "s202611" + evil, Result: "pass", Human: evil}}
	all[2].Signatures = []read.Signature{{Domain: "lists.example", Selector: evil, Result: "pass"}}
	all[2].Reasons = []read.Reason{{Type: "mailing_list", Comment: evil}}
	all[2].EnvelopeFrom, all[2].EnvelopeTo, all[2].Disposition = "lists.example"+evil, evil, "none"+evil
	all[5].HeaderFrom = "forged" + evil + ".example.org"
	all[5].SPFResults = []read.SPFResult{{Domain: "spam.example" + evil, Scope: "mfrom", Result: "pass"}}
	if ago%10 == 0 {
		all = append(all, row("192.0.2.2", 1, false, false))
	}
	return all
}

// Alarms returns an alarm with each code. The text evil is in each text.
func Alarms(now time.Time, evil string) []status.Alarm {
	day := func(ago int) time.Time { return now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -ago) }
	reporters := []string{"google.com" + evil, "yahoo.example"}
	return []status.Alarm{
		{Code: status.UnknownSource, Domain: "example.org", Selector: "news" + evil, Signer: "example.org", Source: netip.MustParseAddr("198.51.100.2"), Sources: 1, Reporters: reporters, Messages: 180, Since: day(30), Last: day(1), Reports: []int64{1, 2}},
		{Code: status.ReporterSilent, Reporters: []string{"silent.example" + evil}, Since: day(9), Last: day(9)},
		{Code: status.PolicyDiffers, Domain: "example.org", Published: "p=reject", Seen: "p=none" + evil, Reporters: reporters, Since: day(3), Last: day(1)},
		{Code: status.TLSFailure, Domain: "example.org", Failure: "certificate-expired" + evil, Reporters: reporters, Messages: 60, Total: 3090, Since: day(30), Last: day(1)},
		{Code: status.SelectorFails, Domain: "example.org", Selector: "s202611" + evil, Reporters: reporters, Messages: 30, Total: 900, Since: day(5), Last: day(1)},
	}
}
