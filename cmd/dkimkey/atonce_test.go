package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	rand2 "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/keys"
)

// daysAtOnce is the duration of TestYearAtOnce, in days of its clock. The target "matrix" of the Makefile sets SIGNPOST_DAYS=366.
const daysAtOnce = 16

// crowd runs several operators, cron and a daemon concurrently on the same keys.
type crowd struct {
	*house
	mu      sync.Mutex // guards the clock
	world   *receivers
	records map[string]string // the record of each key by domain and selector; it must not change
	signs   map[string]bool   // domains that have been signed
}

// at runs dkimkey once, as a separate process would.
func (c *crowd) at(args ...string) {
	e := *c.env
	var out, errs bytes.Buffer
	code := e.execute(context.Background(), append([]string{"-c", c.config}, args...), &out, &errs)
	for line := range strings.Lines(errs.String()) {
		// A command that does not get the lock prints a line with the process ID of the holder.
		refused := strings.Contains(line, fmt.Sprintf("is locked by process %d", os.Getpid())) || strings.Contains(line, "is locked by another process") ||
			strings.Contains(line, "dkimkey run by root has taken over")
		if strings.HasPrefix(line, "dkimkey: ") && !refused && !strings.Contains(line, "action needed, see above") {
			c.Errorf("%q: %s", args, line)
		}
	}
	if code > 1 {
		c.Errorf("%q: exit code %d\n%s%s", args, code, &out, &errs)
	}
}

// atOnce runs all functions concurrently, while the daemon reloads and signs.
func (c *crowd) atOnce(all ...func()) {
	c.Helper()
	var running sync.WaitGroup
	for _, do := range all {
		running.Go(do)
	}
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		c.world.watcher.Reload()
		snap, now := c.world.watcher.Current(), c.time()
		for domain := range c.world.zones {
			leaked := slices.ContainsFunc(snap.Set.Of(domain), func(k *keys.Key) bool { return k.Metadata != nil && k.Metadata.Compromised })
			switch signs := len(c.world.signed(snap, domain, now)) > 0; {
			case signs && !snap.Hosted[domain], c.signs[domain] && !snap.Hosted[domain]:
				c.Errorf("%s: %s is not hosted", now, domain)
			case c.signs[domain] && !signs && !leaked:
				c.Errorf("%s: no key of %s signs", now, domain)
			default:
				c.signs[domain] = c.signs[domain] || signs
			}
		}
	}
}

func (c *crowd) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Microsecond)
	return c.now
}

// kept checks that no key is lost, replaced or incomplete, and that no temporary file is left.
func (c *crowd) kept() {
	c.Helper()
	set, err := c.store().Load(nil)
	if err != nil {
		c.Fatal(err)
	}
	now := map[string]string{}
	for _, k := range set.All() {
		if k.Err != nil || k.Metadata == nil {
			c.Errorf("%s %s cannot be read: %v", k.Domain, k.Selector, k.Err)
			continue
		}
		if k.Signer == nil && k.State != keys.Revoked && k.State != keys.Removed {
			c.Errorf("the private key of %s %s (%s) is lost", k.Domain, k.Selector, k.State)
		}
		now[k.Domain+" "+k.Selector] = k.Metadata.Record
	}
	for id, record := range c.records {
		if now[id] != record {
			c.Errorf("%s was %q and is %q", id, record, now[id])
		}
	}
	c.records = now
	err = filepath.WalkDir(filepath.Join(c.dir, "state"), func(path string, d fs.DirEntry, err error) error {
		if strings.Contains(d.Name(), "~") {
			c.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		c.Error(err)
	}
}

// inDNS checks that DNS has exactly the records in the metadata.
func (c *crowd) inDNS() {
	c.Helper()
	set, err := c.store().Load(nil)
	if err != nil {
		c.Fatal(err)
	}
	for domain, zone := range c.world.zones {
		have := map[string]string{}
		for name, a := range zone {
			selector, _, _ := strings.Cut(name, ".")
			if strings.HasPrefix(selector, "mail") && c.records[domain+" "+selector] == "" {
				continue // its import was refused
			}
			have[name] = a.text
		}
		want := map[string]string{}
		for _, k := range set.Of(domain) {
			switch name := keys.RecordName(domain, k.Selector); {
			case k.Metadata == nil: // kept reports the missing metadata
			case k.Metadata.RecordUnseen():
				delete(have, name)
			case k.State == keys.Revoked:
				want[name] = "v=DKIM1; k=" + k.Algorithm + "; p="
			case k.State != keys.Generated && k.State != keys.Removed:
				want[name] = k.Metadata.Record
			}
		}
		if !maps.Equal(have, want) {
			c.Errorf("%s: DNS of %s has %q, want %q", c.now, domain, have, want)
		}
	}
}

// ready reports whether a domain has a standby key that may sign now.
func (c *crowd) ready(domain string) bool {
	return slices.ContainsFunc(c.world.watcher.Current().Set.Of(domain), func(k *keys.Key) bool {
		return k.State == keys.Verified && !k.Metadata.Seen.Add(time.Duration(k.Metadata.Wait)).After(c.now)
	})
}

// Commands run concurrently on the same domains for weeks, or for a year: rotate, add --from-file, import, rotate --now and revoke
// --compromised. The only error that may occur is a locked domain. Mail is never sent unsigned, or with a signature that a receiver
// cannot verify. The same is true for a receiver that queried DNS just before a record changed.
func TestYearAtOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long")
	}
	days := daysOf(t, daysAtOnce)
	domains := []string{"example.org", "example.net"}
	zones := map[string]string{}
	for _, d := range domains {
		zones[d+"."] = strings.ReplaceAll(exampleZone, "example.org", d)
	}
	c := &crowd{house: newHouse(t, zones, rfc2136+"[keys]\nalgorithms = [\"rsa\", \"ed25519\"]\nrotate_every = \"8d\"\n"), signs: map[string]bool{}}
	c.env.now, c.env.lockTimeout = c.time, time.Second
	c.write("domains", strings.Join(domains, "\n"), 0o600)
	c.must("add", "--from-file", filepath.Join(c.dir, "domains"))
	c.world = c.newReceivers(domains...)
	const seed = 20261130
	r := rand2.New(rand2.NewPCG(seed, seed))
	imported, revoked := 0, 0
	for day := range days {
		// These commands run concurrently with cron. Several commands may use the same domain.
		domain := domains[r.IntN(len(domains))]
		signing := c.world.step(c.now)[domain]
		var beside []func()
		mustSign := false
		for n := range 2 {
			imported++
			name := fmt.Sprint("mail", imported)
			switch act := r.IntN(9); {
			case day < 2:
			case act == 0:
				beside = append(beside, func() { c.at("add", "--from-file", filepath.Join(c.dir, "domains"), "--algorithm", "ed25519") })
			case act == 1:
				file, record := c.foreign(name)
				c.show(domain, name, record)
				beside = append(beside, func() { c.at("import", file, "--domain", domain, "--selector", name) })
			case act == 2:
				file, _ := c.foreign(name)
				beside = append(beside, func() { c.at("import", file, "--domain", domain, "--selector", name) })
			case act < 7 && n == 0 && len(signing) > 0:
				revoked++
				mustSign = c.ready(domain)
				beside = append(beside, func() { c.at("revoke", domain, signing[r.IntN(len(signing))], "--compromised") })
			default:
				beside = append(beside, func() { c.at("rotate", domain, "--now") })
			}
		}
		c.atOnce(append(beside, func() { c.at("rotate") }, func() { c.at("rotate", domain) })...)
		if now := c.world.step(c.now)[domain]; mustSign && len(now) == 0 {
			t.Errorf("day %d: there was a standby, but no key of %s signs", day, domain)
		}
		c.kept()
		for range 3 { // repeats the steps that failed because a domain was locked
			c.now = c.now.Add(3 * time.Hour)
			c.at("rotate")
			for d, selectors := range c.world.step(c.now) {
				if day > 0 && c.now.Hour() > 12 && len(selectors) == 0 {
					t.Errorf("day %d: no key of %s signs after hours", day, d)
				}
			}
		}
		c.inDNS()
		c.kept()
		c.now = c.now.Add(15 * time.Hour)
		if t.Failed() {
			out, _ := c.run("status")
			t.Fatalf("day %d\n%s", day, out)
		}
	}
	if len(c.records) < days/2 || revoked == 0 {
		t.Errorf("only %d keys were created and %d leaked: the test covers too little", len(c.records), revoked)
	}
	fmt.Println(days, "days with several runs at once:", len(c.records), "keys,", revoked, "leaked")
}
