package dns

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// RFC 1035 section 5.1: in a zone file, \DDD and \X represent any byte, in owner names and in data.
func TestZoneEscapes(t *testing.T) {
	z := zone(t, `
ex\097mple.org. TXT "owner"
a\-b.u.example.org. A 192.0.2.1
\$x\%\_.example.org. A 192.0.2.2
EX\065MPLE.net. TXT "case"
alias.example.org. CNAME \099hain.example.org.
cha\105n.example.org. CNAME l\097st.example.org.
la\115t.example.org. A 192.0.2.3
mail.example.org. MX 1 m\120.example.org.
mx.example.org. A 192.0.2.4
1.2.0.192.in-addr.arpa. PTR \109x.example.org.
one\.label.example.org. A 192.0.2.5
sp\032ace\040.example.org. A 192.0.2.6
data.example.org. TXT "a\\b\"c\100"
`)
	v := z.Resolver(time.Now, slog.New(slog.DiscardHandler)).View(netip.Addr{})
	for name, want := range map[string]string{
		"a-b.u.example.org": "192.0.2.1", "$x%_.example.org": "192.0.2.2", "alias.example.org": "192.0.2.3",
		"last.example.org": "192.0.2.3", "sp ace(.example.org": "192.0.2.6",
	} {
		if got, err := v.LookupA(t.Context(), name); err != nil || fmt.Sprint(got) != "["+want+"]" {
			t.Errorf("A %s: %v, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{"example.org": "owner", "example.net": "case", "data.example.org": `a\b"cd`} {
		if got, err := v.LookupTXT(t.Context(), name); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("TXT %s: %q, %v", name, got, err)
		}
	}
	if got, err := v.LookupMX(t.Context(), "mail.example.org"); err != nil || len(got) != 1 || got[0].Host != "mx.example.org." {
		t.Errorf("MX: %v, %v", got, err)
	}
	if got, err := v.LookupAddr(t.Context(), "192.0.2.1"); err != nil || !slices.Equal(got, []string{"mx.example.org."}) {
		t.Errorf("PTR: %v, %v", got, err)
	}
	for name, want := range map[string]bool{"u.example.org": true, "label.example.org": false, "one.label.example.org": false} {
		if got, err := v.Exists(t.Context(), name); err != nil || got != want {
			t.Errorf("%s exists: %v, %v", name, got, err)
		}
	}
}
