package spfset_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	oracle "blitiri.com.ar/go/spf"
	"go4.org/netipx"

	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/internal/spfset"
	"signpost/internal/testdns"
)

// shapes returns records of large senders, with other names and networks.
func shapes() string {
	zone := `
nested.example. TXT "v=spf1 include:_spf.nested.example ~all"
_spf.nested.example. TXT "v=spf1 include:_n1.nested.example include:_n2.nested.example include:_n3.nested.example ~all"
_n1.nested.example. TXT "v=spf1 ip4:35.190.247.0/24 ip4:64.233.160.0/19 ip4:66.102.0.0/20 ip4:66.249.80.0/20 ip4:209.85.128.0/17 ~all"
_n2.nested.example. TXT "v=spf1 ip6:2a00:1450:4000::/36 ip6:2c0f:fb50:4000::/36 ip6:2404:6800:4000::/36 ~all"
_n3.nested.example. TXT "v=spf1 ip4:172.217.0.0/19 ip4:172.217.32.0/20 ip4:172.217.128.0/19 ?ip4:35.191.0.0/16 ~all"

chain.example. TXT "v=spf1 redirect=one.chain.example"
one.chain.example. TXT "v=spf1 ip4:77.238.176.0/22 redirect=two.chain.example"
two.chain.example. TXT "v=spf1 ip4:98.137.64.0/21 -ip4:98.137.70.0/24 redirect=three.chain.example"
three.chain.example. TXT "v=spf1 ip4:98.136.0.0/14 ?all redirect=never.chain.example"

hosts.example. TXT "v=spf1 a a:both.hosts.example/28//64 mx/24 mx:more.hosts.example//48 -all"
hosts.example. A 93.184.216.34
hosts.example. MX 10 both.hosts.example.
hosts.example. MX 20 none.hosts.example.
both.hosts.example. A 93.184.210.77
both.hosts.example. AAAA 2a01:111:f400::77
more.hosts.example. MX 1 alias.hosts.example.
alias.hosts.example. CNAME both.hosts.example.

minus.example. TXT "v=spf1 -ip4:45.76.3.0/24 ~ip6:2a02:1:2::/48 ?include:hole.minus.example -include:not.minus.example ip4:45.76.0.0/16 ip6:2a02:1::/32 -all"
hole.minus.example. TXT "v=spf1 ip4:45.76.128.0/20 -all"
not.minus.example. TXT "v=spf1 ~ip4:45.76.200.0/24 ip4:45.76.192.0/19 ip6:2a02:1:8000::/33 -all"

dead.example. TXT "v=spf1 ip4:37.0.4.0/22 include:gone.dead.example ip4:37.0.8.0/22 -all"
lame.example. TXT "v=spf1 ip4:37.16.4.0/22 include:down.lame.example ip4:37.16.8.0/22 -all"
down.lame.example. TXT "v=spf1 ip4:37.16.12.0/22 a:host.lame.example ip4:37.16.16.0/22 -all"
;fault host.lame.example. SERVFAIL
broken.example. TXT "v=spf1 ip4:37.1.4.0/22 include:typo.broken.example ip4:37.1.8.0/22 -all"
typo.broken.example. TXT "v=spf1 ipv4:37.1.12.0/22 ip4:37.1.8.0/22 -all"
twice.example. TXT "v=spf1 ip4:37.2.4.0/22 ?include:two.twice.example ip4:37.2.8.0/22 -all"
two.twice.example. TXT "v=spf1 ip4:37.2.8.0/22 -all"
two.twice.example. TXT "v=spf1 -all"

loop.example. TXT "v=spf1 ip4:37.3.4.0/22 include:back.loop.example ip4:37.3.8.0/22 -all"
back.loop.example. TXT "v=spf1 ip4:37.3.12.0/22 include:loop.example ip4:37.3.16.0/22 -all"
circle.example. TXT "v=spf1 ip4:37.4.4.0/22 redirect=circle.example"

voids.example. TXT "v=spf1 ip4:37.5.0.0/24 a:n1.voids.example ip4:37.5.1.0/24 mx:n2.voids.example ip4:37.5.2.0/24 a:six.voids.example ip4:37.5.3.0/24 ip6:2a03:5::/32 -all"
six.voids.example. AAAA 2a03:4::1

macros.example. TXT "v=spf1 ip4:37.6.0.0/24 exists:%{i}.list.macros.example ip4:37.6.1.0/24 ptr:macros.example ip4:37.6.2.0/24 -exists:%{i}.deny.macros.example ip4:37.6.3.0/24 -all"
37.6.9.9.list.macros.example. A 127.0.0.2
behind.example. TXT "v=spf1 ip4:37.7.0.0/24 include:%{i}.behind.example ip4:37.7.1.0/24 -all"
softly.example. TXT "v=spf1 include:maybe.softly.example ip4:37.8.0.0/16 -all"
maybe.softly.example. TXT "v=spf1 ip4:37.8.1.0/24 ?exists:%{i}.x.softly.example ip4:37.8.2.0/24 ip4:38.8.2.0/24 -all"

bogons.example. TXT "v=spf1 ip4:10.1.0.0/16 ip4:37.9.0.0/24 ip4:192.168.0.0/16 ip4:203.0.112.0/22 ip6:fd00::/8 ip6:2a04:1::/32 ip6:2002:2500::/24 -all"
wide.example. TXT "v=spf1 -ip4:38.1.0.0/16 ip4:38.0.0.0/11 ip4:39.0.0.0/24 ip4:39.16.0.0/12 ip4:39.32.0.0/12 ip4:39.48.0.0/12 ip6:2600::/27 ip6:2a05::/32 -all"
everybody.example. TXT "v=spf1 ip4:37.10.0.0/24 include:all.everybody.example -all"
all.everybody.example. TXT "v=spf1 +all"
nobody.example. TXT "v=spf1 -all"
`
	sixty, many := "v=spf1", "v=spf1"
	for i := range 60 {
		sixty += fmt.Sprintf(" ip4:5.%d.%d.77/%d", i/7, 4*i, 20+i%13)
		if i%10 == 0 {
			sixty += fmt.Sprintf(" ip6:2a06:%x::1/%d", i, 32+i)
		}
	}
	for i := range 14 {
		many += fmt.Sprintf(" ip4:37.11.%d.0/24 include:i%d.many.example", 2*i, i)
		zone += fmt.Sprintf("i%d.many.example. TXT \"v=spf1 ip4:37.12.%d.0/24 -ip4:37.13.%d.0/24 mx -all\"\ni%d.many.example. MX 1 m%d.many.example.\nm%d.many.example. A 37.14.%d.1\n", i, i, i, i, i, i, i)
	}
	zone += txt("sixty.example.", sixty+" ~all") + txt("many.example.", many+" ip4:37.13.0.0/16 -all")
	crowd := "crowd.example. TXT \"v=spf1 ip4:37.15.0.0/24 mx ip4:37.15.1.0/24 -all\"\n"
	for i := range 11 {
		crowd += fmt.Sprintf("crowd.example. MX %d m%d.many.example.\n", i, i)
	}
	return zone + crowd
}

// txt writes a record as strings of an allowed length.
func txt(name, text string) string {
	line := name + " TXT"
	for len(text) > 200 {
		line += fmt.Sprintf(" %q", text[:200])
		text = text[200:]
	}
	return line + fmt.Sprintf(" %q\n", text)
}

// unlisted returns the addresses that pass but are not listed, by domain: those that Find refuses, and those whose result depends on the
// message.
func unlisted() map[string]*netipx.IPSet {
	of := func(networks ...string) *netipx.IPSet {
		var all []netip.Prefix
		for _, n := range networks {
			all = append(all, netip.MustParsePrefix(n))
		}
		return spfset.Of(all...)
	}
	var others netipx.IPSetBuilder
	others.AddPrefix(netip.MustParsePrefix("37.10.0.0/24"))
	others.Complement()
	notTheirs, err := others.IPSet()
	if err != nil {
		panic(err)
	}
	return map[string]*netipx.IPSet{
		"bogons.example": of("10.1.0.0/16", "192.168.0.0/16", "203.0.112.0/22", "fd00::/8", "2002:2500::/24"),
		// A term that is too wide, and adjacent networks that together are too wide.
		"wide.example":      of("38.0.0.0/11", "39.32.0.0/11", "2600::/27"),
		"everybody.example": notTheirs,
		// These are the addresses that the term exists: authorizes, and the addresses of terms after -exists:.
		"macros.example": of("37.6.9.9/32", "37.6.3.0/24"),
		// These are the addresses of terms after ?exists: in an included record. If ?exists: matches, the included record has the result
		// neutral, and the including record has no other term that matches them.
		"softly.example": of("38.8.2.0/24"),
	}
}

func resolver(t *testing.T, zone string) *dns.Resolver {
	t.Helper()
	server, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: 5 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

func limits() spfset.Options { return spfset.Options{Widest4: 12, Widest6: 28} }

// Find agrees with two independent evaluators for 100,000 addresses, except for those in unlisted. The addresses are inside of networks,
// at their edges and elsewhere.
func TestAnswersAreVerdicts(t *testing.T) {
	t.Parallel()
	if underRace {
		t.Skip("the library's regular expressions take ten times as long under the race detector; make test runs it without")
	}
	asked := resolver(t, shapes())
	var domains []string
	found, networks := map[string]*netipx.IPSet{}, map[string][]netip.Prefix{}
	var edges []netip.Addr
	for line := range strings.Lines(shapes()) {
		name, text, ok := strings.Cut(line, ". TXT ")
		if !ok {
			continue
		}
		for term := range strings.FieldsSeq(strings.ReplaceAll(text, `" "`, "")) {
			if at := strings.Index(term, "ip4:") + strings.Index(term, "ip6:") + 1; at >= 0 {
				edges = append(edges, around(strings.Trim(term[at+4:], "\""))...)
			}
		}
		if strings.Count(name, ".") == 1 {
			domains = append(domains, name)
			answer, err := spfset.Find(t.Context(), asked.View(netip.Addr{}), name, limits())
			if (err != nil) != (name == "lame.example") {
				t.Fatal(name, err)
			}
			found[name], networks[name] = answer.Networks, answer.Networks.Prefixes()
		}
	}
	total, least := 100_000, 200
	if testing.Short() {
		total, least = 10_000, 20
	}
	r := rand.New(rand.NewPCG(7208, 9))
	passed := map[string]int{}
	exempt := unlisted()
	for i := range total {
		domain := domains[i%len(domains)]
		addr := pick(r, edges, networks[domain])
		listed := found[domain].Contains(addr)
		ours := spf.Check(t.Context(), asked.View(netip.Addr{}), addr, "mail."+domain, "ann@"+domain)
		theirs, why := oracle.CheckHostWithSender(net.IP(addr.AsSlice()), "mail."+domain, "ann@"+domain,
			oracle.WithContext(t.Context()), oracle.WithResolver(asker{asked.View(netip.Addr{}), addr.Is6()}))
		pass := ours.Status == spf.Pass
		if string(theirs) != string(ours.Status) && (theirs == oracle.Pass || pass) {
			t.Fatalf("%s from %s: ours %s (%s), the library's %s (%v)", domain, addr, ours.Status, ours.Cause, theirs, why)
		}
		if set := exempt[domain]; set != nil && set.Contains(addr) {
			if listed {
				t.Fatalf("%s is listed for %s", addr, domain)
			}
			continue
		}
		if listed != pass {
			t.Fatalf("%s for %s: listed %v, SPF returns %s (%s)", addr, domain, listed, ours.Status, ours.Cause)
		}
		if listed {
			passed[domain]++
		}
	}
	for _, d := range domains {
		if passed[d] < least && d != "nobody.example" {
			t.Errorf("%s: only %d of the addresses are listed", d, passed[d])
		}
	}
}

// around returns addresses at the edges of a network.
func around(text string) []netip.Addr {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a := netip.MustParseAddr(text)
		p = netip.PrefixFrom(a, a.BitLen())
	}
	first := p.Masked().Addr()
	end := inside(p, ^uint64(0), ^uint64(0))
	return []netip.Addr{first.Prev(), first, first.Next(), end.Prev(), end, end.Next()}
}

// inside returns the address of a network with these last bits.
func inside(p netip.Prefix, high, low uint64) netip.Addr {
	a := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(a)*8; bit++ {
		half, at := high, bit
		if bit >= 64 {
			half, at = low, bit-64
		}
		if half>>(63-at)&1 == 1 {
			a[bit/8] |= 1 << (7 - bit%8)
		}
	}
	addr, _ := netip.AddrFromSlice(a)
	return addr
}

func pick(r *rand.Rand, edges []netip.Addr, networks []netip.Prefix) netip.Addr {
	switch how := r.IntN(4); {
	case how == 0:
		return netip.AddrFrom4([4]byte{byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
	case how == 1 || len(networks) == 0:
		if a := edges[r.IntN(len(edges))]; a.IsValid() {
			return a
		}
		return netip.IPv4Unspecified()
	case how == 2:
		p := networks[r.IntN(len(networks))]
		if a := around(p.String())[r.IntN(6)]; a.IsValid() {
			return a
		}
		return p.Addr()
	}
	return inside(networks[r.IntN(len(networks))], r.Uint64(), r.Uint64())
}

// asker restricts the library to the address family of the client. exists queries A for both families.
type asker struct {
	*dns.View
	six bool
}

func (a asker) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	lookup := a.LookupA
	if a.six && !strings.Contains(host, ".macros.") && !strings.Contains(host, ".softly.") {
		lookup = a.LookupAAAA
	}
	addrs, err := lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var ips []net.IPAddr
	for _, addr := range addrs {
		ips = append(ips, net.IPAddr{IP: addr.AsSlice()})
	}
	return ips, nil
}
