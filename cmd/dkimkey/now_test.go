package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

// inState returns the selectors of a domain in a state.
func (h *house) inState(domain string, state keys.State) []string {
	h.Helper()
	all := h.state(domain)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(s string) bool { return all[s] != state })
}

const both = "[keys]\nalgorithms = [\"rsa\", \"ed25519\"]\n"

// A key that is added while a standby exists is published immediately. The output names the key that signs until the next rotation.
func TestAddBesideStandby(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.ticking()
	h.must("add", "example.org")
	h.days(3)
	first := h.signing("example.org")
	out := h.must("add", "example.org", "--bits", "3072", "--selector", "big")
	if !strings.Contains(out, "published key big") || !strings.Contains(out, "key "+first+" signs until the next rotation") {
		t.Error(out)
	}
	if txt, err := h.txt("big._domainkey.example.org"); err != nil || len(txt) != 1 {
		t.Errorf("DNS has %q %v", txt, err)
	}
}

// interrupted runs a command and interrupts it before operation number step. It reports whether the command was interrupted.
func (h *house) interrupted(step int, args ...string) (is bool) {
	h.Helper()
	type stop struct{}
	n := 0
	h.env.hook = func(string) {
		if n++; n == step {
			panic(stop{})
		}
	}
	defer func() {
		h.env.hook = nil
		if r := recover(); r != nil {
			if _, is = r.(stop); !is {
				panic(r)
			}
		}
	}()
	h.must(args...)
	return false
}

// A step that is due immediately is listed as "now", although the clock advances.
func TestDryRunNow(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.ticking()
	h.must("add", "example.org")
	if out := h.must("rotate", "--dry-run"); !strings.HasPrefix(out, "now: example.org: check ") {
		t.Error(out)
	}
}

// If there is a standby, rotate --now activates it, creates the next key, and keeps the old record for mail in transit.
func TestRotateNow(t *testing.T) {
	t.Parallel()
	for name, algorithms := range map[string]string{"one": "", "pair": both} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136+algorithms)
			h.ticking()
			h.must("add", "example.org")
			h.days(3)
			first, standby := strings.Fields(h.signing("example.org")), h.inState("example.org", keys.Verified)
			before := h.state("example.org")
			if out := h.must("rotate", "example.org", "--now", "--dry-run"); !strings.Contains(out, "now: example.org: activate "+standby[0]) || !maps.Equal(before, h.state("example.org")) {
				t.Error(out)
			}
			if out := h.must("rotate", "example.org", "--dry-run"); strings.Contains(out, "now: example.org: activate") {
				t.Errorf("a dry run was recorded: %s", out)
			}
			h.must("rotate", "example.org", "--now")
			now := strings.Fields(h.signing("example.org"))
			slices.Sort(now)
			if !slices.Equal(now, standby) {
				t.Errorf("%q sign, want %q", now, standby)
			}
			for _, s := range first {
				if h.state("example.org")[s] != keys.Retiring {
					t.Errorf("%s is %s", s, h.state("example.org")[s])
				}
				if txt, err := h.txt(keys.RecordName("example.org", s)); err != nil || len(txt) != 1 || strings.HasSuffix(txt[0], "p=") {
					t.Errorf("DNS has %q %v for mail on its way", txt, err)
				}
			}
			if next := h.inState("example.org", keys.Verified); len(next) != len(first) {
				t.Errorf("the standby keys are %q", next)
			}
			// Later runs change nothing.
			h.days(5)
			if again := strings.Fields(h.signing("example.org")); len(again) != len(now) || slices.ContainsFunc(again, func(s string) bool { return !slices.Contains(now, s) }) {
				t.Errorf("%q sign five days later", again)
			}
		})
	}
}

// Without a standby, rotate --now creates a successor, even if keys.rotate_every is "never". The successor signs when its record has
// been visible for long enough. Later runs complete the rotation, and another request does not start a second rotation. Keys of both
// algorithms rotate together.
func TestRotateNowMakes(t *testing.T) {
	t.Parallel()
	for _, algorithms := range []string{"[keys]\nrotate_every = \"never\"\n", both + "rotate_every = \"never\"\n"} {
		t.Run(algorithms, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136+algorithms)
			h.ticking()
			h.must("add", "example.org")
			h.days(3)
			first := h.signing("example.org")
			h.days(30)
			if len(h.state("example.org")) != len(strings.Fields(first)) {
				t.Fatalf("keys rotate that should not: %v", h.state("example.org"))
			}
			h.must("rotate", "example.org", "--now")
			for range 3 {
				h.now = h.now.Add(30 * time.Minute)
				if out := h.must("rotate", "example.org", "--now"); !strings.Contains(out, "already in progress") {
					t.Error(out)
				}
				if got := h.signing("example.org"); got != first || len(h.state("example.org")) != 2*len(strings.Fields(first)) {
					t.Errorf("%q signs, before %q; %v", got, first, h.state("example.org"))
				}
			}
			h.now = h.now.Add(time.Hour)
			h.must("rotate")
			second := h.signing("example.org")
			if second == first || len(strings.Fields(second)) != len(strings.Fields(first)) {
				t.Errorf("%q sign after two TTLs", second)
			}
			h.days(40)
			if got := h.signing("example.org"); got != second || len(h.state("example.org")) != 2*len(strings.Fields(first)) {
				t.Errorf("%q signs, before %q; %v", got, second, h.state("example.org"))
			}
		})
	}
}

// rotate --now --wait ends when the successor signs.
func TestRotateNowWaits(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136+"[keys]\nrotate_every = \"never\"\n")
	h.must("add", "example.org")
	h.days(3)
	first := h.signing("example.org")
	begun := h.now
	out := h.must("rotate", "example.org", "--now", "--wait")
	if got := h.signing("example.org"); got == first || got == "" {
		t.Errorf("%q signs: %s", got, out)
	}
	if waited := h.now.Sub(begun); waited < 2*time.Hour || waited > 2*time.Hour+waitInterval {
		t.Errorf("it waited %v", waited)
	}
}

// If publish.method is manual, the record of the successor is printed, and the successor takes over when its record is found.
func TestRotateNowManual(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.ticking()
	h.must("add", "example.org", "--selector", "one")
	publish := func() {
		set, err := h.store().Load(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range set.Of("example.org") {
			h.show("example.org", k.Selector, k.Metadata.Record)
		}
	}
	publish()
	h.days(2)
	if got := h.signing("example.org"); got != "one" {
		t.Fatal(got)
	}
	out, code := h.run("rotate", "example.org", "--now")
	if code != 1 || !strings.Contains(out, "add its record to DNS") || strings.Count(out, "IN TXT (") != 1 {
		t.Errorf("%d %s", code, out)
	}
	h.must("rotate", "example.org", "--now")
	if n := len(h.state("example.org")); n != 2 {
		t.Errorf("%d keys", n)
	}
	publish()
	h.must("rotate")
	if got := h.signing("example.org"); got != "one" {
		t.Errorf("%q signs immediately", got)
	}
	h.now = h.now.Add(61 * time.Minute)
	h.must("rotate")
	if got := h.signing("example.org"); got == "one" || got == "" {
		t.Errorf("%q signs", got)
	}
}

// rotate --now reports why it cannot start or continue a rotation.
func TestRotateNowRefused(t *testing.T) {
	t.Parallel()
	zone := exampleZone
	for _, s := range []string{"sp1", "sp2", "sp3"} {
		zone += s + "._domainkey 600 IN CNAME " + s + ".example.org.keys.test.\n"
	}
	h := newHouse(t, map[string]string{"example.org.": zone + "; static\n", "keys.test.": strings.ReplaceAll(exampleZone, "example.org", "keys.test")},
		rfc2136+"[keys.selectors]\nrsa = [\"sp1\", \"sp2\", \"sp3\"]\n")
	h.must("add", "example.org")
	for _, args := range [][]string{{"rotate", "--now"}, {"rotate", "--now", "--dry-run"}} {
		if out, code := h.run(args...); code != 2 || !strings.Contains(out, "--now requires DOMAIN") {
			t.Errorf("%q: %d %s", args, code, out)
		}
	}
	if out := h.must("rotate", "example.org", "--now"); !strings.Contains(out, "there is no active key to replace") {
		t.Error(out)
	}
	h.days(3)
	for _, want := range []string{"sp2", "sp3"} {
		h.must("rotate", "example.org", "--now")
		if got := h.signing("example.org"); got != want {
			t.Fatalf("%q signs, want %q", got, want)
		}
		h.days(1)
	}
	// There is no free selector until the key of sp1 is removed.
	out, code := h.run("rotate", "example.org", "--now")
	if code != 1 || !strings.Contains(out, "each selector of keys.selectors [sp1 sp2 sp3] is in use") {
		t.Errorf("%d %s", code, out)
	}
	h.days(60)
	if got := h.signing("example.org"); got != "sp1" {
		t.Errorf("%q signs, want the selector that became free: %s", got, h.must("status"))
	}
}
