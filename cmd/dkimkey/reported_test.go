package main

import (
	"strings"
	"testing"
	"time"

	"signpost/internal/report/seen"
)

// reports writes what receivers reported yesterday about the keys of example.org: the newest key that signs fails at two trusted receivers.
func (h *house) reports(more ...seen.Selector) {
	h.Helper()
	yesterday := h.now.Truncate(24*time.Hour).AddDate(0, 0, -1)
	last := yesterday.Add(24*time.Hour - time.Second)
	at := func(reporter string, trusted bool) seen.Failing {
		return seen.Failing{Reporter: reporter, Trusted: trusted, Failed: 9, Messages: 10, Since: yesterday, Last: last}
	}
	f := seen.File{Written: h.now, Since: h.now.Add(-seen.Period), Selectors: append(more, seen.Selector{Domain: "example.org", Selector: h.signing("example.org"), Algorithm: "rsa",
		Messages: 12345, Passed: 12318, Failed: 27, Receivers: 14, Last: last, Trusted: 40, Failing: []seen.Failing{at("a.example", true), at("b.example", true), at("c.example", false)}})}
	if err := f.Write(h.dir + "/state"); err != nil {
		h.Fatal(err)
	}
}

// dkimkey status shows what receivers saw, and an alarm is an action. Names that are no keys of this site, and old files, are not shown. rotate
// prints the alarm, and does its steps all the same.
func TestReported(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org", "--selector", "s1")
	h.must("rotate", "--wait")
	if table, actions, all, code := h.status(); code != 0 || actions != "" || all[0].Reported != nil || strings.Contains(table, "receivers") {
		t.Errorf("without reports: %d %s%s", code, table, actions)
	}
	h.reports(seen.Selector{Domain: "example.org", Selector: "made-up\x1b", Messages: 666}, seen.Selector{Domain: "z.example", Selector: "s1", Messages: 666})
	const want = "key s1: receivers report that its signatures fail: 18 of 20 messages since 2026-11-23, at a.example, b.example: run dkimkey check example.org, and see signpost reports received example.org\n"
	table, actions, all, code := h.status()
	if code != 1 || actions != "example.org: "+want+"dkimkey: action needed, see above\n" || strings.Contains(table, "666") {
		t.Errorf("%d %s%s", code, table, actions)
	}
	if !strings.HasSuffix(table, `
What receivers reported since 2026-10-25:
DOMAIN       SELECTOR  MESSAGES  RECEIVERS  FAILED  LAST        NOTE
example.org  s1        12345     14         27      2026-11-23  fails since 2026-11-23 at a.example, b.example
`) {
		t.Error(table)
	}
	if r := all[0].Reported; r == nil || !r.Alarm || r.Messages != 12345 || r.Passed != 12318 || r.Failed != 27 || r.Receivers != 14 || len(r.Failing) != 3 || all[0].ActionNeeded+"\n" != strings.TrimPrefix(want, "key s1: ") {
		t.Errorf("%+v", all[0])
	}
	if out, code := h.run("rotate", "example.org", "--now"); code != 1 || !strings.Contains(out, "example.org: "+want) || !strings.Contains(out, "example.org: requested a successor for key s1\n") {
		t.Errorf("%d %s", code, out)
	}
	h.must("rotate", "example.org", "--dry-run")
	h.now = h.now.AddDate(0, 0, 5)
	if out, _ := h.run("status"); strings.Contains(out, "receivers") {
		t.Errorf("with an old file: %s", out)
	}
}

// The failures of a key that does not sign any longer are expected. They are no action.
func TestReportedRetired(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org", "--selector", "s1")
	h.must("rotate", "--wait")
	h.reports()
	h.run("rotate", "example.org", "--now", "--wait")
	table, actions, _, code := h.status()
	if code != 0 || actions != "" || !strings.Contains(table, "2026-11-23  expected until 2026-12-2") {
		t.Errorf("%d %s%s", code, table, actions)
	}
}

// A damaged file is a warning: it is no reason to withhold the state of the keys.
func TestReportedDamaged(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org", "--selector", "s1")
	h.must("rotate", "--wait")
	h.reports()
	h.write("state/reports/status/selectors.json", "{", 0o600)
	if out, code := h.run("status"); code != 0 || !strings.Contains(out, "dkimkey: warning: ") || !strings.Contains(out, "selectors.json is damaged\nhint: signpost reports read writes it again\n") {
		t.Errorf("%d %s", code, out)
	}
}
