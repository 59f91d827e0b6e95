package keys

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/testdns"
)

const guardedZone = "$ORIGIN example.org.\n$TTL 60\n@ IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ IN NS ns1\nns1 IN A 127.0.0.1\n"

// guarded is a Guard with its own name server and clock.
type guarded struct {
	*testing.T
	server *testdns.Server
	store  Store
	log    bytes.Buffer
	clock  time.Time
	guard  *Guard
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{T: t, store: newStore(t), clock: time.Now()}
	var err error
	if g.server, err = testdns.Start(guardedZone); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.server.Stop)
	return g
}

// start simulates a start of the daemon.
func (g *guarded) start() {
	g.Helper()
	log := slog.New(slog.NewTextHandler(&g.log, nil))
	w, err := Open(g.store, log)
	if err != nil {
		g.Fatal(err)
	}
	at := netip.MustParseAddrPort(g.server.Addr())
	resolver := dns.New(dns.Options{Servers: []netip.AddrPort{at}, Timeout: time.Second, Now: func() time.Time { return g.clock }, Log: log})
	g.guard = &Guard{Watcher: w, Now: func() time.Time { return g.clock }, Log: log,
		Checker: &Checker{Authority: &dns.Authority{Resolver: resolver, Port: at.Port(), Timeout: time.Second}}}
}

func (g *guarded) signing() string {
	return selectors(g.guard.Watcher.Current().Set.Signing("example.org"))
}

// step runs a check against a zone, compares the keys that sign and the log, and then advances the clock.
func (g *guarded) step(zone, want, says string) {
	g.Helper()
	g.log.Reset()
	if err := g.server.SetZone(zone); err != nil {
		g.Fatal(err)
	}
	g.guard.Check(g.Context())
	if got := g.signing(); got != want {
		g.Errorf("%q signs, want %q\n%s", got, want, g.log.String())
	}
	if says == "" && g.log.Len() > 0 || !strings.Contains(g.log.String(), says) {
		g.Errorf("the log has %q, want %q", g.log.String(), says)
	}
	g.clock = g.clock.Add(11 * time.Minute)
}

// place writes an unmanaged key to the keys directory and returns its metadata.
func (g *guarded) place() *Metadata {
	g.Helper()
	path := g.store.pemPath("example.org", "hand")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		g.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(pemOf(g.T, "PRIVATE KEY")), 0o600); err != nil {
		g.Fatal(err)
	}
	l, err := metadataOf(load(g.T, g.store, nil).Of("example.org")[0], "")
	if err != nil {
		g.Fatal(err)
	}
	return l
}

// guardedText returns the zone with the records of keys.
func guardedText(keys ...*Metadata) string {
	all := guardedZone
	for _, l := range keys {
		all += ZoneText(l.Domain, l.Selector, l.Record, time.Minute)
	}
	return all
}

// If the record of an active key is missing in two checks, another key that verifies signs instead. If no other key verifies, the key
// continues to sign, and the log reports this. Unanswered DNS queries have no effect.
func TestGuard(t *testing.T) {
	g := newGuarded(t)
	old := create(t, g.store, "example.org", "rsa")
	activate(t, g.store, old)
	now := create(t, g.store, "example.org", "rsa")
	activate(t, g.store, now)
	g.start()
	g.step(guardedText(old, now), now.Selector, "")
	g.clock = g.clock.Add(time.Hour)
	g.step(guardedZone+";fault "+RecordName("example.org", now.Selector)+" SERVFAIL\n", now.Selector, "")
	g.step(guardedText(old), now.Selector, "next check in 10 minutes")
	g.step(guardedText(old, now), now.Selector, "") // a single missing record has no effect
	g.clock = g.clock.Add(time.Hour)
	g.step(guardedText(old), now.Selector, "next check in 10 minutes")
	g.step(guardedText(old), old.Selector, "another key signs instead")
	g.step(guardedText(old), old.Selector, "")
	g.guard.Watcher.Reload()
	if got := g.signing(); got != old.Selector {
		t.Errorf("after reading the keys again %q signs", got)
	}
	g.step(guardedText(old, now), now.Selector, "signs again")
	g.clock = g.clock.Add(time.Hour)
	g.step(guardedZone, now.Selector, "next check in 10 minutes")
	g.step(guardedZone, now.Selector, "no other key verifies")
	g.step(guardedText(old, now), now.Selector, "")
}

// A verified successor signs in place of a key whose record is missing, even if another key was retired later. The record of the retired key is
// emptied while mail that it signs now may be in transit.
func TestRetiredKeyIsLastChoice(t *testing.T) {
	g := newGuarded(t)
	write := func(m *Metadata) {
		if err := g.store.writeMetadata(m); err != nil {
			t.Fatal(err)
		}
	}
	retired, now, successor := create(t, g.store, "example.org", "ed25519"), create(t, g.store, "example.org", "ed25519"), create(t, g.store, "example.org", "ed25519")
	activate(t, g.store, now)
	earlier, later := g.clock.Add(-2*time.Hour), g.clock.Add(-time.Hour)
	successor.Published, successor.Seen = &earlier, &earlier
	retired.Activated, retired.Retired = &earlier, &later
	write(successor)
	write(retired)
	g.start()
	g.step(guardedText(retired, successor), now.Selector, "next check in 10 minutes")
	g.step(guardedText(retired, successor), successor.Selector, "another key signs instead")
}

// An unmanaged key signs when its record is found, and not before. The observation survives restarts, and is valid for that key
// only.
func TestGuardAwaits(t *testing.T) {
	g := newGuarded(t)
	l := g.place()
	g.start()
	if !strings.Contains(g.log.String(), "unmanaged key does not sign until its record is visible") || g.guard.Watcher.Current().Hosted["example.org"] {
		t.Errorf("a key whose record was not found: hosted %v\n%s", g.guard.Watcher.Current().Hosted, g.log.String())
	}
	const fault = ";fault hand._domainkey.example.org SERVFAIL\n"
	g.step(guardedZone, "", "unmanaged key does not sign, its record is not visible")
	g.step(guardedZone, "", "") // logged once
	g.step(guardedText(l)+fault, "", "SERVFAIL")
	g.step(guardedText(l), "hand", "unmanaged key signs, its record is visible")
	if !g.guard.Watcher.Current().Hosted["example.org"] {
		t.Error("it signs and is not hosted: mail would be sent unsigned without its key")
	}
	g.step(guardedText(l), "hand", "")
	// DNS does not answer after the next start.
	if err := g.server.SetZone(guardedText(l) + fault); err != nil {
		t.Fatal(err)
	}
	g.start()
	if got := g.signing(); got != "hand" {
		t.Errorf("after a restart %q signs", got)
	}
	// The record of another key with the same selector was not found.
	other := g.place()
	g.guard.Watcher.Reload()
	g.step(guardedText(l), "", "the record belongs to another key")
	g.step(guardedText(other), "hand", "unmanaged key signs, its record is visible")
	// The daemon does not write to the keys directory.
	if all, err := filepath.Glob(filepath.Join(g.store.Dir, "example.org", "*")); err != nil || len(all) != 1 {
		t.Errorf("the keys directory has %q %v", all, err)
	}
	if err := g.store.Remove("example.org"); err != nil {
		t.Fatal(err)
	}
	if all, err := filepath.Glob(filepath.Join(g.store.State, "observed", "*")); err != nil || len(all) != 0 {
		t.Errorf("the observations of a removed domain are kept: %q %v", all, err)
	}
}

// A name server that does not answer delays an unmanaged key by a day.
func TestGuardAwaitsSilentServer(t *testing.T) {
	g := newGuarded(t)
	l := g.place()
	zone := guardedText(l) + "example.org. IN NS ns2.example.org.\nns2.example.org. IN A 127.0.0.3\n" // without a server
	g.start()
	g.step(zone, "", "127.0.0.3")
	g.clock = g.clock.Add(23 * time.Hour)
	g.step(zone, "", "")
	g.clock = g.clock.Add(time.Hour)
	g.step(zone, "hand", "although at least one name server has not answered for a day")
}

// A key may sign in place of a key whose record is missing. It stops signing if it is compromised.
func TestReplacementIsNotCompromised(t *testing.T) {
	s := newStore(t)
	first, second := create(t, s, "example.org", "ed25519"), create(t, s, "example.org", "ed25519")
	activate(t, s, first)
	activate(t, s, second)
	set := load(t, s, nil)
	set.instead = map[string]string{"example.org ed25519": first.Selector}
	if got := selectors(set.Signing("example.org")); got != first.Selector {
		t.Fatalf("%q signs, want the replacement", got)
	}
	now := s.Now()
	k := set.find("example.org", first.Selector)
	k.Metadata.Compromised, k.Metadata.Retired = true, &now
	k.State = Retiring
	if got := selectors(set.Signing("example.org")); got != second.Selector {
		t.Errorf("%q signs", got)
	}
}
