package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

// twoServers is example.org with two name servers.
const twoServers = exampleZone + "@ IN NS ns2\nns2 IN A 127.0.0.2\n"

// A lagging secondary delays a key, because a key signs only when all servers have had its record for the whole waiting time.
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
		t.Errorf("status does not have the lagging server:\n%s", out)
	}
	out, _ := h.run("check")
	if !strings.Contains(out, "ns1.example.org 127.0.0.1  correct") || !strings.Contains(out, "ns2.example.org 127.0.0.2  none: no TXT record") {
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
		t.Fatal("the key signs before two TTLs of an hour have passed")
	}
	// The record disappears once more, so the waiting time starts again.
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
		t.Fatal("the time before the record disappeared counts")
	}
	h.now = h.now.Add(11 * time.Minute)
	h.must("rotate")
	if got := h.signing("example.org"); got != k.Selector {
		t.Fatalf("%q signs; %s", got, h.must("status"))
	}
}

// If a CNAME is at the selector, the name servers of the CNAME are queried too. A resolver does not find the key if it queries a name
// server that lacks the CNAME.
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
		t.Errorf("status does not have the lagging server:\n%s", out)
	}
	out, _ := h.run("check")
	if !strings.Contains(out, "ns1.example.org 127.0.0.1  alias correct") || !strings.Contains(out, "ns1.keys.test 127.0.0.1    correct") {
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

// --wait continues if another command holds the lock for longer than the timeout of the lock.
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

// Each run reports an unusable key file by name. The keys of other domains rotate.
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

// Only the daemon can read a systemd credential. dkimkey reports no error for it, and creates no key in its place.
func TestCredentialOfDaemon(t *testing.T) {
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
	if out := h.must("status"); !strings.Contains(out, "a systemd credential, which only the daemon can read") || strings.Count(out, "\n") != 2 {
		t.Error(out)
	}
}
