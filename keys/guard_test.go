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

// guarded is a Guard with a name server and a clock of its own.
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

// start is a start of the daemon.
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

// step has the guard look at a zone, and wants what signs then and what it says. Then time goes on.
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
		g.Errorf("it said %q, want %q", g.log.String(), says)
	}
	g.clock = g.clock.Add(11 * time.Minute)
}

// place puts a fresh key into the keys folder by hand, and gives its record.
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

// guardedText is the zone with the records of keys.
func guardedText(lives ...*Metadata) string {
	all := guardedZone
	for _, l := range lives {
		all += ZoneText(l.Domain, l.Selector, l.Record, time.Minute)
	}
	return all
}

// The daemon looks at the keys that sign: a key that is gone from DNS, twice, gives way to another one that verifies; DNS
// that is silent changes nothing; without another key it goes on signing and says so.
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
	g.step(guardedText(old, now), now.Selector, "") // it was a hiccup
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

// A key that was put there by hand signs when its record has been seen, and not before; that is remembered over restarts,
// for that key alone.
func TestGuardAwaits(t *testing.T) {
	g := newGuarded(t)
	l := g.place()
	g.start()
	if !strings.Contains(g.log.String(), "unmanaged key does not sign until its record is visible") || g.guard.Watcher.Current().Hosted["example.org"] {
		t.Errorf("a key that nobody has seen: hosted %v\n%s", g.guard.Watcher.Current().Hosted, g.log.String())
	}
	const fault = ";fault hand._domainkey.example.org SERVFAIL\n"
	g.step(guardedZone, "", "unmanaged key does not sign, its record is not visible")
	g.step(guardedZone, "", "") // said once
	g.step(guardedText(l)+fault, "", "SERVFAIL")
	g.step(guardedText(l), "hand", "unmanaged key signs, its record is visible")
	if !g.guard.Watcher.Current().Hosted["example.org"] {
		t.Error("it signs and is not hosted: a lost key would let mail leave unsigned")
	}
	g.step(guardedText(l), "hand", "")
	// The next start finds DNS dead.
	if err := g.server.SetZone(guardedText(l) + fault); err != nil {
		t.Fatal(err)
	}
	g.start()
	if got := g.signing(); got != "hand" {
		t.Errorf("after a restart %q signs", got)
	}
	// Another key under the same name has not been seen.
	other := g.place()
	g.guard.Watcher.Reload()
	g.step(guardedText(l), "", "the record belongs to another key")
	g.step(guardedText(other), "hand", "unmanaged key signs, its record is visible")
	// The daemon only reads the keys folder.
	if all, err := filepath.Glob(filepath.Join(g.store.Dir, "example.org", "*")); err != nil || len(all) != 1 {
		t.Errorf("the keys folder holds %q %v", all, err)
	}
	if err := g.store.Remove("example.org"); err != nil {
		t.Fatal(err)
	}
	if all, err := filepath.Glob(filepath.Join(g.store.State, "observed", "*")); err != nil || len(all) != 0 {
		t.Errorf("what was seen of a removed domain is kept: %q %v", all, err)
	}
}

// A name server that does not answer holds a key that was put there by hand up for a day.
func TestGuardAwaitsSilentServer(t *testing.T) {
	g := newGuarded(t)
	l := g.place()
	zone := guardedText(l) + "example.org. IN NS ns2.example.org.\nns2.example.org. IN A 127.0.0.3\n" // where nobody listens
	g.start()
	g.step(zone, "", "127.0.0.3")
	g.clock = g.clock.Add(23 * time.Hour)
	g.step(zone, "", "")
	g.clock = g.clock.Add(time.Hour)
	g.step(zone, "hand", "although at least one name server has not answered for a day")
}

// A key that replaces one whose record is gone does so only as long as it may: a compromised key never signs.
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
