package send

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/report"
	"signpost/internal/testdns"
)

// resolver returns the lookups of one run in a zone.
func resolver(t *testing.T, zone string) *dns.View {
	t.Helper()
	s, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	o := dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(s.Addr())}, Timeout: 200 * time.Millisecond, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	return dns.New(o).View(netip.Addr{})
}

func TestDestinations(t *testing.T) {
	const own = `_dmarc.a.test. IN TXT "v=DMARC1; p=none; rua=`
	long := strings.Repeat(strings.Repeat("x", 60)+".", 3) + "a.test"
	var many, first, firstOwn []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("mailto:d%d@b.example", i))
		if i < maxDestinations {
			first, firstOwn = append(first, fmt.Sprintf("d%d@b.example", i)), append(firstOwn, fmt.Sprintf("d%d@a.test", i))
		}
	}
	for _, c := range []struct {
		name, domain, zone string
		want               []string
		drop               Drop
		temporary          bool
	}{
		{name: "own domain", zone: own + `mailto:d@a.test"`, want: []string{"d@a.test"}},
		{name: "subdomain of the organization", zone: own + `mailto:d@reports.a.test"`, want: []string{"d@reports.a.test"}},
		{name: "several in order, each once", zone: own + `mailto:b@a.test,mailto:a@a.test!10m,MAILTO:B@A.test"`, want: []string{"b@a.test", "a@a.test"}},
		{name: "https is ignored", zone: own + `https://a.test/r,mailto:d@a.test?subject=x"`, want: []string{"d@a.test"}},
		{name: "only https", zone: own + `https://a.test/r"`, drop: NoRUA},
		{name: "escaped", zone: own + `mailto:d%2Bx@a.test"`, want: []string{"d+x@a.test"}},
		{name: "hostile local parts", zone: own + `mailto:d%0d%0aRCPT@a.test,mailto:%3Cd%3E@a.test,mailto:a b@a.test,mailto:@a.test"`, drop: NoRUA},
		{name: "no rua", zone: `_dmarc.a.test. IN TXT "v=DMARC1; p=none"`, drop: NoRUA},
		{name: "gone", drop: NoPolicy},
		{name: "two records", zone: own + "mailto:d@a.test\"\n" + own + `mailto:e@a.test"`, drop: NoPolicy},
		{name: "registry", zone: `_dmarc.a.test. IN TXT "v=DMARC1; p=none; psd=y; rua=mailto:d@a.test"`, drop: Registry},
		{name: "top-level domain", domain: "test", zone: `_dmarc.test. IN TXT "v=DMARC1; p=none; rua=mailto:d@a.test"`, drop: Registry},
		{name: "public suffix", domain: "co.uk", zone: `_dmarc.co.uk. IN TXT "v=DMARC1; p=none; rua=mailto:d@co.uk"`, drop: Registry},
		{name: "below a public suffix", domain: "a.co.uk", zone: `_dmarc.a.co.uk. IN TXT "v=DMARC1; p=none; rua=mailto:d@a.co.uk"`, want: []string{"d@a.co.uk"}},
		{name: "hoster", domain: "github.io", zone: `_dmarc.github.io. IN TXT "v=DMARC1; p=none; rua=mailto:d@github.io"`, want: []string{"d@github.io"}},
		{name: "the policy cannot be looked up", zone: ";fault _dmarc.a.test. SERVFAIL", temporary: true},

		{name: "not accepted elsewhere", zone: own + `mailto:d@b.example"`, drop: NotAuthorized},
		{name: "accepted elsewhere", zone: own + "mailto:d@b.example\"\n" + `a.test._report._dmarc.b.example. IN TXT "v=DMARC1"`, want: []string{"d@b.example"}},
		{name: "another text", zone: own + "mailto:d@b.example\"\n" + `a.test._report._dmarc.b.example. IN TXT "v=spf1 -all"`, drop: NotAuthorized},
		{name: "replaced on the same host", zone: own + "mailto:d@b.example\"\n" + `a.test._report._dmarc.b.example. IN TXT "v=DMARC1; rua=mailto:e@b.example"`, want: []string{"e@b.example"}},
		{name: "replaced by another host", zone: own + "mailto:d@b.example\"\n" + `a.test._report._dmarc.b.example. IN TXT "v=DMARC1; rua=mailto:victim@c.example"`, drop: NotAuthorized},
		{name: "replaced by https", zone: own + "mailto:d@b.example\"\n" + `a.test._report._dmarc.b.example. IN TXT "v=DMARC1; rua=https://b.example/"`, drop: NotAuthorized},
		{name: "replaced by many", zone: own + "mailto:d@b.example\"\n" + `a.test._report._dmarc.b.example. IN TXT "v=DMARC1; rua=` + strings.Join(many, `,"  "`) + `"`, want: first},
		{name: "many", zone: `_dmarc.a.test. IN TXT "v=DMARC1; p=none; rua=` + strings.ReplaceAll(strings.Join(many, `,"  "`), "b.example", "a.test") + `"`, want: firstOwn},
		{name: "routes through us", zone: own + `mailto:victim%25c.example@a.test,mailto:c.example%21victim@a.test"`, drop: NoRUA},
		{name: "address literal", zone: own + `mailto:d@[192.0.2.1],mailto:d@192.0.2.1"`, drop: NotAuthorized},
		{name: "one of two is accepted", zone: own + `mailto:d@b.example,mailto:d@a.test"`, want: []string{"d@a.test"}},
		{name: "the other organization cannot be looked up", zone: own + "mailto:d@b.example\"\n;fault a.test._report._dmarc.b.example. SERVFAIL", temporary: true},
		{name: "the name is too long", domain: long, zone: `_dmarc.` + long + `. IN TXT "v=DMARC1; p=none; rua=mailto:d@` + strings.Repeat("y", 60) + `.example"`, drop: NotAuthorized},

		{name: "excluded domain", domain: "sub.excluded.test", zone: `_dmarc.sub.excluded.test. IN TXT "v=DMARC1; p=none; rua=mailto:d@sub.excluded.test"`, drop: Excluded},
		{name: "excluded destination", zone: own + "mailto:d@excluded.test\"\n" + `a.test._report._dmarc.excluded.test. IN TXT "v=DMARC1"`, drop: Excluded},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.domain == "" {
				c.domain = "a.test"
			}
			got, drop, err := Destinations(t.Context(), resolver(t, c.zone+"\n"), c.domain, []string{"excluded.test"})
			var addresses []string
			for _, d := range got {
				addresses = append(addresses, d.Address)
			}
			if !slices.Equal(addresses, c.want) || drop != c.drop || (err != nil) != c.temporary {
				t.Errorf("got %q %q %v, want %q %q", got, drop, err, c.want, c.drop)
			}
		})
	}
}

// Each destination has its Organizational Domain, so that subdomains of one organization share a limit.
func TestDestinationsHaveOrganizations(t *testing.T) {
	got, _, err := Destinations(t.Context(), resolver(t, `_dmarc.a.test. IN TXT "v=DMARC1; p=none; rua=mailto:d@x.b.example,mailto:d@y.b.example,mailto:d@none.example"
_dmarc.b.example. IN TXT "v=DMARC1; p=none"
a.test._report._dmarc.x.b.example. IN TXT "v=DMARC1"
a.test._report._dmarc.y.b.example. IN TXT "v=DMARC1"
a.test._report._dmarc.none.example. IN TXT "v=DMARC1"
`), "a.test", nil)
	want := []report.Destination{{Address: "d@x.b.example", Organization: "b.example"}, {Address: "d@y.b.example", Organization: "b.example"}, {Address: "d@none.example", Organization: "none.example"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v %v", got, err)
	}
}
