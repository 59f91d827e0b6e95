package send

import (
	"strings"
	"testing"

	"signpost/internal/dmarc"
	"signpost/internal/domain"
)

// FuzzAddresses checks the addresses in rua, which any domain owner can write. Each is safe in an SMTP command: one word, with an unquoted local
// part that routes nowhere else, and a domain.
func FuzzAddresses(f *testing.F) {
	for _, rua := range []string{"mailto:d@a.test", "MAILTO:d%2Bx@A.test!10m,https://a.test", "mailto:d%0d%0aRCPT@a.test", "mailto:%3Cd%3E@a.test?subject=x", "mailto:a%40b@bücher.example", "mailto:user%25host@a.test,mailto:a!b@a.test", "mailto:%22a b%22@a.test", "mailto:ſ@K.test"} {
		f.Add(rua)
	}
	f.Fuzz(func(t *testing.T, rua string) {
		record, ok := dmarc.ParseRecord("v=DMARC1; p=none; rua=" + rua)
		if !ok || record == nil {
			return
		}
		seen := map[string]bool{}
		for _, a := range addresses(record.RUA) {
			local, host, _ := strings.Cut(a, "@")
			if parsed, err := domain.Parse(host); err != nil || parsed != host || !strings.Contains(host, ".") {
				t.Errorf("%q: %q is no domain: %v", rua, host, err)
			}
			if local == "" || len(local) > 64 || strings.ContainsFunc(local, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`@%!<>()[]\,;:"`, r) }) {
				t.Errorf("%q: local part %q", rua, local)
			}
			if seen[strings.ToLower(a)] {
				t.Errorf("%q: %q twice", rua, a)
			}
			seen[strings.ToLower(a)] = true
		}
	})
}
