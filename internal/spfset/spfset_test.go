package spfset_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go4.org/netipx"

	"signpost/internal/spfset"
)

func text(s *netipx.IPSet) string { return strings.Trim(fmt.Sprint(s.Prefixes()), "[]") }

// Each term that is not listed has a note with the term and its domain. There is one note for both address families.
func TestNotes(t *testing.T) {
	t.Parallel()
	r := resolver(t, shapes())
	for domain, want := range map[string][]string{
		"nested.example": nil,
		"macros.example": {
			"exists:%{i}.list.macros.example of macros.example depends on more than the client address: its addresses are not listed",
			"ptr:macros.example of macros.example depends on more than the client address: its addresses are not listed",
			"-exists:%{i}.deny.macros.example of macros.example depends on more than the client address: addresses of later terms are not listed",
			"-exists:%{i}.deny.macros.example of macros.example: more than 2 void lookups (RFC 7208 section 4.6.4): this term and later terms authorize nothing; --over-limit lists them anyway",
		},
		"behind.example": {"include:%{i}.behind.example of behind.example depends on the message: addresses of this term and later terms are not listed"},
		"dead.example":   {"include:gone.dead.example of dead.example: no SPF record found: this term and later terms authorize nothing"},
		"broken.example": {`include:typo.broken.example of broken.example: unknown mechanism: ipv4 (ipv4:37.1.12.0/22 of typo.broken.example): this term and later terms authorize nothing`},
		"twice.example":  {"?include:two.twice.example of twice.example: several records: 2 (two.twice.example): this term and later terms authorize nothing"},
		"loop.example":   {"include:back.loop.example of loop.example: more than 10 DNS lookups (RFC 7208 section 4.6.4): this term and later terms authorize nothing; --over-limit lists them anyway"},
		"voids.example":  {"a:six.voids.example of voids.example: more than 2 void lookups (RFC 7208 section 4.6.4): this term and later terms authorize nothing; --over-limit lists them anyway"},
		"crowd.example":  {"mx of crowd.example: more than 10 MX hosts: this term and later terms authorize nothing"},
		"bogons.example": {
			"ip4:10.1.0.0/16 of bogons.example: 10.1.0.0/16 overlaps 10.0.0.0/8 (private, RFC 1918): refused",
			"ip4:192.168.0.0/16 of bogons.example: 192.168.0.0/16 overlaps 192.168.0.0/16 (private, RFC 1918): refused",
			"ip4:203.0.112.0/22 of bogons.example: 203.0.112.0/22 overlaps 203.0.113.0/24 (documentation, RFC 5737): refused",
			"ip6:fd00::/8 of bogons.example: fd00::/8 is wider than /28: refused",
			"ip6:2002:2500::/24 of bogons.example: 2002:2500::/24 is wider than /28: refused",
		},
		"wide.example": {
			"ip4:38.0.0.0/11 of wide.example: 38.0.0.0/11 is wider than /12: refused",
			"ip6:2600::/27 of wide.example: 2600::/27 is wider than /28: refused",
			"adjacent networks of wide.example form 39.32.0.0/11, which is wider than /12: refused",
		},
		"everybody.example": {"+all of all.everybody.example authorizes all addresses: refused"},
		"nobody.example":    {`no address is listed, because the record "v=spf1 -all" authorizes none`},
	} {
		answer, err := spfset.Find(t.Context(), r.View(netip.Addr{}), domain, limits())
		if err != nil {
			t.Error(domain, err)
		}
		if !slices.Equal(answer.Notes, want) {
			t.Errorf("%s:\n%s\nwant\n%s", domain, strings.Join(answer.Notes, "\n"), strings.Join(want, "\n"))
		}
	}
}

// A domain without any listed address has a note with the reason. A term that every check ignores always has a note.
func TestNoAddress(t *testing.T) {
	t.Parallel()
	const none = `no address is listed, because the record "%s" authorizes none`
	for record, want := range map[string][]string{
		"v=spf1":                                 {none},
		"v=spf1 ":                                {none},
		"v=spf1 -all":                            {none},
		"v=spf1 ?all":                            {none},
		"v=spf1 ~all exp=why.b.example":          {none},
		"v=spf1 x-note=1 -all":                   {none},
		"v=spf1 -ip4:37.0.0.0/24 ?mx -all":       {none},
		"v=spf1 ip4=192.0.2.1 -all":              {none + "; ip4=192.0.2.1 of a.example is ignored, because ip4= is an unknown modifier: ip4:192.0.2.1 may be meant"},
		"v=spf1 IP6=2a00::/32 a=b.example":       {none + "; IP6=2a00::/32 of a.example is ignored, because IP6= is an unknown modifier: IP6:2a00::/32 may be meant; a=b.example of a.example is ignored, because a= is an unknown modifier: a:b.example may be meant"},
		"v=spf1 -all redirect=b.example":         {none + "; redirect=b.example of a.example is ignored, because the record has -all (RFC 7208 section 6.1)"},
		"v=spf1 redirect=b.example ~all":         {none + "; redirect=b.example of a.example is ignored, because the record has ~all (RFC 7208 section 6.1)"},
		"v=spf1 -all ip4:37.0.0.0/24 -all":       {none + "; ip4:37.0.0.0/24 of a.example is ignored, because it follows -all (RFC 7208 section 5.1)"},
		"v=spf1 a:gone.example mx -all":          {none + "; no address matches a:gone.example, mx"},
		"v=spf1 redirect=none.example":           {none + "; no address matches redirect=none.example"},
		"v=spf1 include:none.example ?all":       {none + "; no address matches include:none.example"},
		"v=spf1 -ip4:37.0.0.0/8 ip4:37.0.0.0/24": {none + "; no address matches ip4:37.0.0.0/24"},
		"v=spf1 include:typo.example -all":       {none + "; ip4=37.0.0.1 of typo.example is ignored, because ip4= is an unknown modifier: ip4:37.0.0.1 may be meant; no address matches include:typo.example"},
		"v=spf1 +all":                            {`no address of the record "%s" is listed`, "+all of a.example authorizes all addresses: refused"},
		"v=spf1 ip4:10.0.0.0/24 ip6=2a00::/32":   {`no address of the record "%s" is listed`, "ip6=2a00::/32 of a.example is ignored, because ip6= is an unknown modifier: ip6:2a00::/32 may be meant", "ip4:10.0.0.0/24 of a.example: 10.0.0.0/24 overlaps 10.0.0.0/8 (private, RFC 1918): refused"},
		"v=spf1 ip4:37.0.0.0/24 ip4=37.0.1.0/24": {"ip4=37.0.1.0/24 of a.example is ignored, because ip4= is an unknown modifier: ip4:37.0.1.0/24 may be meant"},
		"v=spf1 ip4:37.0.0.0/24 -all ~all":       nil,
		"v=spf1 b.example=1 ip4:37.0.0.0/24":     nil,
	} {
		zone := txt("a.example.", record) + `
b.example. TXT "v=spf1 ip4:37.0.0.0/24 -all"
none.example. TXT "v=spf1 -all"
typo.example. TXT "v=spf1 ip4=37.0.0.1 -all"
`
		answer, err := spfset.Find(t.Context(), resolver(t, zone).View(netip.Addr{}), "a.example", limits())
		if err != nil {
			t.Error(record, err)
		}
		if len(want) > 0 {
			want[0] = strings.Replace(want[0], "%s", record, 1)
		}
		if !slices.Equal(answer.Notes, want) {
			t.Errorf("%s:\n%s\nwant\n%s", record, strings.Join(answer.Notes, "\n"), strings.Join(want, "\n"))
		}
	}
}

// With OverLimit, terms over the limits are listed too. Loops still end.
func TestOverLimit(t *testing.T) {
	t.Parallel()
	r := resolver(t, shapes())
	o := limits()
	o.OverLimit = true
	for domain, want := range map[string]struct{ has, note string }{
		"many.example":   {"37.11.26.0/24", "include:i5.many.example of many.example: more than 10 DNS lookups (RFC 7208 section 4.6.4): this term and later terms are listed anyway (--over-limit)"},
		"voids.example":  {"37.5.3.0/24", "a:six.voids.example of voids.example: more than 2 void lookups (RFC 7208 section 4.6.4): this term and later terms are listed anyway (--over-limit)"},
		"loop.example":   {"37.3.12.0/22", "include:loop.example of back.loop.example is a loop: this term and later terms authorize nothing"},
		"circle.example": {"37.4.4.0/22", "redirect=circle.example of circle.example is a loop: this term and later terms authorize nothing"},
	} {
		answer, err := spfset.Find(t.Context(), r.View(netip.Addr{}), domain, o)
		if err != nil || !answer.Networks.OverlapsPrefix(netip.MustParsePrefix(want.has)) || !slices.Contains(answer.Notes, want.note) {
			t.Errorf("%s: %v\n%s\n%s", domain, err, text(answer.Networks), strings.Join(answer.Notes, "\n"))
		}
	}
}

// A limit of 0 allows any width, but +all is still refused.
func TestWidest(t *testing.T) {
	t.Parallel()
	r := resolver(t, shapes())
	for domain, want := range map[string]string{"wide.example": "38.0.0.0/16", "everybody.example": "37.10.0.0/24"} {
		answer, err := spfset.Find(t.Context(), r.View(netip.Addr{}), domain, spfset.Options{})
		if err != nil || answer.Networks.Prefixes()[0] != netip.MustParsePrefix(want) {
			t.Errorf("%s: %v %s", domain, err, text(answer.Networks))
		}
	}
}

// A domain without a valid record returns a permanent error. If DNS fails for a name that a check reaches, Find returns a temporary error
// and the addresses that match earlier terms. Names that no check reaches have no effect.
func TestFailures(t *testing.T) {
	t.Parallel()
	zone := `
plain.example. TXT "something else"
two.example. TXT "v=spf1 -all"
two.example. TXT "v=spf1 +all"
typo.example. TXT "v=spf1 ip4:37.0.0.0"
typo.example. A 37.0.0.1
wrong.example. TXT "v=spf1 ipv4:37.0.0.0/8"
;fault down.example. SERVFAIL
;fault host.down.example. SERVFAIL
include.example. TXT "v=spf1 ip4:37.0.0.0/24 ?include:down.example -all"
host.example. TXT "v=spf1 a:host.down.example -all"
mx.example. TXT "v=spf1 mx -all"
mx.example. MX 1 host.down.example.
redirect.example. TXT "v=spf1 redirect=down.example"
unread.example. TXT "v=spf1 ip4:37.0.0.0/24 -all a:host.down.example redirect=down.example"
`
	r := resolver(t, zone)
	for domain, want := range map[string]struct {
		why       string
		temporary bool
		networks  string
	}{
		"none.example":     {"none.example has no SPF record", false, ""},
		"plain.example":    {"plain.example has no SPF record", false, ""},
		"two.example":      {"several records: 2 (two.example)", false, ""},
		"wrong.example":    {"unknown mechanism: ipv4 (ipv4:37.0.0.0/8 of wrong.example)", false, ""},
		"down.example":     {"lookup failed for down.example: SERVFAIL", true, ""},
		"include.example":  {"lookup failed for down.example: SERVFAIL", true, "37.0.0.0/24"},
		"host.example":     {"lookup failed for host.down.example: SERVFAIL", true, ""},
		"mx.example":       {"lookup failed for host.down.example: SERVFAIL", true, ""},
		"redirect.example": {"lookup failed for down.example: SERVFAIL", true, ""},
		"unread.example":   {"", false, "37.0.0.0/24"},
		"typo.example":     {"", false, "37.0.0.0/32"},
	} {
		answer, err := spfset.Find(t.Context(), r.View(netip.Addr{}), domain, limits())
		var failure *spfset.Error
		if !errors.As(err, &failure) {
			failure = &spfset.Error{}
		}
		if got := text(answer.Networks); got != want.networks {
			t.Errorf("%s: found %q, want %q", domain, got, want.networks)
		}
		if failure.Why != want.why || failure.Temporary != want.temporary {
			t.Errorf("%s: %+v, want %+v", domain, failure, want)
		}
	}
}

// The evaluation of endless records ends.
func TestEndless(t *testing.T) {
	t.Parallel()
	bomb := "bomb.example. TXT"
	for range 60 {
		bomb += ` " include:bomb.example"`
	}
	zone := strings.Replace(bomb, `" `, `"v=spf1 `, 1) + "\n"
	wide := "v=spf1"
	for i := range 500 {
		wide += fmt.Sprintf(" ?ip4:37.%d.%d.0/25", i/256, i%256)
	}
	zone += txt("many.example.", wide+strings.Repeat(" include:many.example", 20))
	o := limits()
	o.OverLimit = true
	r := resolver(t, zone)
	for _, domain := range []string{"bomb.example", "many.example"} {
		for _, o := range []spfset.Options{limits(), o} {
			if answer, err := spfset.Find(t.Context(), r.View(netip.Addr{}), domain, o); err == nil && !answer.Empty() {
				t.Errorf("%s: %s", domain, text(answer.Networks))
			}
		}
	}
}
