package spf_test

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/spf"
)

const records = `
example.com. TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"
xn--bcher-kva.example. TXT "v=spf1 ip4:192.0.2.0/24 -all"
soft.example.com. TXT "v=spf1 ~all"
neutral.example.com. TXT "v=spf1 a:mail.example.com"
two.example.com. TXT "v=spf1 -all"
two.example.com. TXT "v=spf1 +all"
broken.example.com. TXT "v=spf1 bogus"
plain.example.com. TXT "something else"
mail.example.com. A 192.0.2.1
mail.example.com. AAAA 2001:db8::1
mail.example.com. TXT "v=spf1 a -all"
six.example.com. AAAA 2001:db8::1
a.example.com. TXT "v=spf1 a:six.example.com a:six.example.com a:six.example.com -all"
user.example.com. TXT "v=spf1 exists:%{l}.ok.example.com -all"
ann.ok.example.com. A 127.0.0.2
ann.x.ok.example.com. A 127.0.0.2
helo.example.com. TXT "v=spf1 exists:%{h}.helos.example.com -all"
mail.example.com.helos.example.com. A 127.0.0.2
users.example.com. TXT "v=spf1 include:%{l}.users.example.com -all"
ann.users.example.com. TXT "v=spf1 ip4:192.0.2.0/24"
ptr2.example.com. TXT "v=spf1 ptr ptr:example.net ip4:203.0.113.0/24 -all"
ptr3.example.com. TXT "v=spf1 ptr ptr:example.net ptr:example.org ip4:203.0.113.0/24 -all"
ptra.example.com. TXT "v=spf1 a:l1.example.com a:l2.example.com ptr:gone.example ip4:198.51.100.0/24 -all"
ptrm.example.com. TXT "v=spf1 a:l1.example.com a:l2.example.com ptr:example.com -all"
9.100.51.198.in-addr.arpa. PTR host.gone.example.
1.2.0.192.in-addr.arpa. PTR mail.example.com.
1.2.0.192.in-addr.arpa. PTR host.gone.example.
dead.example.com. MX 1 l1.example.com.
dead.example.com. MX 2 l2.example.com.
dead.example.com. MX 3 l3.example.com.
half.example.com. MX 1 l1.example.com.
half.example.com. MX 2 mail.example.com.
null.example.com. MX 0 .
mx1.example.com. TXT "v=spf1 mx:dead.example.com ip4:203.0.113.0/24 -all"
mx3.example.com. TXT "v=spf1 mx:dead.example.com mx:half.example.com mx:dead.example.com ip4:203.0.113.0/24 -all"
mxm.example.com. TXT "v=spf1 a:l1.example.com a:l2.example.com mx:half.example.com -all"
mxn.example.com. TXT "v=spf1 a:l1.example.com a:l2.example.com mx:null.example.com ip4:203.0.113.0/24 -all"
many.example.com. TXT "v=spf1 a:l1.example.com a:l2.example.com a:l3.example.com +all"
`

func TestCheck(t *testing.T) {
	zone, err := dns.ParseZone(strings.NewReader(records), "zone")
	if err != nil {
		t.Fatal(err)
	}
	r := zone.Resolver(time.Now, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		name, client, helo, sender string
		status                     spf.Status
		identity                   spf.Identity
		domain                     string
	}{
		{"pass", "192.0.2.9", "mail.example.com", "ann@example.com", spf.Pass, spf.MailFrom, "example.com"},
		{"fail", "203.0.113.9", "mail.example.com", "ann@example.com", spf.Fail, spf.MailFrom, "example.com"},
		{"IPv6", "2001:db8::9", "mail.example.com", "ann@example.com", spf.Pass, spf.MailFrom, "example.com"},
		{"IPv4 in IPv6", "::ffff:192.0.2.9", "mail.example.com", "ann@example.com", spf.Pass, spf.MailFrom, "example.com"},
		{"case", "192.0.2.9", "x", "ann@Example.COM", spf.Pass, spf.MailFrom, "example.com"},
		{"U-label", "192.0.2.9", "x", "ann@bücher.example", spf.Pass, spf.MailFrom, "xn--bcher-kva.example"},
		{"softfail", "192.0.2.9", "x", "ann@soft.example.com", spf.SoftFail, spf.MailFrom, "soft.example.com"},
		{"neutral", "203.0.113.9", "x", "ann@neutral.example.com", spf.Neutral, spf.MailFrom, "neutral.example.com"},
		{"no record", "192.0.2.9", "x", "ann@plain.example.com", spf.None, spf.MailFrom, "plain.example.com"},
		{"no name", "192.0.2.9", "x", "ann@none.example.com", spf.None, spf.MailFrom, "none.example.com"},
		{"two records", "192.0.2.9", "x", "ann@two.example.com", spf.PermError, spf.MailFrom, "two.example.com"},
		{"broken record", "192.0.2.9", "x", "ann@broken.example.com", spf.PermError, spf.MailFrom, "broken.example.com"},
		{"voids", "192.0.2.9", "x", "ann@many.example.com", spf.PermError, spf.MailFrom, "many.example.com"},
		// RFC 7208 section 4.6.4 counts terms: each term with a void lookup counts once, unless it matches.
		{"voids of ptr", "203.0.113.9", "x", "ann@ptr2.example.com", spf.Pass, spf.MailFrom, "ptr2.example.com"},
		{"voids of ptr, a third", "203.0.113.9", "x", "ann@ptr3.example.com", spf.PermError, spf.MailFrom, "ptr3.example.com"},
		{"voids of ptr, a name without addresses", "198.51.100.9", "x", "ann@ptra.example.com", spf.PermError, spf.MailFrom, "ptra.example.com"},
		{"voids of ptr, a match", "192.0.2.1", "x", "ann@ptrm.example.com", spf.Pass, spf.MailFrom, "ptrm.example.com"},
		{"voids of mx, one term", "203.0.113.9", "x", "ann@mx1.example.com", spf.Pass, spf.MailFrom, "mx1.example.com"},
		{"voids of mx, three terms", "203.0.113.9", "x", "ann@mx3.example.com", spf.PermError, spf.MailFrom, "mx3.example.com"},
		{"voids of mx, a match", "192.0.2.1", "x", "ann@mxm.example.com", spf.Pass, spf.MailFrom, "mxm.example.com"},
		{"voids of mx, RFC 7505", "203.0.113.9", "x", "ann@mxn.example.com", spf.Pass, spf.MailFrom, "mxn.example.com"},

		{"null sender: HELO", "192.0.2.1", "mail.example.com", "", spf.Pass, spf.HELO, "mail.example.com"},
		{"null sender: HELO with a dot", "192.0.2.1", "MAIL.example.com.", "", spf.Pass, spf.HELO, "mail.example.com"},
		{"null sender: HELO fails", "192.0.2.2", "mail.example.com", "", spf.Fail, spf.HELO, "mail.example.com"},
		{"null sender: a literal", "192.0.2.1", "[192.0.2.1]", "", spf.None, spf.HELO, ""},
		{"null sender: a single label", "192.0.2.1", "localhost", "", spf.None, spf.HELO, ""},
		{"null sender: no HELO", "192.0.2.1", "", "", spf.None, spf.HELO, ""},
		{"HELO is not checked if there is a sender", "192.0.2.1", "mail.example.com", "ann@none.example.com", spf.None, spf.MailFrom, "none.example.com"},

		{"no domain", "192.0.2.1", "mail.example.com", "ann", spf.None, spf.MailFrom, ""},
		{"a literal", "192.0.2.1", "x", "ann@[192.0.2.1]", spf.None, spf.MailFrom, ""},
		{"empty domain", "192.0.2.1", "mail.example.com", "ann@", spf.None, spf.MailFrom, ""},
		{"source route", "192.0.2.9", "x", "@a.example,@b.example:ann@example.com", spf.Pass, spf.MailFrom, "example.com"},
		{"the last @ counts", "192.0.2.9", "x", "\"x@soft.example.com\"@example.com", spf.Pass, spf.MailFrom, "example.com"},
		{"injection", "192.0.2.9", "x", "ann@example.com(.evil.example", spf.None, spf.MailFrom, ""},
		{"NUL", "192.0.2.9", "x", "ann@example.com\x00.evil.example", spf.None, spf.MailFrom, ""},
		{"no local part", "192.0.2.9", "x", "@example.com", spf.Pass, spf.MailFrom, "example.com"},
		{"no client", "", "mail.example.com", "ann@example.com", spf.None, spf.MailFrom, "example.com"},

		{"macro %{l}", "203.0.113.9", "x", "ann@user.example.com", spf.Pass, spf.MailFrom, "user.example.com"},
		{"macro %{l}, not listed", "203.0.113.9", "x", "bob@user.example.com", spf.Fail, spf.MailFrom, "user.example.com"},
		{"RFC 8616 section 4", "203.0.113.9", "x", "änn@user.example.com", spf.Fail, spf.MailFrom, "user.example.com"},
		{"include by %{l}", "192.0.2.9", "x", "ann@users.example.com", spf.Pass, spf.MailFrom, "users.example.com"},
		{"include by %{l}, of no user", "192.0.2.9", "x", "bob@users.example.com", spf.PermError, spf.MailFrom, "users.example.com"},
		{"RFC 8616 section 4, include", "192.0.2.9", "x", "änn@users.example.com", spf.Fail, spf.MailFrom, "users.example.com"},
		{"an @ in the local part", "203.0.113.9", "x", "\"ann@x\"@user.example.com", spf.Fail, spf.MailFrom, "user.example.com"},
		{"exists, IPv6 client", "2001:db8::9", "x", "ann@user.example.com", spf.Pass, spf.MailFrom, "user.example.com"},
		{"macro %{h}", "203.0.113.9", "mail.example.com", "ann@helo.example.com", spf.Pass, spf.MailFrom, "helo.example.com"},
		{"macro %{h}, no name", "203.0.113.9", "[203.0.113.9]", "ann@helo.example.com", spf.Fail, spf.MailFrom, "helo.example.com"},
		// RFC 7208 section 5: for an IPv4 client, only A is looked up, so a name with only AAAA records is a void lookup.
		{"address family", "192.0.2.1", "x", "ann@a.example.com", spf.PermError, spf.MailFrom, "a.example.com"},
		{"address family, IPv6", "2001:db8::1", "x", "ann@a.example.com", spf.Pass, spf.MailFrom, "a.example.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, _ := netip.ParseAddr(c.client)
			got := spf.Check(t.Context(), r.View(netip.Addr{}), client, c.helo, c.sender)
			if got.Status != c.status || got.Identity != c.identity || got.Domain != c.domain {
				t.Errorf("got %+v", got)
			}
			if (got.Cause == "") != (got.Status == spf.Pass) {
				t.Errorf("the cause is %q", got.Cause)
			}
		})
	}
	if got := spf.Check(t.Context(), r.View(netip.Addr{}), netip.MustParseAddr("192.0.2.1"), "x", "a@example.com"); !strings.HasPrefix(got.Record, "v=spf1 ip4:192.0.2.0/24") {
		t.Errorf("the record is %q", got.Record)
	}
}
