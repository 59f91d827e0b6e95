package received_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/testreports"
)

var now = time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)

// filled returns a store with the reports of testreports, and the filter of the last 30 days of example.org.
func filled(t testing.TB) (*received.Store, received.Filter) {
	t.Helper()
	return filledAt(t, filepath.Join(t.TempDir(), "reports", "received.db"))
}

func filledAt(t testing.TB, path string) (*received.Store, received.Filter) {
	t.Helper()
	s, err := received.Open(t.Context(), path, true, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	testreports.Fill(t, s, now, "")
	return s, received.Filter{Domain: "example.org", Since: now.Truncate(24*time.Hour).AddDate(0, 0, -30), Until: now}
}

func site() received.Site {
	return received.Site{Own: testreports.Own(), Known: testreports.Known()}
}

// perDay is the number of messages in the report of google.com, without the message in ten days that fails; passing are those that pass.
const perDay, passing = 142, 127

// A day counts the messages of all reporters. A report about a week is not a day.
func TestDays(t *testing.T) {
	s, f := filled(t)
	days, err := s.Days(t.Context(), f)
	if err != nil || len(days) != 30 {
		t.Fatal(len(days), err)
	}
	first, last := days[0], days[29]
	if want := perDay + 100 + 500 + 1; first.Messages != int64(want) || first.Passed != passing+100 || first.Failed != first.Messages-first.Passed || !first.Day.Equal(f.Since) { // 30 days ago, own mail fails once
		t.Errorf("%+v", first)
	}
	if want := perDay + 100 + 500 + 1; last.Messages != int64(want) { // the imported report has one message
		t.Errorf("%+v", last)
	}
	f.OnlyVerified, f.Reporter = true, "google.com"
	if days, err = s.Days(t.Context(), f); err != nil || days[29].Messages != perDay {
		t.Errorf("%+v, %v", days[29], err)
	}
}

func TestDomains(t *testing.T) {
	s, f := filled(t)
	f.Domain = ""
	all, err := s.Domains(t.Context(), f)
	if err != nil || len(all) != 3 || all[0].Domain != "example.org" || all[0].Reporters != 5 || all[1].Messages != 3 || !all[1].Last.Equal(now.Truncate(24*time.Hour).AddDate(0, 0, -1)) {
		t.Errorf("%+v, %v", all, err)
	}
}

// A reporter is trusted only if its reports are verified.
func TestReporters(t *testing.T) {
	s, f := filled(t)
	if err := s.SetTrusted(t.Context(), []string{"google.com", "old.example"}); err != nil {
		t.Fatal(err)
	}
	all, err := s.Reporters(t.Context(), f)
	got := map[string]string{}
	for _, r := range all {
		got[r.Reporter] = fmt.Sprint(r.Verified, r.Trusted, r.Reports)
	}
	for name, want := range map[string]string{"google.com": "true true 30", "yahoo.example": "true false 30", "new.example": "true false 30", "weekly.example": "true false 1", "old.example": "false false 1"} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
	if err != nil || all[0].Reporter != "new.example" || all[0].Messages != 15000 {
		t.Errorf("%+v, %v", all[0], err)
	}
}

func TestPolicies(t *testing.T) {
	s, f := filled(t)
	all, err := s.Policies(t.Context(), f)
	if err != nil || len(all) != 1 || all[0].P != "none" || all[0].SP != "none" || all[0].Reporters != 5 || !all[0].First.Equal(f.Since) {
		t.Errorf("%+v, %v", all, err)
	}
}

// The TLS sessions of a domain are those of its policies, even if the report names another domain first.
func TestTLS(t *testing.T) {
	s, f := filled(t)
	got, err := s.TLS(t.Context(), f)
	if err != nil || got.Successful != 3000 || got.Failed != 90 || got.Reports != 30 || len(got.Failures) != 2 || got.Failures[0].Type != "certificate-expired" || got.Failures[0].Sessions != 60 || got.Failures[0].MX != "mx.example.org" {
		t.Errorf("%+v, %v", got, err)
	}
	f.Domain = "example.com"
	if got, err = s.TLS(t.Context(), f); err != nil || got.Successful != 210 || len(got.Failures) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	f.Domain = "example.net"
	if got, err = s.TLS(t.Context(), f); err != nil || got.Reports != 0 || !got.Last.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

// Sources are sorted by their messages, and by those that failed. Each has its owner, reporters and From domains.
func TestSources(t *testing.T) {
	s, f := filled(t)
	all, err := s.Sources(t.Context(), f, site(), 3)
	if err != nil || len(all.Most) != 3 || len(all.MostFailed) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	if all.Count != 38 || all.Failing != 35 { // 30 of them are forged
		t.Errorf("%d sources, %d failing", all.Count, all.Failing)
	}
	if one := all.Most[0]; one.Address != netip.MustParseAddr("198.51.100.66") || one.Owner != received.Other || one.Failed != 15000 || !slices.Equal(one.Reporters, []string{"new.example"}) {
		t.Errorf("%+v", one)
	}
	if one := all.Most[1]; one.Address != netip.MustParseAddr("192.0.2.1") || one.Owner != received.Own || one.Messages != 6070 || one.SPF != 6000 || one.DKIM != 6070 || len(one.Reporters) != 3 || !one.First.Equal(f.Since) {
		t.Errorf("%+v", one)
	}
	if one := all.Most[2]; one.Owner != received.Known || one.SPF != 600 || one.DKIM != 0 || one.Failed != 0 {
		t.Errorf("%+v", one)
	}
	if one := all.MostFailed[2]; one.Address != netip.MustParseAddr("198.51.100.2") || one.Failed != 60 || one.Passed != 180 || !slices.Equal(one.HeaderFroms, []string{"example.org"}) {
		t.Errorf("%+v", one)
	}
}

// The cost of a policy counts the failed messages of trusted reporters by their cause. Neither a reporter that is not trusted nor an imported
// report changes it.
func TestCost(t *testing.T) {
	s, f := filled(t)
	all, err := s.Sources(t.Context(), f, site(), 2)
	if err != nil {
		t.Fatal(err)
	}
	c := all.Cost
	if c.Messages != 30*(perDay+100)+3 || c.Failed != 30*(perDay-passing)+3 || c.Days != 30 || !slices.Equal(c.Reporters, []string{"google.com", "yahoo.example"}) {
		t.Errorf("%+v", c)
	}
	var got []string
	for _, one := range c.Causes {
		got = append(got, fmt.Sprintf("%s %d messages, %d sources, %d days", one.Cause, one.Messages, one.Sources, one.Days))
	}
	want := []string{"own 3 messages, 1 sources, 3 days", "known 0 messages, 0 sources, 0 days", "forwarded 120 messages, 1 sources, 30 days", "mixed 60 messages, 1 sources, 30 days", "unknown 270 messages, 30 sources, 30 days"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(c.PerDay) != 30 || !slices.Equal(c.PerDay[0].Failed, []int64{1, 0, 4, 2, 9}) || !slices.Equal(c.PerDay[29].Failed, []int64{0, 0, 4, 2, 9}) {
		t.Errorf("%+v", c.PerDay)
	}
	if one := c.Causes[4]; len(one.Most) != 2 || one.Most[0].Messages != 9 || !slices.Equal(one.Reporters, []string{"google.com"}) || !one.Last.Equal(now.Truncate(24*time.Hour).AddDate(0, 0, -1)) {
		t.Errorf("%+v", one)
	}
	if err := s.SetTrusted(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if all, err = s.Sources(t.Context(), f, site(), 2); err != nil || all.Cost.Messages != 0 || all.Cost.Failed != 0 || all.Count != 38 {
		t.Errorf("%+v, %v", all.Cost, err)
	}
}

// Signs of a forwarder are the reporter's word, a signature that passes for another domain, and a broken signature of the domain.
func TestRelayed(t *testing.T) {
	day := now.Truncate(24*time.Hour).AddDate(0, 0, -1)
	for want, rows := range map[received.Cause][]read.Row{
		received.Relayed: {
			{Reasons: []read.Reason{{Type: "forwarded"}}}, {Reasons: []read.Reason{{Type: "local_policy", Comment: "arc=pass (i=1)"}}},
			{Signatures: []read.Signature{{Domain: "lists.example", Result: "pass"}}}, {Signatures: []read.Signature{{Domain: "example.org", Result: "fail"}}}, {Signatures: []read.Signature{{Domain: "sub.example.org", Result: "temperror"}}},
		},
		received.Unknown: {
			{}, {Reasons: []read.Reason{{Type: "local_policy", Comment: `"type":"forwarded"`}}}, {SPFResults: []read.SPFResult{{Domain: "spam.example", Result: "pass"}}},
			{Signatures: []read.Signature{{Domain: "notexample.org", Result: "fail"}}}, {Signatures: []read.Signature{{Domain: "spam.example", Result: "none"}}},
		},
	} {
		for i, row := range rows {
			s, err := received.Open(t.Context(), filepath.Join(t.TempDir(), "reports", "received.db"), true, func() time.Time { return now })
			if err != nil {
				t.Fatal(err)
			}
			row.Source, row.Count = netip.MustParseAddr("198.51.100.1"), 1
			if err := s.Add(t.Context(), testreports.Aggregate("example.org", day, "", []read.Row{row}), received.Origin{Reporter: "google.com", Verified: true}); err != nil {
				t.Fatal(err)
			}
			if err := s.SetTrusted(t.Context(), []string{"google.com"}); err != nil {
				t.Fatal(err)
			}
			all, err := s.Sources(t.Context(), received.Filter{Domain: "example.org"}, received.Site{}, 1)
			s.Close()
			if at := slices.Index(received.Causes(), want); err != nil || all.Cost.Causes[at].Messages != 1 {
				t.Errorf("row %d is not %s: %+v, %v", i, want, all.Cost, err)
			}
		}
	}
}

// After folding, all numbers are the same, except for signs of forwarders, which are gone.
func TestFolded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reports", "received.db")
	s, f := filledAt(t, path)
	before, err := s.About(t.Context(), f, site(), 100)
	if err != nil {
		t.Fatal(err)
	}
	future := now.AddDate(0, 0, 200)
	old, err := received.Open(t.Context(), path, false, func() time.Time { return future })
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.Expire(t.Context(), future.AddDate(0, 0, -400)); err != nil {
		t.Fatal(err)
	}
	after, err := s.About(t.Context(), f, site(), 100)
	if err != nil {
		t.Fatal(err)
	}
	if after.Volume != before.Volume || after.Cost.Volume != before.Cost.Volume || !slices.Equal(after.Days, before.Days) || after.Count != before.Count || after.Failing != before.Failing {
		t.Errorf("%+v\n%+v", before, after)
	}
	for i, one := range after.Most {
		if was := before.Most[i]; one.Address != was.Address || one.Volume != was.Volume || one.DKIM != was.DKIM || one.SPF != was.SPF || !one.First.Equal(was.First) || len(one.HeaderFroms) != 0 {
			t.Errorf("%+v\n%+v", was, one)
		}
	}
	if after.Cost.Causes[2].Messages != 0 || after.Cost.Causes[4].Messages != 270+120 {
		t.Errorf("%+v", after.Cost.Causes)
	}
	found, err := s.Find(t.Context(), "1")
	if err != nil || len(found) != 1 || !found[0].Folded || found[0].Rows[0].Count == 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

// A report is found by its number and by the ID of its reporter, with everything that it contains.
func TestFind(t *testing.T) {
	s, f := filled(t)
	reporters, err := s.Reporters(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(reporters, func(r received.Reporter) bool { return r.Reporter == "google.com" })
	found, err := s.Find(t.Context(), fmt.Sprint(reporters[at].LastID))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	r := found[0]
	if r.Reporter != "google.com" || r.Domain != "example.org" || r.Messages != perDay || r.QueueID != "4fXyReport" || len(r.Rows) != 7 || r.Rows[0].Count != 100 || r.Rows[0].Signatures[0].Selector != "s202611" {
		t.Errorf("%+v", r)
	}
	if found, err = s.Find(t.Context(), "tls-1"); err != nil || len(found) != 1 || len(found[0].Policies) != 2 || found[0].Policies[0].Failures[0].Sending != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err = s.Find(t.Context(), r.ID); err != nil || len(found) != 6 { // google.com about three domains, yahoo.example, new.example and old.example
		t.Errorf("%d reports, %v", len(found), err)
	}
	if found, err = s.Find(t.Context(), "none"); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}
