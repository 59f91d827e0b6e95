package dns_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/testdns"
)

// benchNames is the number of names in the cache that is measured.
const benchNames = 1000

func started(b *testing.B, zone string) *dns.Resolver {
	b.Helper()
	s, err := testdns.Start(zone)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Stop)
	return dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(s.Addr())}, Timeout: 10 * time.Second,
		Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

// BenchmarkWarm measures cached answers: three questions of one message, as for SPF, DKIM and DMARC.
func BenchmarkWarm(b *testing.B) {
	var zone strings.Builder
	names := make([]string, benchNames)
	for i := range names {
		names[i] = fmt.Sprintf("_dmarc.n%d.example.com", i)
		fmt.Fprintf(&zone, "%s. 86400 TXT \"v=DMARC1; p=reject\"\n", names[i])
	}
	r := started(b, zone.String())
	for _, n := range names {
		if _, err := r.View(netip.Addr{}).LookupTXT(b.Context(), n); err != nil {
			b.Fatal(err)
		}
	}
	three := func(i int) {
		v := r.View(netip.Addr{})
		for j := range 3 {
			_, _ = v.LookupTXT(b.Context(), names[(i+j)%benchNames])
		}
	}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			three(i)
		}
	})
	b.Run("64", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(32) // of two cores
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				three(i)
			}
		})
	})
}

// BenchmarkCold measures lookups that need a query to a name server. The server here has no delay.
func BenchmarkCold(b *testing.B) {
	r := started(b, "a.example. 0 TXT \"v=spf1 -all\"\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.View(netip.Addr{}).LookupTXT(b.Context(), "a.example"); err != nil {
			b.Fatal(err)
		}
	}
}
