package worker

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
)

// BenchmarkEvaluate measures the evaluation of a store with a million rows: 20 reporters, 30 days, half of the rows pass and are not from our
// addresses.
func BenchmarkEvaluate(b *testing.B) {
	s := newSite(b, "")
	const reporters, days, rows = 20, 30, 1667
	for reporter := range reporters {
		name := fmt.Sprintf("reporter%d.test", reporter)
		s.Trusted = append(s.Trusted, name)
		for ago := range days {
			r := s.about(fmt.Sprint(reporter, ago))
			r.Begin, r.End = r.Begin.AddDate(0, 0, -ago), r.End.AddDate(0, 0, -ago)
			for n := range rows {
				r.Rows = append(r.Rows, read.Row{Source: netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), Count: 3, DKIM: n%2 == 0, HeaderFrom: "example.org",
					Signatures: []read.Signature{{Domain: "example.org", Selector: "s1", Result: "pass"}}})
			}
			ok(b, s.Store.Add(b.Context(), r, received.Origin{Reporter: name, Verified: true, Received: r.End.Add(time.Hour)}))
		}
		ok(b, s.Store.SetTrusted(b.Context(), s.Trusted))
	}
	for b.Loop() {
		var result status.Received
		ok(b, s.evaluate(b.Context(), &result))
	}
}
