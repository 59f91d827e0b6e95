package spf_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	oracle "blitiri.com.ar/go/spf"

	"signpost/internal/conformance"
	"signpost/internal/dns"
	"signpost/internal/spf"
)

// asker adapts our resolver to the library. It looks up addresses of the client's family only. For exists, which is always a lookup of A,
// it looks up A for both families.
type asker struct {
	*dns.View
	six bool
}

func (a asker) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	lookup := a.LookupA
	if a.six && !strings.HasPrefix(host, "exists-") {
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

// The results for generated trees of records are the same as those of blitiri.com.ar/go/spf, an independent implementation. The trees
// omit everything that the library does differently from RFC 7208: records that the grammar rejects, macros with empty parts and escapes,
// slashes in names, %{p}, exchanges without addresses, and clients without names.
func TestAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(7208, 1))
	counts := map[spf.Status]int{}
	const domains, trees, clients = 8, 150, 20
	addresses := []string{"192.0.2.1", "192.0.2.130", "198.51.100.7", "2001:db8::1", "2001:db8:1::5", "203.0.113.1"}
	for range trees {
		zone := "m1.example.com. A 192.0.2.1\nm1.example.com. AAAA 2001:db8::1\nm2.example.com. A 192.0.2.130\nm2.example.com. AAAA 2001:db8:1::1\n" +
			"mx.example.com. MX 1 m1.example.com.\nmx.example.com. MX 2 m2.example.com.\n" +
			"exists-ann.example.com. A 127.0.0.2\nexists-192.0.2.1.example.com. A 127.0.0.2\n" +
			"1.2.0.192.in-addr.arpa. PTR m1.example.com.\nliar.example.com. A 192.0.2.99\nliar.example.com. AAAA 2001:db8::99\n"
		for _, client := range addresses {
			zone += reverse(t, client) + " PTR liar.example.com.\n"
		}
		for d := range domains {
			zone += fmt.Sprintf("d%d.example.com. TXT %q\n", d, generate(r, d, domains))
		}
		parsed, err := dns.ParseZone(strings.NewReader(zone), "zone")
		if err != nil {
			t.Fatal(err)
		}
		resolver := parsed.Resolver(time.Now, slog.New(slog.DiscardHandler))
		for range clients {
			client := addresses[r.IntN(len(addresses))]
			sender := []string{"ann", "bob"}[r.IntN(2)] + fmt.Sprintf("@d%d.example.com", r.IntN(domains))
			ours := spf.Check(t.Context(), resolver.View(netip.Addr{}), netip.MustParseAddr(client), "helo.example.com", sender)
			theirs, why := oracle.CheckHostWithSender(net.ParseIP(client), "helo.example.com", sender,
				oracle.WithContext(t.Context()), oracle.WithResolver(asker{resolver.View(netip.Addr{}), strings.Contains(client, ":")}))
			if string(ours.Status) != string(theirs) {
				t.Fatalf("%s from %s: %s (%s), the library %s (%v)\n%s", sender, client, ours.Status, ours.Cause, theirs, why, zone)
			}
			counts[ours.Status]++
		}
	}
	conformance.Add(t, "spf-oracle", "SPF: blitiri.com.ar/go/spf has the same result for %d generated checks: %d pass, %d fail, %d softfail, %d neutral, %d none, %d permerror.",
		trees*clients, counts[spf.Pass], counts[spf.Fail], counts[spf.SoftFail], counts[spf.Neutral], counts[spf.None], counts[spf.PermError])
	for _, s := range []spf.Status{spf.Pass, spf.Fail, spf.SoftFail, spf.Neutral, spf.PermError} {
		if counts[s] < 50 {
			t.Errorf("the generator does not make enough of each result: %v", counts)
		}
	}
}

// reverse returns the name of a client's PTR records.
func reverse(t *testing.T, client string) string {
	t.Helper()
	addr := netip.MustParseAddr(client)
	raw, suffix := addr.AsSlice(), "in-addr.arpa."
	var labels []string
	for _, b := range raw {
		if addr.Is4() {
			labels = append(labels, fmt.Sprint(b))
		} else {
			labels, suffix = append(labels, fmt.Sprintf("%x", b>>4), fmt.Sprintf("%x", b&15)), "ip6.arpa."
		}
	}
	slices.Reverse(labels)
	return strings.Join(append(labels, suffix), ".")
}

// generate writes a record for domain number d. The record refers only to domains with larger numbers.
func generate(r *rand.Rand, d, domains int) string {
	name := func() string {
		return []string{"m1", "m2", "mx", fmt.Sprint("none", r.IntN(100))}[r.IntN(4)] + ".example.com"
	}
	deeper := func() string {
		if d+1 < domains && r.IntN(8) > 0 {
			return fmt.Sprintf("d%d.example.com", d+1+r.IntN(domains-d-1))
		}
		return fmt.Sprint("none", r.IntN(100), ".example.com")
	}
	terms := []string{"v=spf1"}
	for range r.IntN(5) {
		term := []string{"", "", "-", "~", "?", "+"}[r.IntN(6)]
		switch r.IntN(10) {
		case 0:
			term += "ip4:192.0.2." + []string{"0/25", "1", "128/25", "77/24"}[r.IntN(4)]
		case 1:
			term += "ip6:2001:db8:" + []string{":/48", ":1", "1::/48"}[r.IntN(3)]
		case 2:
			term += "a:" + name()
		case 3:
			term += "a:" + name() + []string{"/25", "/0", "//64", "/24//48"}[r.IntN(4)]
		case 4:
			term += "mx:" + name()
		case 5, 6:
			term += "include:" + deeper()
		case 7:
			term += "exists:exists-%{" + []string{"l", "i"}[r.IntN(2)] + "}.example.com"
		case 8:
			term += "ptr:" + []string{"m1.example.com", "example.com", "liar.example.com"}[r.IntN(3)]
		case 9:
			term = "x-unknown=%{d}"
		}
		terms = append(terms, term)
	}
	switch r.IntN(4) {
	case 0:
		terms = append(terms, "redirect="+deeper())
	case 1:
		terms = append(terms, "-all")
	case 2:
		terms = append(terms, "~all")
	}
	return strings.Join(terms, " ")
}
