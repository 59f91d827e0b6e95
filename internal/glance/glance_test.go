package glance

import (
	"strings"
	"testing"

	"signpost/internal/doctor/domain"
)

// A record is proposed exactly if the domain receives mail and lacks the record, and if the record would have an effect: BIMI needs an enforced
// DMARC policy, and TLSA records need DNSSEC.
func TestProposed(t *testing.T) {
	mx, all := []string{"mx.example.org"}, []string{"mta-sts", "tlsrpt", "bimi", "dane"}
	tlsa := []string{"_25._tcp.mx.example.org. IN TLSA 3 1 1 00"}
	for _, c := range []struct {
		name  string
		found domain.Found
		want  string
	}{
		{"everything lacks", domain.Found{Exchanges: mx, Absent: all, Policy: "reject", TLSA: tlsa}, "tlsrpt mta-sts dane bimi"},
		{"nothing lacks", domain.Found{Exchanges: mx, Absent: []string{}, Policy: "reject"}, ""},
		{"no policy, no DNSSEC", domain.Found{Exchanges: mx, Absent: all, Policy: "none"}, "tlsrpt mta-sts"},
		{"in test mode", domain.Found{Exchanges: mx, Absent: []string{"bimi"}, Policy: "testing"}, ""},
		{"quarantine", domain.Found{Exchanges: mx, Absent: []string{"bimi"}, Policy: "quarantine"}, "bimi"},
		{"without mail", domain.Found{NullMX: true, Absent: all, Policy: "reject"}, ""},
		{"one lacks", domain.Found{Exchanges: mx, Absent: []string{"tlsrpt"}, Policy: "none"}, "tlsrpt"},
	} {
		var names []string
		for _, r := range Proposed("example.org", c.found) {
			names = append(names, r.Check)
			first, rest, _ := strings.Cut(r.Line, "\n")
			if !strings.Contains(first, "example.org. IN T") {
				t.Errorf("%s: %q is not a record", c.name, first)
			}
			for line := range strings.Lines(rest) {
				if !strings.HasPrefix(line, ";") {
					t.Errorf("%s: %q is neither a record nor a comment", c.name, line)
				}
			}
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
