package domain

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/spf"
)

// The proposed record with fewer lookups allows exactly those hosts that the original record was intended to allow.
func TestSmallerRecordMeansTheSame(t *testing.T) {
	zone := `mail.example.org. IN A 192.0.2.1
mail.example.org. IN AAAA 2001:db8::1
example.org. IN MX 10 mail.example.org.
example.org. IN A 192.0.2.200
to.example. IN MX 10 mail.to.example.
mail.to.example. IN A 203.0.113.1
to.example. IN A 203.0.113.2
`
	var includes string
	may := []string{"192.0.2.1", "2001:db8::1"}
	for i := range 11 {
		zone += fmt.Sprintf("p%d.example. IN TXT \"v=spf1 ip4:198.51.100.%d/31 ip6:2001:db8:%d::/48 -all\"\n", i, 2*i, i+1)
		includes += fmt.Sprintf("include:p%d.example ", i)
		may = append(may, fmt.Sprintf("198.51.100.%d", 2*i+1), fmt.Sprintf("2001:db8:%d::5", i+1))
	}
	zone += `to.example. IN TXT "v=spf1 ` + includes + `mx a/32 -ip4:198.51.100.200 ip4:198.51.100.128/25 ~all"` + "\n"
	long := "mx "
	for i := range 40 {
		long += fmt.Sprintf("ip4:203.0.113.%d ", i)
	}
	never := []string{"192.0.2.9", "2001:db9::1", "192.0.2.200"}
	for _, c := range []struct {
		record     string
		may, never []string
	}{
		{includes + "mx -all", may, never},
		{"mx " + includes + "-all", may, never},
		{includes + "-ip4:192.0.2.200 a/25 mx -all", append(slices.Clone(may), "192.0.2.199"), append(slices.Clone(never[:2]), "192.0.2.200")},
		{"ip4:198.51.100.0/24 -ip4:198.51.100.0/23 " + long + "-all", []string{"198.51.100.9", "192.0.2.1", "203.0.113.39"}, append(slices.Clone(never), "198.51.101.1")},
		{"redirect=to.example", append(slices.Clone(may[2:]), "203.0.113.1", "203.0.113.2", "198.51.100.199"), append(slices.Clone(never), "192.0.2.1", "198.51.100.200")},
		{"mx redirect=to.example", append(slices.Clone(may), "203.0.113.1", "203.0.113.2"), append(slices.Clone(never), "198.51.100.200")},
		{long + "-all", []string{"192.0.2.1", "203.0.113.0", "203.0.113.39"}, append(slices.Clone(never), "203.0.113.40")},
		{includes + long + "-all", append(slices.Clone(may), "203.0.113.0", "203.0.113.39"), append(slices.Clone(never), "203.0.113.40")},
	} {
		broken := zone + record("example.org", "v=spf1 "+c.record) + "\n"
		all := lookAt(t, broken, "example.org", nil)
		at := slices.IndexFunc(all, func(f doctor.Finding) bool { return strings.HasPrefix(f.Check, "spf") && f.Level != doctor.Green })
		if at < 0 {
			t.Errorf("%s: nothing found", c.record)
			continue
		}
		z, err := dns.ParseZone(strings.NewReader(apply(t, broken, all[at].Fix)), "zone")
		if err != nil {
			t.Fatal(err)
		}
		view := z.Resolver(time.Now, slog.New(slog.DiscardHandler)).View(netip.Addr{})
		for want, addrs := range map[bool][]string{true: c.may, false: c.never} {
			for _, a := range addrs {
				r := spf.Check(t.Context(), view, netip.MustParseAddr(a), "x.example", "ann@example.org")
				if (r.Status == spf.Pass) != want || r.Status == spf.PermError {
					t.Errorf("%s: %s is %s %s by\n%s", c.record, a, r.Status, r.Cause, all[at].Fix)
				}
			}
		}
	}
}
