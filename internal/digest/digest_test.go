package digest

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
	"signpost/keys"
	"signpost/policy"
)

// message is one message of the test, with what it counts as.
type message struct {
	role         policy.Role
	action       policy.Action
	dmarc        dmarc.Status
	code         policy.Code
	domain, from string
}

func (m message) record(n int) *decision.Record {
	r := &decision.Record{Version: decision.Version, Code: m.code, Assignment: policy.Assignment{Role: m.role}, Verdict: policy.Verdict{Action: m.action}}
	r.QueueID, r.Author.Domains = fmt.Sprintf("4D%04d", n), []string{m.domain}
	r.Connection = policy.Connection{Client: netip.MustParseAddr(m.from), SMTP: true}
	if m.dmarc != "" {
		r.DMARC = []dmarc.Result{{Status: m.dmarc}}
	}
	return r
}

// history writes the messages of two weeks. The first half arrives in the first week.
func history(t *testing.T, start time.Time, all []message) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "journal", "journal.db")
	at := start
	var j *journal.Journal
	for n, m := range all {
		if n%500 == 0 { // fewer than the queue of the journal. All of a batch arrive at the same time
			if j != nil {
				j.Close()
			}
			at = start.Add(time.Duration(n) * 14 * 24 * time.Hour / time.Duration(len(all)))
			j = journal.Open(journal.Options{Path: path, Limits: journal.Limits{Keep: 30 * 24 * time.Hour, MaxSize: 64 << 20, Addresses: journal.Hash}, Now: func() time.Time { return at }, Log: slog.New(slog.DiscardHandler)})
		}
		j.Add(m.record(n))
	}
	j.Close()
	return path
}

// The numbers of both weeks and of each reason are those that a count over the messages has. A client that passed DMARC for a hosted domain only
// in the second week is a new source.
func TestReadMail(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	kinds := []message{
		{policy.RoleSign, policy.Sign, "", policy.Authenticated, "", ""}, {policy.RoleBypass, policy.Accept, "", policy.NotHosted, "", ""},
		{policy.RoleVerify, policy.Accept, dmarc.Pass, "", "", ""}, {policy.RoleVerify, policy.Reject, dmarc.Fail, policy.DMARCFail, "", ""},
		{policy.RoleVerify, policy.Tag, dmarc.Fail, policy.DMARCFail, "", ""}, {policy.RoleVerify, policy.Tempfail, dmarc.TempError, policy.LocalDeny, "", ""},
		{policy.RoleSign, policy.Reject, "", policy.LoginMismatch, "", ""}, {policy.RoleVerify, policy.Discard, dmarc.None, policy.ReportReceived, "", ""},
	}
	var all []message
	for n := range 4000 {
		m := kinds[random.IntN(len(kinds))]
		m.domain, m.from = fmt.Sprintf("d%d.example", random.IntN(4)), fmt.Sprintf("192.0.2.%d", random.IntN(3))
		if n == 3000 {
			m = kinds[2]
			m.domain, m.from = "d1.example", "203.0.113.9"
		}
		if n == 3001 {
			m = kinds[2]
			m.domain, m.from = "stranger.example", "203.0.113.9" // not hosted
		}
		all = append(all, m)
	}
	start := time.Now().Add(-14 * 24 * time.Hour).Truncate(time.Second)
	middle, end := start.Add(7*24*time.Hour), start.Add(14*24*time.Hour)
	r, err := journal.OpenReader(history(t, start, all))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, err := ReadMail(t.Context(), r, middle, end, func(domain string) bool { return domain != "stranger.example" })
	if err != nil || m.Before == nil {
		t.Fatalf("%+v, %v", m, err)
	}
	for i, got := range []Volumes{*m.Before, m.Now} {
		var want Volumes
		for _, one := range all[i*2000 : (i+1)*2000] {
			want.Messages++
			count := func(n *int64, yes bool) {
				if yes {
					*n++
				}
			}
			count(&want.Signed, one.action == policy.Sign)
			count(&want.Unsigned, one.role == policy.RoleBypass)
			count(&want.Inbound, one.role == policy.RoleVerify)
			count(&want.Passed, one.dmarc == dmarc.Pass)
			count(&want.Failed, one.dmarc == dmarc.Fail)
			count(&want.Rejected, one.action == policy.Reject || one.action == policy.Discard)
			count(&want.Held, one.action == policy.Tag)
			count(&want.Deferred, one.action == policy.Tempfail)
		}
		if got != want {
			t.Errorf("week %d: %+v, want %+v", i, got, want)
		}
	}
	reasons := map[string]int64{}
	for _, one := range all[2000:] {
		if one.action != policy.Sign && one.action != policy.Accept {
			reasons[fmt.Sprint(one.code, " ", one.action)]++
		}
	}
	for _, one := range m.Reasons {
		name := fmt.Sprint(one.Code, " ", one.Action)
		if reasons[name] != one.N || len(one.Domains) != mostDomains {
			t.Errorf("%s: %+v, want %d", name, one, reasons[name])
		}
		delete(reasons, name)
	}
	if len(reasons) > 0 {
		t.Errorf("reasons that are missing: %v", reasons)
	}
	if len(m.Sources) != 1 || m.Sources[0] != (Source{"d1.example", netip.MustParseAddr("203.0.113.9"), 1}) {
		t.Errorf("new sources: %+v", m.Sources)
	}
	// If the journal does not cover the period before, nothing is compared, and no source is new.
	m, err = ReadMail(t.Context(), r, start.Add(-time.Hour), end, func(string) bool { return true })
	if err != nil || m.Before != nil || len(m.Sources) > 0 || m.Now.Messages != 4000 {
		t.Errorf("%+v, %v", m, err)
	}
}

// A digest fits on one screen, whatever happened, and no text from mail controls a terminal.
func TestWrite(t *testing.T) {
	now := time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)
	d := &Digest{Host: "mx1.example.org", From: now.AddDate(0, 0, -7), To: now, Problem: "SIGNPOST WARNING - something", Omitted: 3,
		Journal: &Mail{Oldest: now.AddDate(0, 0, -30), Now: Volumes{Messages: 10}, Before: &Volumes{Messages: 9}}, Sent: &Sent{Accepted: 3}, Seen: &Received{Reports: 2, Messages: 10, Passed: 9}}
	for n := range 30 {
		name := fmt.Sprintf("d%d.example", n)
		d.Journal.Reasons = append(d.Journal.Reasons, Reason{policy.DMARCFail, policy.Reject, 5, []journal.Count{{Name: "\x1b[2J\n" + name, N: 5}}})
		d.Journal.Sources = append(d.Journal.Sources, Source{name, netip.MustParseAddr("192.0.2.1"), 1})
		d.Keys = append(d.Keys, Due{Domain: name, Selector: "s1", Step: "retire", At: now})
		d.Alarms = append(d.Alarms, status.Alarm{Code: status.TLSFailure, Domain: name, Failure: "certificate-expired", Messages: 1, Total: 2, Since: now})
	}
	d.Problems = []Problem{{"daemon", 1, strings.Repeat("the daemon does not answer ", 9)}, {"keys", 30, "d1.example: no active key"}}
	d.Seen.Own, d.Seen.OwnBefore = Aligned{1000, 900, 800, 700}, Aligned{100, 50, 25, 10}
	d.Seen.Sources = []Source{{strings.Repeat("long.", 40) + "example", netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666"), 77}}
	d.Errors = []string{strings.Repeat("x", 200), "second"}
	d.Journal.Observed = true
	got := screen(t, d)
	for _, want := range []string{" more: signpost log --failed --since 7d", " more: dkimkey status", " more: signpost check", " more: signpost reports received", "daemon: 1: the daemon", "77 in reports: 2001:db8:",
		"own mail: 1000, before 100", "DMARC 90.0 % (50.0 %), DKIM 80.0 % (25.0 %), SPF 70.0 % (10.0 %)", "(1 more: signpost digest --json)"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	// Alarms of the same kind have one line.
	few := &Digest{Host: "mx1", From: d.From, To: now, Alarms: d.Alarms, Omitted: 3, Journal: &Mail{Oldest: now.AddDate(0, 0, -30), Now: Volumes{Inbound: 10, Passed: 9}, Before: &Volumes{Inbound: 4, Passed: 2}}}
	got = screen(t, few)
	for _, want := range []string{"tls failure: 30 (signpost reports received): d0.example, ", "others of reports: 3", "pass rate       90.0 %     50.0 %", "reports     off (docs/reports.md)\n", "keys        nothing is due (dkimkey status)"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	few.Sent = &Sent{}
	if got = screen(t, few); !strings.Contains(got, "received    reports: off (docs/reports.md)\n") {
		t.Error(got)
	}
}

// screen writes a digest, which must fit on a screen.
func screen(t *testing.T, d *Digest) string {
	t.Helper()
	var b strings.Builder
	if err := d.Write(&b, "7d"); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if n := strings.Count(text, "\n"); n > 24 || strings.Contains(text, "\x1b") {
		t.Errorf("%d lines\n%s", n, text)
	}
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	return text
}

// Mail from networks of the site is counted. An address of others is a new source if the reports of the period before do not have it.
func TestAddSources(t *testing.T) {
	source := func(address string, owner received.Owner, messages int64) received.Source {
		return received.Source{Address: netip.MustParseAddr(address), Owner: owner, Volume: received.Volume{Messages: messages, Passed: messages / 2}, DKIM: 3, SPF: 2}
	}
	var r Received
	r.AddSources("example.org", []received.Source{source("192.0.2.1", received.Own, 10), source("192.0.2.2", received.Own, 4), source("198.51.100.1", received.Known, 5), source("203.0.113.1", received.Other, 6), source("203.0.113.2", received.Other, 7)},
		[]received.Source{source("192.0.2.1", received.Own, 8), source("203.0.113.1", received.Other, 6)})
	if r.Own != (Aligned{14, 7, 6, 4}) || r.OwnBefore != (Aligned{8, 4, 3, 2}) || len(r.Sources) != 1 || r.Sources[0] != (Source{"example.org", netip.MustParseAddr("203.0.113.2"), 7}) {
		t.Errorf("%+v", r)
	}
}

// Keys that need action come first, then the steps by time. Steps after the period are omitted.
func TestKeysDue(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	key := func(name, action string, days ...int) keys.Status {
		s := keys.Status{Key: &keys.Key{Domain: "example.org", Selector: name}, Action: action, Steps: []keys.Step{{Do: keys.DoCheck, Due: now}}}
		for _, n := range days {
			s.Steps = append(s.Steps, keys.Step{Do: keys.DoRetire, Due: now.AddDate(0, 0, n)})
		}
		return s
	}
	var got []string
	for _, d := range KeysDue([]keys.Status{key("late", "", 8), key("second", "", 5), key("first", "", 2), key("broken", "publish it")}, now.AddDate(0, 0, 7)) {
		got = append(got, d.Selector)
	}
	if strings.Join(got, " ") != "broken first second" {
		t.Errorf("%q", got)
	}
}
