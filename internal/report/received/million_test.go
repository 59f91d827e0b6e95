package received

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"signpost/internal/report/read"
)

// BenchmarkMillion measures the queries of a page about a domain with a million rows: 20 reporters, 30 days, 100,000 addresses.
func BenchmarkMillion(b *testing.B) {
	now := time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "reports", "received.db"), true, func() time.Time { return now })
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const reporters, days, rows = 20, 30, 1667
	for reporter := range reporters {
		for day := range days {
			begin := now.Truncate(24*time.Hour).AddDate(0, 0, day-days)
			r := &read.Report{Kind: read.Aggregate, ID: fmt.Sprint(reporter, day), Begin: begin, End: begin.Add(24*time.Hour - time.Second), Domain: "example.org", Policy: read.Policy{P: "none"}}
			for n := range rows {
				var address [4]byte
				binary.BigEndian.PutUint32(address[:], uint32(0x0b000000+(n*61+reporter*7919+day*104729)%100000))
				row := read.Row{Source: netip.AddrFrom4(address), Count: int64(n%9 + 1), Disposition: "none", DKIM: n%3 == 0, SPF: n%5 == 0, HeaderFrom: "example.org", EnvelopeFrom: "bounce.example.com",
					Signatures: []read.Signature{{Domain: "example.com", Selector: "s1", Result: "fail"}}, SPFResults: []read.SPFResult{{Domain: "bounce.example.com", Scope: "mfrom", Result: "pass"}}}
				r.Rows = append(r.Rows, row)
			}
			if err := s.Add(b.Context(), r, Origin{Reporter: fmt.Sprintf("reporter%d.example", reporter), Verified: true, QueueID: "4fXy", Received: now}); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := s.SetTrusted(b.Context(), []string{"reporter1.example", "reporter2.example"}); err != nil {
		b.Fatal(err)
	}
	f := Filter{Domain: "example.org", Since: now.AddDate(0, 0, -31)}
	for name, query := range map[string]func() (any, error){
		"domains": func() (any, error) { return s.Domains(b.Context(), f) },
		"days":    func() (any, error) { return s.Days(b.Context(), f) },
		"sources": func() (any, error) { return s.Sources(b.Context(), f, Site{}, 10) },
		"week": func() (any, error) {
			return s.Sources(b.Context(), Filter{Domain: "example.org", Since: now.AddDate(0, 0, -7)}, Site{}, 10)
		},
		"reporters": func() (any, error) { return s.Reporters(b.Context(), f) },
		"policies":  func() (any, error) { return s.Policies(b.Context(), f) },
		"tls":       func() (any, error) { return s.TLS(b.Context(), f) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := query(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
