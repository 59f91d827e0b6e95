package testdns

import (
	"context"
	"net"
	"strings"
	"testing"
)

// A long TXT record arrives whole (by TCP after truncation), and what is not there is told apart from what failed.
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
		t.Error("a name that is not there")
	} else if dnsErr, _ = err.(*net.DNSError); dnsErr == nil || !dnsErr.IsNotFound {
		t.Error(err)
	}
	if _, err := Start("bogus line"); err == nil {
		t.Error("a broken zone")
	}
}
