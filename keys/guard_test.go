package keys

import (
	"bytes"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/testdns"
)

// The daemon looks at the keys that sign: a key that is gone from DNS, twice, gives way to another one that verifies; DNS
// that is silent changes nothing; without another key it goes on signing and says so.
func TestGuard(t *testing.T) {
	const zone = "$ORIGIN example.org.\n$TTL 60\n@ IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ IN NS ns1\nns1 IN A 127.0.0.1\n"
	server, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	s := newStore(t)
	old := create(t, s, "example.org", "rsa")
	activate(t, s, old)
	now := create(t, s, "example.org", "rsa")
	activate(t, s, now)
	text := func(lives ...*Life) string {
		all := zone
		for _, l := range lives {
			all += ZoneText(l.Domain, l.Selector, l.Record, time.Minute)
		}
		return all
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	w, err := Open(s.Dir, Hosted{Dir: filepath.Join(t.TempDir(), "hosted"), Now: time.Now}, logger)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(server.Addr())
	clock := time.Now()
	resolver := dns.New(dns.Options{Servers: []netip.AddrPort{at}, Timeout: time.Second, Now: time.Now, Log: logger})
	g := &Guard{Watcher: w, Now: func() time.Time { return clock }, Log: logger,
		Checker: &Checker{Authority: &dns.Authority{Resolver: resolver, Port: at.Port(), Timeout: time.Second}, Resolver: resolver}}
	signing := func() string { return selectors(w.Current().Set.Signing("example.org")) }
	step := func(zone, want, says string) {
		t.Helper()
		log.Reset()
		if err := server.SetZone(zone); err != nil {
			t.Fatal(err)
		}
		g.Check(t.Context())
		if got := signing(); got != want {
			t.Errorf("%q signs, want %q\n%s", got, want, log.String())
		}
		if says == "" && log.Len() > 0 || !strings.Contains(log.String(), says) {
			t.Errorf("it said %q, want %q", log.String(), says)
		}
		clock = clock.Add(11 * time.Minute)
	}
	step(text(old, now), now.Selector, "")
	clock = clock.Add(time.Hour)
	step(zone+";fault "+RecordName("example.org", now.Selector)+" SERVFAIL\n", now.Selector, "")
	step(text(old), now.Selector, "looking again in 10 minutes")
	step(text(old, now), now.Selector, "") // it was a hiccup
	clock = clock.Add(time.Hour)
	step(text(old), now.Selector, "looking again in 10 minutes")
	step(text(old), old.Selector, "another one signs in its place")
	step(text(old), old.Selector, "")
	w.Reload()
	if got := signing(); got != old.Selector {
		t.Errorf("after reading the keys again %q signs", got)
	}
	step(text(old, now), now.Selector, "signs again")
	clock = clock.Add(time.Hour)
	step(zone, now.Selector, "looking again")
	step(zone, now.Selector, "no other key verifies")
	step(text(old, now), now.Selector, "")
}
