package main

import (
	"errors"
	"fmt"
	rand2 "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

// ledger has the signatures of a daemon, and the DNS records that verify these signatures.
type ledger struct {
	*house
	alive    []signature
	seen     map[string]bool // selectors that have signed
	changes  int
	selector string // the selectors that sign, one for each algorithm
}

type signature struct {
	selector, record string
	until            time.Time
}

// transitTime is the time during which a signature may be verified: five days in a queue, seven days of x=, and two more days.
const transitTime = 14 * 24 * time.Hour

// sign signs a message with the current keys. This signature and each earlier signature in transit must verify with the record at each name
// server. No selector may sign again after another selector has replaced it. A name server that cannot answer returns errSilent.
func (l *ledger) sign(day int, servers ...func(name string) ([]string, error)) {
	l.Helper()
	selectors := l.signing("example.org")
	if selectors != l.selector {
		l.changes++
		for _, s := range strings.Fields(selectors) {
			if l.seen[s] && !slices.Contains(strings.Fields(l.selector), s) {
				l.Errorf("day %d: selector %s signs again: %q after %q", day, s, selectors, l.selector)
			}
			l.seen[s] = true
		}
		l.selector = selectors
	}
	for _, s := range strings.Fields(selectors) {
		record := ""
		for _, ask := range servers {
			txt, err := ask(keys.RecordName("example.org", s))
			if errors.Is(err, errSilent) {
				continue
			}
			if err != nil || len(txt) != 1 || strings.HasSuffix(txt[0], "p=") {
				l.Fatalf("day %d: %s signs and DNS has %q %v", day, s, txt, err)
			}
			record = txt[0]
		}
		l.alive = append(l.alive, signature{s, record, l.now.Add(transitTime)})
	}
	l.alive = slices.DeleteFunc(l.alive, func(s signature) bool { return s.until.Before(l.now) })
	checked := map[string]bool{}
	for _, s := range l.alive {
		if checked[s.selector] {
			continue
		}
		checked[s.selector] = true
		for _, ask := range servers {
			txt, err := ask(keys.RecordName("example.org", s.selector))
			if !errors.Is(err, errSilent) && (err != nil || len(txt) != 1 || s.record != "" && txt[0] != s.record) {
				l.Fatalf("day %d: mail signed with %s is on its way and DNS has %q %v", day, s.selector, txt, err)
			}
		}
	}
}

// errSilent is the error of a name server that does not answer now.
var errSilent = errors.New("silent")

// clean checks that old keys are no longer in DNS and on disk.
func (l *ledger) clean() {
	l.Helper()
	for selector, state := range l.state("example.org") {
		txt, err := l.txt(keys.RecordName("example.org", selector))
		_, pemErr := os.Stat(filepath.Join(l.dir, "state", "keys", "example.org", selector+".pem"))
		if state == keys.Removed && (err != nil || len(txt) != 0 || pemErr == nil) {
			l.Errorf("%s is removed and DNS has %q, its key %v", selector, txt, pemErr)
		}
		if (state == keys.Removed || state == keys.Revoked) == (pemErr == nil) {
			l.Errorf("%s is %s and its private key: %v", selector, state, pemErr)
		}
	}
	if out, code := l.run("check"); code != 0 || strings.Contains(out, "other") {
		l.Error(out)
	}
}

// rotate runs daily for a year with a pair of keys. The record of a key is in DNS while the key signs, and until its last signature has
// expired. No selector is used twice, and no old record or key file is left.
func TestYear(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long")
	}
	l := &ledger{house: newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136+"[keys]\nalgorithms = [\"rsa\", \"ed25519\"]\n"), seen: map[string]bool{}}
	l.must("add", "example.org")
	for day := range 366 {
		before := l.selector
		out := l.must("rotate")
		l.sign(day, l.txt)
		if day >= 1 && len(strings.Fields(l.selector)) != 2 {
			t.Fatalf("day %d: %q sign", day, l.selector)
		}
		if l.selector == before && out != "" && day > 1 && !strings.Contains(out, "revoked") && !strings.Contains(out, "removed") {
			t.Errorf("day %d: not quiet: %s", day, out)
		}
		l.now = l.now.Add(24 * time.Hour)
	}
	if l.changes != 5 {
		t.Errorf("%d sets of keys signed in a year", l.changes)
	}
	l.clean()
	fmt.Println("a year:", l.changes, "sets of keys,", len(l.seen), "selectors")
}

// An operator runs commands for a year. Some commands import keys with and without records. Others add keys beside standby keys or from
// files, or create keys with more bits. Rotations are requested and runs are interrupted. Mail is never sent unsigned, or with a signature
// that others cannot verify.
func TestYearWithOperator(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long")
	}
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136+both+"rotate_every = \"40d\"\n")
	h.ticking()
	l := &ledger{house: h, seen: map[string]bool{}}
	l.must("add", "example.org")
	world := h.newReceivers("example.org")
	// what runs a command. Exit code 1 (action needed) is allowed.
	what := func(args ...string) {
		t.Helper()
		if out, code := h.run(args...); code > 1 {
			t.Fatalf("%q: %d %s", args, code, out)
		}
	}
	const seed = 20261124
	r := rand2.New(rand2.NewPCG(seed, seed))
	imported := 0
	h.write("domains", "example.org\n", 0o600)
	acts := []func(){
		func() { what("rotate", "example.org", "--now") },
		func() { what("rotate", "example.org", "--now", "--dry-run") },
		func() { what("add", "example.org", "--bits", "3072") },
		func() { what("add", "--from-file", filepath.Join(h.dir, "domains")) },
		func() { h.interrupted(1+r.IntN(12), "rotate", "example.org", "--now") },
		func() { h.interrupted(1+r.IntN(6), "add", "example.org") },
		func() { // a record that is in DNS
			imported++
			name := fmt.Sprint("mail", imported)
			file, record := h.foreign(name)
			h.show("example.org", name, record)
			what("import", file, "--domain", "example.org", "--selector", name)
		},
		func() { // a record that is missing, and a key that is revoked
			imported++
			name := fmt.Sprint("typo", imported)
			file, _ := h.foreign(name)
			what("import", file, "--domain", "example.org", "--selector", name)
			what("rotate", "example.org", "--now")
			what("revoke", "example.org", name, "--compromised")
		},
		func() { // a record that is wrong at first
			imported++
			name := fmt.Sprint("late", imported)
			file, record := h.foreign(name)
			_, wrong := h.foreign("other")
			h.showFor("example.org", name, wrong, 24*time.Hour)
			what("import", file, "--domain", "example.org", "--selector", name)
			world.step(l.now)
			h.show("example.org", name, record)
			what("rotate", "example.org", "--now")
		},
		func() { what("revoke", "example.org", strings.Fields(l.selector)[0], "--compromised") },
	}
	days := daysOf(t, 150)
	for day := range days {
		what("rotate")
		if day > 2 && day%9 == 0 {
			acts[r.IntN(len(acts))]()
		}
		world.step(l.now)
		rest := 24 * time.Hour
		if day%3 == 0 { // the operator does not wait for cron
			l.now, rest = l.now.Add(2*time.Hour), rest-2*time.Hour
			what("rotate")
			world.step(l.now)
		}
		// Compromised keys have no record, so their mail is not verified.
		set, err := l.store().Load(nil)
		if err != nil {
			t.Fatal(err)
		}
		l.alive = slices.DeleteFunc(l.alive, func(s signature) bool {
			return slices.ContainsFunc(set.Of("example.org"), func(k *keys.Key) bool { return k.Selector == s.selector && k.Metadata.Compromised })
		})
		l.sign(day, l.txt)
		if n := len(strings.Fields(l.selector)); day >= 1 && n == 0 {
			t.Fatalf("day %d: nothing signs: %s", day, h.must("status"))
		}
		l.now = l.now.Add(rest)
	}
	if l.changes < 10*days/366 || imported < 4*days/366 {
		t.Errorf("%d sets of keys signed, %d keys were imported: the test covers too little", l.changes, imported)
	}
	fmt.Println("a year with an operator:", l.changes, "sets of keys,", len(l.seen), "selectors,", imported, "imported")
}
