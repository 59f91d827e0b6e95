package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"signpost/keys"
)

// On most days of a simulated year, a fault occurs. Every signature can be verified with the answers of each name server, no key is
// lost, and the output has one line for each fault.
func TestYearWithFaults(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long")
	}
	h := newHouse(t, map[string]string{"example.org.": twoServers}, "[keys]\nrotate_every = \"40d\"\n"+rfc2136)
	state := filepath.Join(h.dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal("a disk that can be full needs root:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(state, 0); err != nil {
			t.Error(err)
		}
	})
	y := &faultyYear{ledger: &ledger{house: h, seen: map[string]bool{}}, named: map[string]int{}}
	h.must("add", "example.org")
	y.sync()
	const seed = 20261125
	r := rand.New(rand.NewPCG(seed, seed))
	faults, next := y.faults(), map[string]int{}
	days := daysOf(t, 200)
	for day := range days {
		// Over the year, each fault occurs during each type of step.
		f := faults[r.IntN(len(faults))]
		if due := y.due(); due != "" {
			f = faults[next[due]%len(faults)]
			next[due]++
		}
		f.play(f.says)
		y.sync()
		y.sign(day, h.txt, y.secondaryTXT)
		if day > 10 && y.selector == "" {
			t.Fatalf("day %d (%s): nothing signs\n%s", day, f.name, h.must("status"))
		}
		h.now = h.now.Add(24 * time.Hour)
	}
	for range 100 { // runs all delayed steps
		if out, code := h.run("rotate"); code != 0 {
			t.Errorf("%d %s", code, out)
		}
		y.sync()
		h.now = h.now.Add(24 * time.Hour)
	}
	y.clean()
	for _, f := range faults {
		if f.says != "" && y.named[f.says] == 0 {
			t.Errorf("%s was never named", f.name)
		}
	}
	if y.changes < 5*days/366 {
		t.Errorf("%d keys signed in a year", y.changes)
	}
	fmt.Println("a year with faults:", y.changes, "keys signed; named:", y.named)
}

type faultyYear struct {
	*ledger
	named map[string]int // how often each fault was reported
}

// due returns "new" if a step for a new key is due, "old" if a step for an old key is due, and otherwise "". The check of a standby key is
// not counted as a step.
func (y *faultyYear) due() string {
	y.Helper()
	for _, state := range y.state("example.org") {
		if state == keys.Generated || state == keys.Published {
			return "new"
		}
	}
	due := ""
	for line := range strings.Lines(y.must("rotate", "--dry-run")) {
		if !strings.HasPrefix(line, "now: ") || strings.Contains(line, ": check ") {
			continue
		}
		if due = "old"; strings.Contains(line, ": activate ") || strings.Contains(line, ": create ") {
			return "new"
		}
	}
	return due
}

const ns2 = "ns2.example.org"

// sync makes the secondary transfer the zone, as a NOTIFY of the primary would.
func (y *faultyYear) sync() {
	y.dns.Sync(ns2)
	y.dns.Down(ns2, nil)
}

// secondaryTXT returns the TXT records that the secondary has.
func (y *faultyYear) secondaryTXT(name string) ([]string, error) {
	answers, err := y.dns.Query(y.Context(), name)
	if err != nil {
		return nil, err
	}
	if answers.Text[1].Err != nil {
		return nil, errSilent
	}
	return answers.Text[1].Text, nil
}

// fault is a fault during one run.
type fault struct {
	name string
	says string // text that rotate or status prints about the fault; empty: they print none
	play func(says string)
}

func (y *faultyYear) faults() []fault {
	rotate := func(says string) {
		y.Helper()
		out, code := y.run("rotate")
		named := says != "" && strings.Contains(out, says)
		if named {
			y.named[says]++
		}
		if code != 0 && !named || code > 1 {
			y.Errorf("%s: exit code %d does not have %q: %s", y.now.Format(time.DateOnly), code, says, out)
		}
		for line := range strings.Lines(out) {
			if strings.Count(line, says) > 2 && says != "" {
				y.Errorf("more than one line: %s", line)
			}
		}
	}
	publisher := func(says string) {
		y.dns.Fail(errors.New(says))
		rotate(says)
		y.dns.Fail(nil)
	}
	// A wrong answer delays the activation of a key. status prints the answer immediately; rotate prints it only if the answer stays wrong
	// for a day.
	looks := func(breaks func()) func(string) {
		return func(says string) {
			breaks()
			out, code := y.run("rotate")
			if code > 1 || code == 1 && !strings.Contains(out, "127.0.0.2") {
				y.Errorf("exit code %d: %s", code, out)
			}
			if strings.Contains(y.must("status"), says) {
				y.named[says]++
			}
		}
	}
	// The faults that prevent a publication come first, because a lagging secondary has an effect only after a key was published.
	return []fault{
		{"no fault", "", rotate},
		{"UPDATE refused", "REFUSED", publisher},
		{"another TSIG secret", "NOTAUTH", publisher},
		{"the primary is down", "connection refused", publisher},
		{"a lagging secondary", "127.0.0.2: no TXT record", looks(func() { y.dns.Lag(ns2, "example.org") })},
		{"a secondary that answers SERVFAIL", "it answers SERVFAIL", looks(func() { y.dns.Down(ns2, errors.New("it answers SERVFAIL")) })},
		{"a full disk", "no space left on device", func(says string) {
			filler := filepath.Join(y.dir, "state", "filler")
			f, err := os.Create(filler)
			if err != nil {
				y.Fatal(err)
			}
			for err == nil {
				_, err = f.Write(make([]byte, 4096))
			}
			f.Close()
			before := y.state("example.org")
			rotate(says)
			if err := os.Remove(filler); err != nil {
				y.Fatal(err)
			}
			for selector := range before {
				if _, ok := y.state("example.org")[selector]; !ok {
					y.Errorf("key %s is lost", selector)
				}
			}
		}},
		{"two concurrent runs", "example.org is locked by process", func(says string) {
			unlock, err := y.store().TryLock("example.org")
			if err != nil {
				y.Fatal(err)
			}
			rotate(says)
			unlock()
			rotate("")
		}},
		{"a clock set back", "the clock went back", func(says string) {
			y.now = y.now.Add(-3 * 24 * time.Hour)
			rotate(says)
			y.now = y.now.Add(3 * 24 * time.Hour)
		}},
		{"a clock set forward, and back again", "the clock may have jumped", func(says string) {
			y.now = y.now.Add(30 * 24 * time.Hour)
			rotate(says)
			y.now = y.now.Add(-30 * 24 * time.Hour)
			rotate("the clock went back")
		}},
	}
}
