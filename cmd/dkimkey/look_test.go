package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

// twoServers is example.org at two name servers.
const twoServers = exampleZone + "@ IN NS ns2\nns2 IN A 127.0.0.2\n"

// A secondary that lags stops a key: it signs only when the record has been everywhere for the waiting time.
func TestSecondaryLags(t *testing.T) {
	h := newHouse(t, map[string]string{"example.org.": twoServers}, rfc2136)
	h.dns.Lag("ns2.example.org", "example.org")
	h.must("add", "example.org")
	for range 3 {
		h.must("rotate")
		h.now = h.now.Add(5 * time.Hour)
	}
	if got := h.signing("example.org"); got != "" {
		t.Fatalf("%s signs while a name server does not have it", got)
	}
	if out := h.must("status"); !strings.Contains(out, "127.0.0.2") {
		t.Errorf("status does not say who lags:\n%s", out)
	}
	out, _ := h.run("check")
	if !strings.Contains(out, "ns1.example.org 127.0.0.1  the key") || !strings.Contains(out, "ns2.example.org 127.0.0.2  none: no TXT record") {
		t.Errorf("check:\n%s", out)
	}
	set, err := h.store().Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	k := set.Of("example.org")[0]
	h.dns.Sync("ns2.example.org")
	h.must("rotate")
	h.now = h.now.Add(110 * time.Minute)
	h.must("rotate")
	if got := h.signing("example.org"); got != "" {
		t.Fatal("it signs before twice the TTL of an hour is over")
	}
	// It goes away once more: what was seen does not count any longer.
	name := keys.RecordName("example.org", k.Selector)
	h.dns.Set(name, 0)
	h.dns.Lag("ns2.example.org", "example.org")
	h.dns.Set(name, time.Hour, k.Metadata.Record)
	h.must("rotate")
	h.dns.Sync("ns2.example.org")
	h.must("rotate")
	h.now = h.now.Add(110 * time.Minute)
	h.must("rotate")
	if got := h.signing("example.org"); got != "" {
		t.Fatal("the time before it went away counts")
	}
	h.now = h.now.Add(11 * time.Minute)
	h.must("rotate")
	if got := h.signing("example.org"); got != k.Selector {
		t.Fatalf("%q signs; %s", got, h.must("status"))
	}
}

// Where the selector is an alias, the name servers that hold the alias are asked too: who asks the one that does not have it
// does not find the key.
func TestAliasLags(t *testing.T) {
	aliased := twoServers
	for _, s := range []string{"sp1", "sp2", "sp3"} {
		aliased += s + "._domainkey 600 IN CNAME " + s + ".example.org.keys.test.\n"
	}
	h := newHouse(t, map[string]string{"example.org.": aliased + "; static\n",
		"keys.test.": strings.ReplaceAll(exampleZone, "example.org", "keys.test")}, rfc2136+"[keys.selectors]\nrsa = [\"sp1\", \"sp2\", \"sp3\"]\n")
	h.dns.Lag("ns2.example.org", "example.org")
	h.must("add", "example.org")
	for range 3 {
		h.must("rotate")
		h.now = h.now.Add(5 * time.Hour)
	}
	if got := h.signing("example.org"); got != "" {
		t.Fatalf("%s signs while a name server does not have its alias", got)
	}
	if out := h.must("status"); !strings.Contains(out, "127.0.0.2: no CNAME at sp1._domainkey.example.org") {
		t.Errorf("status does not say who lags:\n%s", out)
	}
	out, _ := h.run("check")
	if !strings.Contains(out, "ns1.example.org 127.0.0.1  the alias") || !strings.Contains(out, "ns1.keys.test 127.0.0.1    the key") {
		t.Errorf("check:\n%s", out)
	}
	h.dns.Sync("ns2.example.org")
	h.must("rotate")
	h.now = h.now.Add(3 * time.Hour)
	h.must("rotate")
	if got := h.signing("example.org"); got != "sp1" {
		t.Errorf("%q signs; %s", got, h.must("status"))
	}
}

// A name server that is down holds a key up for a day; then it goes on if half of them show it, with a warning.
func TestSecondaryDown(t *testing.T) {
	h := newHouse(t, map[string]string{"example.org.": twoServers}, rfc2136)
	h.dns.Down("ns2.example.org", errors.New("no answer within 2s"))
	h.must("add", "example.org")
	for range 4 {
		h.must("rotate")
		h.now = h.now.Add(6*time.Hour - time.Minute)
	}
	if got := h.signing("example.org"); got != "" {
		t.Fatalf("%s signs within a day", got)
	}
	h.now = h.now.Add(10 * time.Minute)
	out, code := h.run("rotate")
	if code != 1 || !strings.Contains(out, "warning: ") || !strings.Contains(out, "127.0.0.2") {
		t.Errorf("no warning: %d %s", code, out)
	}
	h.now = h.now.Add(3 * time.Hour)
	h.run("rotate")
	if got := h.signing("example.org"); got == "" {
		t.Errorf("nothing signs: %s", h.must("status"))
	}
}

// A name server that answers SERVFAIL is one that does not answer.
func TestSecondaryServfail(t *testing.T) {
	h := newHouse(t, map[string]string{"example.org.": twoServers}, rfc2136)
	h.dns.Down("ns2.example.org", errors.New("it answers SERVFAIL"))
	h.must("add", "example.org")
	h.must("rotate")
	h.now = h.now.Add(3 * time.Hour)
	h.must("rotate")
	if got := h.signing("example.org"); got != "" {
		t.Fatalf("%s signs", got)
	}
	if out := h.must("status"); !strings.Contains(out, "SERVFAIL") {
		t.Errorf("status does not say why:\n%s", out)
	}
}

// A clock that jumped revokes and removes nothing in that run, and says so.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(93)
	first := ""
	for selector, state := range h.state("example.org") {
		if state == keys.Retiring {
			first = selector
		}
	}
	if first == "" {
		t.Fatal(h.state("example.org"))
	}
	h.now = h.now.Add(30 * 24 * time.Hour)
	out := h.must("rotate")
	if h.state("example.org")[first] != keys.Retiring || !strings.Contains(out, "nothing is revoked or removed in this run") {
		t.Errorf("after a jump of 30 days: %v %s", h.state("example.org"), out)
	}
	h.now = h.now.Add(time.Hour)
	h.must("rotate")
	if h.state("example.org")[first] != keys.Revoked {
		t.Errorf("the run after it: %v", h.state("example.org"))
	}
	h.now = h.now.Add(-40 * 24 * time.Hour)
	if out := h.must("rotate"); !strings.Contains(out, "it went back") {
		t.Error(out)
	}
	if h.state("example.org")[first] != keys.Revoked {
		t.Errorf("after going back: %v", h.state("example.org"))
	}
}

// Two runs at once: the second one names the process that holds the lock and does nothing.
func TestTwoRotates(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	unlock, err := h.store().TryLock("example.org")
	if err != nil {
		t.Fatal(err)
	}
	if out, code := h.run("rotate"); code != 1 || !strings.Contains(out, fmt.Sprintf("example.org is locked by process %d", os.Getpid())) {
		t.Errorf("%d %s", code, out)
	}
	unlock()
	h.must("rotate")
}

// --wait outlasts another command, such as one that is publishing, which holds the lock for longer than a lock is waited for.
func TestWaitOutlastsLock(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	unlock, err := h.store().TryLock("example.org")
	if err != nil {
		t.Fatal(err)
	}
	after := h.env.after
	h.env.after = func(d time.Duration) <-chan time.Time {
		unlock()
		return after(d)
	}
	if out := h.must("rotate", "example.org", "--wait"); !strings.Contains(out, "is locked by process") || h.signing("example.org") == "" {
		t.Error(out)
	}
}

// A process of user signpost that holds the lock does not keep root from revoking a key that has leaked.
// A key that has leaked: its record is empty at once, and the one that stands by signs in the same run.
// A publisher that fails when a key has leaked keeps nothing else from happening: the key signs no more, the one that stands
// by does, and the record is emptied by the next run that can.
// A clock that jumped revokes nothing but what has leaked, whichever command runs first.
func TestClockJumpsBeforeRevoke(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(93)
	h.now = h.now.Add(30 * 24 * time.Hour)
	leaked := h.signing("example.org")
	h.must("revoke", "example.org", leaked, "--compromised")
	retiring := 0
	for selector, state := range h.state("example.org") {
		if selector == leaked && state != keys.Revoked {
			t.Errorf("the key that leaked is %s", state)
		}
		if state == keys.Retiring {
			retiring++
		}
	}
	if retiring != 1 {
		t.Errorf("the record of a year's mail went with a clock that jumped: %v", h.state("example.org"))
	}
}

// A key file that cannot be used is said, by name, in each run; the other domains' keys rotate all the same.
func TestUnusableKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(3)
	bad := filepath.Join(h.dir, "state", "keys", "example.net", "broken.pem")
	if err := os.MkdirAll(filepath.Dir(bad), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bad, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := h.signing("example.org")
	h.now = h.now.Add(89 * 24 * time.Hour)
	out, code := h.run("rotate")
	if code != 1 || !strings.Contains(out, "example.net: key broken cannot be used: "+bad) {
		t.Errorf("%d %s", code, out)
	}
	if got := h.signing("example.org"); got == before {
		t.Errorf("%s still signs", got)
	}
}

// A systemd credential is read by the daemon alone: dkimkey neither complains about it nor makes a key in its place.
func TestCredentialIsTheDaemons(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	pem := filepath.Join(h.dir, "state", "keys", "example.org", "fixed.pem")
	if err := os.MkdirAll(filepath.Dir(pem), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/run/credentials/signpost.service/example.org-fixed", pem); err != nil {
		t.Fatal(err)
	}
	if out := h.must("rotate"); out != "" {
		t.Errorf("not quiet: %s", out)
	}
	if out := h.must("status"); !strings.Contains(out, "a systemd credential, which only the daemon reads") || strings.Count(out, "\n") != 2 {
		t.Error(out)
	}
}

// The record of a pending key cannot be published, because another one is at its selector. That does not keep a leaked key from being
// revoked, and the standby from signing.
