package dns_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/testdns"
)

func server(t *testing.T, zone string) *testdns.Server {
	t.Helper()
	s, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func resolver(timeout time.Duration, servers ...string) *dns.Resolver {
	o := dns.Options{Timeout: timeout, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	for _, s := range servers {
		o.Servers = append(o.Servers, netip.MustParseAddrPort(s))
	}
	return dns.New(o)
}

// kind returns the kind of an error. The SPF library treats every error except an unwrapped *net.DNSError as permanent.
func kind(err error) string {
	e, ok := err.(*net.DNSError)
	switch {
	case err == nil:
		return "ok"
	case !ok:
		return fmt.Sprintf("a %T", err)
	case e.IsNotFound && !e.IsTemporary:
		return "not found"
	case e.IsTemporary && !e.IsNotFound:
		return "temporary"
	}
	return "permanent"
}

func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 250)
	var many, huge strings.Builder
	for i := range 101 {
		fmt.Fprintf(&many, "many.example. 60 IN A 192.0.2.%d\n", i)
	}
	for i := range 70 {
		fmt.Fprintf(&huge, "huge.example. 60 IN TXT \"%d%s\"\n", i, long)
	}
	s := server(t, many.String()+huge.String()+`
txt.example. 60 IN TXT "a \"quoted\" \\ \195\188 " "and more"
txt.example. 60 IN TXT "second"
long.example. 60 IN TXT "`+long+`" "`+long+`" "`+long+`" "`+long+`" "`+long+`" "`+long+`"
mail.example. 60 IN A 192.0.2.1
mail.example. 60 IN AAAA 2001:db8::1
mail.example. 60 IN MX 10 mail.example.
1.2.0.192.in-addr.arpa. 60 IN PTR mail.example.
alias.example. 60 IN CNAME txt.example.
dangling.example. 60 IN CNAME nowhere.example.
loop1.example. 60 IN CNAME loop2.example.
loop2.example. 60 IN CNAME loop1.example.
below.empty.example. 60 IN TXT "x"
odd\ name\;\@\(\092.example. 60 IN TXT "odd"
;fault servfail.example SERVFAIL
;fault refused.example REFUSED
;fault truncated.example TRUNCATED
truncated.example. 60 IN TXT "whole"
;fault old.example NOEDNS
old.example. 60 IN TXT "seen"
;fault broken.example TRUNCATED-ONLY
broken.example. 60 IN TXT "never seen"
`)
	v := resolver(10*time.Second, s.Addr()).View(netip.Addr{})
	for _, c := range []struct{ name, want string }{
		{"txt.example", `ok ["a \"quoted\" \\ ü and more" "second"]`},
		{"TXT.Example.", `ok ["a \"quoted\" \\ ü and more" "second"]`},
		{"long.example", fmt.Sprintf("ok [%q]", strings.Repeat(long, 6))},
		{"alias.example", `ok ["a \"quoted\" \\ ü and more" "second"]`},
		{`odd name;@(\.example`, `ok ["odd"]`},
		{"truncated.example", `ok ["whole"]`},
		{"old.example", `ok ["seen"]`},
		{"dangling.example", "not found []"},
		{"mail.example", "not found []"},
		{"none.example", "not found []"},
		{"", "not found []"},
		{"two..dots.example", "not found []"},
		{strings.Repeat("x", 64) + ".example", "not found []"},
		{strings.Repeat("abcdefg.", 40) + "example", "not found []"},
		{"loop1.example", "temporary []"},
		{"servfail.example", "temporary []"},
		{"refused.example", "temporary []"},
		{"broken.example", "temporary []"},
		{"huge.example", "permanent []"},
	} {
		got, err := v.LookupTXT(t.Context(), c.name)
		if s := fmt.Sprintf("%s %q", kind(err), got); s != c.want {
			t.Errorf("%.80q: %s (%v)\nwant %s", c.name, s, err, c.want)
		}
	}
	if a, err := v.LookupA(t.Context(), "mail.example"); err != nil || fmt.Sprint(a) != "[192.0.2.1]" {
		t.Error(a, err)
	}
	if a, err := v.LookupAAAA(t.Context(), "mail.example"); err != nil || fmt.Sprint(a) != "[2001:db8::1]" {
		t.Error(a, err)
	}
	if mx, err := v.LookupMX(t.Context(), "mail.example"); err != nil || len(mx) != 1 || mx[0].Host != "mail.example." || mx[0].Pref != 10 {
		t.Error(mx, err)
	}
	if names, err := v.LookupAddr(t.Context(), "192.0.2.1"); err != nil || fmt.Sprint(names) != "[mail.example.]" {
		t.Error(names, err)
	}
	if _, err := v.LookupA(t.Context(), "many.example"); kind(err) != "permanent" {
		t.Error(err)
	}
	// RFC 8020: a name exists if it has records, an alias, or names below it, whatever type is looked up.
	for name, want := range map[string]bool{
		"mail.example": true, "empty.example": true, "alias.example": true, "dangling.example": true,
		"none.example": false, "below.none.example": false,
	} {
		if got, err := v.Exists(t.Context(), name); err != nil || got != want {
			t.Errorf("%s exists: %v %v", name, got, err)
		}
	}
	if _, err := v.Exists(t.Context(), "servfail.example"); kind(err) != "temporary" {
		t.Error("servfail.example exists:", err)
	}
}

// If a server does not reply, refuses connections or answers SERVFAIL, the next server is queried.
func TestSeveralServers(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	failing := server(t, ";fault a.example SERVFAIL\n")
	good := server(t, "a.example. 0 IN TXT \"here\"\n")
	r := resolver(300*time.Millisecond, silent.LocalAddr().String(), closed.LocalAddr().String(), failing.Addr(), good.Addr())
	if got, err := r.View(netip.Addr{}).LookupTXT(t.Context(), "a.example"); err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if got, err := resolver(300*time.Millisecond, silent.LocalAddr().String()).View(netip.Addr{}).LookupTXT(t.Context(), "a.example"); kind(err) != "temporary" {
		t.Error(got, err)
	}
}

// A lookup that fails at the preferred server is sent to the next server. All other lookups still go to the preferred server.
func TestFailureKeepsPreference(t *testing.T) {
	const records = "a.example. 0 IN TXT here\nb.servfail.example. 0 IN TXT here\nb.refused.example. 0 IN TXT here\nb.timeout.example. 0 IN TXT here\n"
	first := server(t, records+";fault *.servfail.example SERVFAIL\n;fault *.refused.example REFUSED\n;fault *.timeout.example TIMEOUT\n")
	second := server(t, records)
	var log bytes.Buffer
	r := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(first.Addr()), netip.MustParseAddrPort(second.Addr())},
		Timeout: time.Second, Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil)),
		FailedOver: func() { t.Error("another server is preferred") }})
	for _, name := range []string{"b.servfail.example", "a.example", "b.refused.example", "a.example", "b.timeout.example", "a.example"} {
		if got, err := r.View(netip.Addr{}).LookupTXT(t.Context(), name); err != nil || len(got) != 1 {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if asked := second.Queries(); slices.Contains(asked, "a.example TXT") || log.Len() != 0 {
		t.Errorf("the second server got the queries %q\n%s", asked, &log)
	}
}

// If the preferred server never answers, only the first lookups wait for its timeout.
func TestDeadServer(t *testing.T) {
	for _, fault := range []string{"TIMEOUT", "SERVFAIL"} {
		dead := server(t, ";fault *. "+fault+"\n;fault . "+fault+"\n")
		alive := server(t, "a.example. 0 IN TXT here\n")
		var failovers atomic.Int32
		r := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(dead.Addr()), netip.MustParseAddrPort(alive.Addr())},
			Timeout: time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler), FailedOver: func() { failovers.Add(1) }})
		ask := func() {
			if got, err := r.View(netip.Addr{}).LookupTXT(t.Context(), "a.example"); err != nil || len(got) != 1 {
				t.Errorf("%s: %q %v", fault, got, err)
			}
		}
		for end := time.Now().Add(10 * time.Second); failovers.Load() == 0; ask() {
			if time.Now().After(end) {
				t.Fatalf("%s: the dead server is still preferred", fault)
			}
		}
		before := len(dead.Queries())
		for range 20 {
			ask()
		}
		if n := len(dead.Queries()); n != before || failovers.Load() != 1 {
			t.Errorf("%s: the dead server got %d more queries; %d failovers", fault, n-before, failovers.Load())
		}
	}
}

// A lookup without an answer has a status that states the cause.
func TestStatusOfQueries(t *testing.T) {
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuses := closed.LocalAddr().String()
	closed.Close()
	broken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	go func() {
		buf := make([]byte, 4096)
		for {
			_, from, err := broken.ReadFrom(buf)
			if err != nil {
				return
			}
			const header, name = 12, 11 // bytes of a.example and of the header before it
			reply := buf[:header+name+4]
			reply[2], reply[7], reply[11] = reply[2]|1<<7, 1, 0 // a reply with one record
			_, _ = broken.WriteTo(append(reply, 0xff), from)
		}
	}()
	faulty := server(t, ";fault a.example TRUNCATED-ONLY\n;fault b.example TIMEOUT\n")
	for _, c := range []struct {
		server, name string
		want         dns.Status
	}{
		{refuses, "a.example", dns.ConnectionRefused},
		{broken.LocalAddr().String(), "a.example", dns.Malformed},
		{faulty.Addr(), "a.example", dns.ConnectionClosed}, // over TCP
		{faulty.Addr(), "b.example", dns.Timeout},
	} {
		v := resolver(300*time.Millisecond, c.server).View(netip.Addr{})
		_, err := v.LookupTXT(t.Context(), c.name)
		if l := v.Answered().Lookups()[0]; l.Status != c.want || kind(err) != "temporary" {
			t.Errorf("%+v (%v), want %s", l, err, c.want)
		}
	}
}

// A packet that is lost is sent again, from the same socket and with the same ID.
func TestResend(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	good := server(t, "a.example. 60 IN TXT \"here\"\n")
	go func() {
		buf := make([]byte, 4096)
		for n := 0; ; n++ {
			k, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n == 0 {
				continue // lost
			}
			c, err := net.Dial("udp", good.Addr())
			if err != nil {
				return
			}
			_, _ = c.Write(buf[:k])
			k, _ = c.Read(buf)
			c.Close()
			// Forged answers arrive before the true one: with another ID, with another name, and malformed.
			forged := append([]byte{buf[0] ^ 1}, buf[1:k]...)
			_, _ = conn.WriteTo(forged, from)
			other := append([]byte(nil), buf[:k]...)
			other[13] = 'z'
			_, _ = conn.WriteTo(other, from)
			_, _ = conn.WriteTo([]byte("garbage"), from)
			_, _ = conn.WriteTo(buf[:k], from)
		}
	}()
	got, err := resolver(3*time.Second, conn.LocalAddr().String()).View(netip.Addr{}).LookupTXT(t.Context(), "a.example")
	if err != nil || fmt.Sprint(got) != "[here]" {
		t.Error(got, err)
	}
}

// A caller returns when its context ends, even if the server has not answered.
func TestCancel(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	v := resolver(time.Hour, silent.LocalAddr().String()).View(netip.Addr{})
	done := make(chan error)
	go func() {
		_, err := v.LookupTXT(ctx, "a.example")
		done <- err
	}()
	_, _, err = silent.ReadFrom(make([]byte, 512))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; kind(err) != "temporary" {
		t.Error(err)
	}
}

func TestReadServers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(file, []byte("# local\nsearch example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := dns.ReadServers(file)
	if err != nil || fmt.Sprint(got) != "[192.0.2.53:53 [2001:db8::53]:53]" {
		t.Error(got, err)
	}
	if got, err := dns.ReadServers(filepath.Join(dir, "none")); err != nil || fmt.Sprint(got) != "[127.0.0.1:53]" {
		t.Error(got, err)
	}
}

func TestParseZone(t *testing.T) {
	_, err := dns.ParseZone(strings.NewReader("a.example. IN TXT \"x\"\nb.example. IN A not-an-address\n"), "zone.txt")
	if err == nil || !strings.Contains(err.Error(), "zone.txt:2: ") {
		t.Error(err)
	}
}
