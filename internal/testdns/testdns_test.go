package testdns

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A long TXT record arrives completely, by TCP after truncation. A missing record and a failure have different results.
func TestServer(t *testing.T) {
	long := strings.Repeat("x", 250)
	s, err := Start("a.example. 60 IN TXT \"" + long + "\" \"" + long + "\" \"" + long + "\"\n")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Addr())
	}}
	if got, err := r.LookupTXT(t.Context(), "a.example."); err != nil || len(got) != 1 || got[0] != long+long+long {
		t.Errorf("%q %v", got, err)
	}
	var dnsErr *net.DNSError
	if _, err := r.LookupTXT(t.Context(), "b.example."); err == nil {
		t.Error("no error for a name that does not exist")
	} else if dnsErr, _ = err.(*net.DNSError); dnsErr == nil || !dnsErr.IsNotFound {
		t.Error(err)
	}
	if _, err := Start("bogus line"); err == nil {
		t.Error("a broken zone")
	}
}

// Each fault that delays or fills an answer also applies to the names that a wildcard matches, and to no other names.
func TestFaults(t *testing.T) {
	s, err := Start("a.slow.example. 60 IN TXT \"x\"\nself.example. 60 IN TXT \"x\"\na.dribble.example. 60 IN TXT \"x\"\nwell.thousand.example. 60 IN TXT \"x\"\n" +
		";fault *.slow.example SLOW 200ms\n;fault self.example SLOW\n;fault *.dribble.example DRIBBLE\n;fault *.thousand.example THOUSAND\n" +
		";fault well.thousand.example UPPER-CASE\n;fault *.dead.example SERVFAIL\n")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	ask := func(network, name string, qtype uint16) (*dns.Msg, time.Duration, error) {
		q := new(dns.Msg).SetQuestion(name, qtype)
		q.SetEdns0(1232, false)
		start := time.Now()
		m, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second}).Exchange(q, s.Addr())
		return m, time.Since(start), err
	}
	for name, least := range map[string]time.Duration{"a.slow.example.": 200 * time.Millisecond, "self.example.": slowDelay} {
		if m, took, err := ask("udp", name, dns.TypeTXT); err != nil || len(m.Answer) != 1 || took < least {
			t.Errorf("%s: %v after %v, %v", name, m, took, err)
		}
	}
	for name, want := range map[string]int{"dead.example.": dns.RcodeNameError, "a.dead.example.": dns.RcodeServerFailure, "undead.example.": dns.RcodeNameError} {
		if m, _, err := ask("udp", name, dns.TypeTXT); err != nil || m.Rcode != want {
			t.Errorf("%s: %v %v", name, m, err)
		}
	}
	for _, qtype := range []uint16{dns.TypeTXT, dns.TypeA, dns.TypeAAAA, dns.TypeMX, dns.TypePTR} {
		if m, _, err := ask("udp", "a.b.thousand.example.", qtype); err != nil || !m.Truncated {
			t.Errorf("%s by UDP: %v", dns.TypeToString[qtype], err)
		}
		if m, _, err := ask("tcp", "a.b.thousand.example.", qtype); err != nil || len(m.Answer) != 1000 || m.Answer[999].Header().Rrtype != qtype {
			t.Errorf("%s by TCP: %v", dns.TypeToString[qtype], err)
		}
	}
	if m, _, err := ask("udp", "well.thousand.example.", dns.TypeTXT); err != nil || len(m.Answer) != 1 {
		t.Errorf("a fault of the name itself: %v %v", m, err)
	}
	if m, _, err := ask("udp", ".", dns.TypeNS); err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
		t.Errorf(". NS: %v %v", m, err)
	}
	if m, _, err := ask("udp", "a.dribble.example.", dns.TypeTXT); err != nil || !m.Truncated || len(m.Answer) != 0 {
		t.Errorf("dribble by UDP: %v %v", m, err)
	}
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn := &dns.Conn{Conn: c}
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion("a.dribble.example.", dns.TypeTXT)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if n, err := io.ReadFull(c, got); err != nil || got[0] != 0xff {
		t.Errorf("dribble by TCP: % x %v", got[:n], err)
	}
	for _, fault := range []string{"a.example", "a.example NONE", "a.example SERVFAIL 3s", "a.example SLOW soon"} {
		if err := s.SetZone(";fault " + fault + "\n"); err == nil {
			t.Errorf("%q is accepted as a fault", fault)
		}
	}
}
