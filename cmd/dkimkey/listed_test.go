package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// listHouse is a house whose domains come from a list.
type listHouse struct{ *house }

func newListHouse(t *testing.T) listHouse {
	t.Helper()
	return listHouse{newHouse(t, nil, "[publish]\nmethod = \"manual\"\n[keys]\nalgorithms = [\"ed25519\"]\n")}
}

// add runs the command of cron with a list of domains.
func (h listHouse) add(domains []string, args ...string) (out string, code int) {
	h.Helper()
	h.write("list", strings.Join(domains, "\n")+"\n", 0o644)
	return h.run(append([]string{"add", "--missing", "--from-file", filepath.Join(h.dir, "list"), "--retire-missing"}, args...)...)
}

// has reports whether a domain has keys.
func (h listHouse) has(domain string) bool {
	_, err := os.Stat(filepath.Join(h.dir, "state", "keys", domain))
	return err == nil
}

func numbered(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("d%d.example", i))
	}
	return all
}

// A domain that was added from the list is removed after three runs on three days in which it was missing. A domain that returns in the
// meantime is counted from the beginning. Domains that were added in another way are never removed.
func TestRetireMissing(t *testing.T) {
	t.Parallel()
	h := newListHouse(t)
	h.must("add", "named.example")
	h.write("other", "once.example\n", 0o644)
	h.must("add", "--from-file", filepath.Join(h.dir, "other"))
	if out, code := h.add([]string{"named.example", "a.example", "b.example"}); code != 0 {
		t.Fatal(out)
	}
	const day = 24 * time.Hour
	rest := []string{"b.example"}
	for n, step := range []struct {
		after time.Duration
		list  []string
		has   bool
		says  string
	}{
		{time.Hour, rest, true, "a.example: missing from the list on 1 of 3 days"},
		{time.Hour, rest, true, "on 1 of 3 days"}, // another run on the same day
		{day, rest, true, "on 2 of 3 days"},
		{day, []string{"a.example", "b.example"}, true, ""}, // it has returned
		{day, rest, true, "on 1 of 3 days"},
		{5 * day, rest, true, "on 2 of 3 days"},
		{day, rest, false, "a.example: no longer hosted"},
	} {
		h.now = h.now.Add(step.after)
		out, code := h.add(step.list)
		if code != 0 || h.has("a.example") != step.has || step.says == "" && out != "" || !strings.Contains(out, step.says) {
			t.Fatalf("step %d: exit code %d, a.example is there: %t\n%s", n, code, h.has("a.example"), out)
		}
	}
	if !h.has("named.example") || !h.has("once.example") || !h.has("b.example") {
		t.Error("a domain is gone that was not due")
	}
	// The domain is added again, and a list without any domain removes nothing.
	if out, code := h.add([]string{"a.example", "b.example"}); code != 0 || !h.has("a.example") {
		t.Fatal(out)
	}
	for range 4 {
		h.now = h.now.Add(day)
		if out, code := h.add(nil); code != 1 || !strings.Contains(out, "contains no domain") {
			t.Errorf("an empty list: exit code %d\n%s", code, out)
		}
	}
	if !h.has("a.example") || !h.has("b.example") {
		t.Error("an empty list has removed a domain")
	}
}

// If more domains are due than a run may remove, none is removed without --force: three, or 2 % of those added from lists.
func TestRetireMissingLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ domains, missing, code int }{{10, 3, 0}, {10, 4, 1}, {250, 5, 0}, {250, 6, 1}} {
		h := newListHouse(t)
		all := numbered(c.domains)
		h.add(all)
		var out string
		var code int
		for range 3 {
			h.now = h.now.Add(24 * time.Hour)
			out, code = h.add(all[c.missing:])
		}
		left := 0
		for _, d := range all {
			if h.has(d) {
				left++
			}
		}
		want := c.domains
		if c.code == 0 {
			want -= c.missing
		}
		if code != c.code || left != want || c.code != 0 && !strings.Contains(out, fmt.Sprintf("%d domains have been missing from the list for 3 days, but one run removes at most", c.missing)) {
			t.Errorf("%d of %d missing: exit code %d, %d left, want %d\n%s", c.missing, c.domains, code, left, want, out)
		}
		if c.code == 0 {
			continue
		}
		if out, code := h.add(all[c.missing:], "--force"); code != 0 || h.has(all[0]) {
			t.Errorf("--force: exit code %d\n%s", code, out)
		}
	}
}

// --max limits how many domains get keys in one run. The exit code is 1 until all have keys.
func TestAddMax(t *testing.T) {
	t.Parallel()
	h := newListHouse(t)
	all := numbered(5)
	for run, want := range []struct{ has, code int }{{2, 1}, {4, 1}, {5, 0}} {
		out, code := h.add(all, "--max", "2")
		has := 0
		for _, d := range all {
			if h.has(d) {
				has++
			}
		}
		if has != want.has || code != want.code || code == 1 && !strings.Contains(out, "more domains have no key (--max 2)") {
			t.Errorf("run %d: %d domains, exit code %d\n%s", run, has, code, out)
		}
	}
}

// Flags about a list that do not fit together are usage errors.
func TestListFlags(t *testing.T) {
	t.Parallel()
	h := newListHouse(t)
	h.write("list", "a.example\n", 0o644)
	list := filepath.Join(h.dir, "list")
	for _, args := range [][]string{
		{"--retire-missing", "a.example"}, {"--retire-missing", "--from-file", list, "b.example"}, {"--force", "a.example"},
		{"--retire-missing", "--from-file", list},
		{"--max", "3", "--from-file", list}, {"--max", "-1", "--missing", "--from-file", list},
	} {
		if out, code := h.run(append([]string{"add"}, args...)...); code != 2 {
			t.Errorf("%q: exit code %d\n%s", args, code, out)
		}
	}
}

// A damaged record of the list stops the command before it creates or removes a key.
func TestListedDamaged(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"{", "null", `{"a.example": null}`} {
		h := newListHouse(t)
		h.add([]string{"a.example"})
		h.write("state/listed.json", text, 0o600)
		if out, code := h.add([]string{"b.example"}); code != 1 || !strings.Contains(out, "listed.json: it is damaged") || h.has("b.example") {
			t.Errorf("%s: exit code %d\n%s", text, code, out)
		}
	}
}

// Several domains share one key. The record is in the zone of the first domain, and the others have a CNAME record that leads to it.
func TestSharedKey(t *testing.T) {
	t.Parallel()
	customer := zoneOf("customer.example") + "shared1._domainkey IN CNAME shared1._domainkey.example.org.\n"
	h := newHouse(t, map[string]string{"example.org.": exampleZone, "customer.example.": customer}, rfc2136+"[publish.domain.\"customer.example\"]\nmethod = \"manual\"\n[keys]\nalgorithms = [\"ed25519\"]\n")
	h.must("add", "example.org", "--selector", "shared1")
	h.write("list", "customer.example\n", 0o644)
	out := h.must("import", filepath.Join(h.dir, "state/keys/example.org/shared1.pem"), "--selector", "shared1", "--from-file", filepath.Join(h.dir, "list"))
	if !strings.Contains(out, "customer.example: key shared1: its record is visible at all name servers; it signs from") {
		t.Errorf("import: %s", out)
	}
	h.now = h.now.Add(3 * time.Hour)
	h.must("rotate")
	for _, domain := range []string{"example.org", "customer.example"} {
		if got := h.signing(domain); got != "shared1" {
			t.Errorf("%s: %q signs\n%s", domain, got, h.must("status"))
		}
	}
}

// A domain of the list that the operator removes and adds again by name is no longer a domain of the list.
func TestRemovedAndNamed(t *testing.T) {
	t.Parallel()
	h := newListHouse(t)
	h.add([]string{"a.example", "b.example"})
	h.must("remove", "a.example", "--yes")
	h.must("add", "a.example")
	for range 4 {
		h.now = h.now.Add(24 * time.Hour)
		h.add([]string{"b.example"})
	}
	if !h.has("a.example") {
		t.Error("a.example is removed, although it was added by name")
	}
}

// A jump of the clock does not replace a day: the count begins again when the clock is set back.
func TestRetireMissingClock(t *testing.T) {
	t.Parallel()
	h := newListHouse(t)
	const day = 24 * time.Hour
	h.add([]string{"a.example", "b.example"})
	for n, step := range []struct {
		after time.Duration
		says  string
	}{{time.Hour, "on 1 of 3 days"}, {100 * day, "on 2 of 3 days"}, {-100 * day, "on 1 of 3 days"}, {day, "on 2 of 3 days"}, {-2 * day, "on 1 of 3 days"}, {time.Hour, "on 1 of 3 days"},
		{day, "on 2 of 3 days"}, {day, "a.example: no longer hosted"}} {
		h.now = h.now.Add(step.after)
		if out, code := h.add([]string{"b.example"}); code != 0 || !strings.Contains(out, step.says) {
			t.Errorf("step %d: exit code %d\n%s", n, code, out)
		}
	}
}

// The form of a name in the list does not matter. A list with a line that is not a domain changes nothing.
func TestListForms(t *testing.T) {
	t.Parallel()
	h := newListHouse(t)
	h.add([]string{"a.example", "bücher.example", "c.example"})
	for range 4 {
		h.now = h.now.Add(24 * time.Hour)
		if out, code := h.add([]string{"A.Example.\r", "  XN--BCHER-KVA.example\t", "c.example # old"}); code != 0 || out != "" {
			t.Errorf("exit code %d\n%s", code, out)
		}
		for _, line := range []string{"NULL", "c.example\tactive", "ERROR 2013 (HY000)", "ALL"} {
			if out, code := h.add([]string{"d.example", line}); code != 2 || h.has("d.example") {
				t.Errorf("%q: exit code %d\n%s", line, code, out)
			}
		}
	}
	for _, name := range []string{"a.example", "xn--bcher-kva.example", "c.example"} {
		if !h.has(name) {
			t.Errorf("%s is removed", name)
		}
	}
}

// If the removal of a domain is interrupted after its keys are deleted, the next run completes it. Otherwise mail of the domain would get 451.
func TestRetireMissingInterrupted(t *testing.T) {
	t.Parallel()
	h := newListHouse(t)
	h.add([]string{"a.example", "b.example"})
	for range 2 {
		h.now = h.now.Add(24 * time.Hour)
		h.add([]string{"b.example"})
	}
	hosted := filepath.Join(h.dir, "state", "hosted", "a.example")
	if err := os.MkdirAll(filepath.Dir(hosted), 0o700); err != nil {
		t.Fatal(err)
	}
	h.write("state/hosted/a.example", "2026-11-24T04:15:00Z\n", 0o600)
	if err := os.RemoveAll(filepath.Join(h.dir, "state", "keys", "a.example")); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(24 * time.Hour)
	out, code := h.add([]string{"b.example"})
	if _, err := os.Stat(hosted); err == nil || code != 0 {
		t.Errorf("exit code %d, still hosted: %t\n%s", code, err == nil, out)
	}
}
