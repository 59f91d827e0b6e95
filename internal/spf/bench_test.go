package spf_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"signpost/internal/spf"
)

// known is a Resolver with one record.
type known struct {
	spf.Resolver
	name    string
	records []string
}

func (k known) LookupTXT(_ context.Context, name string) ([]string, error) {
	if name != k.name {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return k.records, nil
}

// BenchmarkCheck measures an ordinary message that passes because of an ip4 term.
func BenchmarkCheck(b *testing.B) {
	r := known{name: "example.org", records: []string{"site-verification=1234567890", "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 include:_spf.example.net -all"}}
	client := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		if got := spf.Check(b.Context(), r, client, "mail.example.org", "ann@example.org"); got.Status != spf.Pass {
			b.Fatal(got)
		}
	}
}
