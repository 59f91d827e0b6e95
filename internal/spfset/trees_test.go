package spfset_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/internal/spfset"
)

// On generated trees of records, Find returns exactly the addresses that pass. Many trees exceed the lookup limits only on some paths. If a
// match depends on the message, a listed address passes with and without the match.
func TestTrees(t *testing.T) {
	t.Parallel()
	const domains, trees = 8, 400
	r := rand.New(rand.NewPCG(7208, 2))
	some, over := 0, 0
	for range trees {
		zone := "m1.example.com. A 37.0.0.1\nm1.example.com. AAAA 2a00::1\nm2.example.com. A 37.0.0.130\nm2.example.com. AAAA 2a00:1::1\n" +
			"mx.example.com. MX 1 m1.example.com.\nmx.example.com. MX 2 none.example.com.\nsix.example.com. AAAA 2a00::1\n"
		maybe := r.IntN(3) == 0
		for d := range domains {
			zone += fmt.Sprintf("d%d.example.com. TXT %q\n", d, generate(r, d, domains, maybe))
		}
		ask := map[bool]*dns.Resolver{}
		for _, exists := range []bool{false, true} {
			text := zone
			if exists {
				text += "37.0.0.1.maybe.example.com. A 127.0.0.2\n37.0.0.130.maybe.example.com. A 127.0.0.2\n37.0.0.64.maybe.example.com. A 127.0.0.2\n"
			}
			parsed, err := dns.ParseZone(strings.NewReader(text), "zone")
			if err != nil {
				t.Fatal(err)
			}
			ask[exists] = parsed.Resolver(time.Now, slog.New(slog.DiscardHandler))
		}
		for d := range domains {
			domain := fmt.Sprintf("d%d.example.com", d)
			answer, err := spfset.Find(t.Context(), ask[false].View(netip.Addr{}), domain, spfset.Options{})
			if !answer.Empty() {
				some++
			}
			if strings.Contains(strings.Join(answer.Notes, "\n"), "RFC 7208 section 4.6.4") {
				over++
			}
			everybody := strings.Contains(strings.Join(answer.Notes, "\n"), "refused")
			for _, client := range []string{"37.0.0.1", "37.0.0.64", "37.0.0.130", "37.0.1.7", "2a00::1", "2a00::1:0:0:0:7", "2a00:1::5", "93.0.0.1"} {
				addr := netip.MustParseAddr(client)
				listed := err == nil && answer.Networks.Contains(addr)
				absent := spf.Check(t.Context(), ask[false].View(netip.Addr{}), addr, "helo.example.com", "ann@"+domain)
				exists := spf.Check(t.Context(), ask[true].View(netip.Addr{}), addr, "helo.example.com", "ann@"+domain)
				both := absent.Status == spf.Pass && exists.Status == spf.Pass
				if listed && !both || both && !listed && !maybe && !everybody {
					t.Fatalf("%s from %s: listed %v, SPF returns %s (%s) or %s (%s); %q %v\n%s", domain, client, listed, absent.Status, absent.Cause, exists.Status, exists.Cause, answer.Notes, err, zone)
				}
			}
		}
	}
	if some < trees || over < trees/10 {
		t.Errorf("the generated trees test too little: %d domains with networks, %d over the limits", some, over)
	}
}

// generate writes a record for domain number d, which refers only to domains with larger numbers. If maybe is set, the record has terms
// with macros of the client address.
func generate(r *rand.Rand, d, domains int, maybe bool) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	deeper := func() string {
		if d+1 < domains && r.IntN(10) > 0 {
			return fmt.Sprintf("d%d.example.com", d+1+r.IntN(domains-d-1))
		}
		return fmt.Sprint("none", r.IntN(100), ".example.com")
	}
	terms := []string{"v=spf1"}
	for range 1 + r.IntN(6) {
		term := pick("", "", "", "-", "~", "?", "+")
		host := pick("m1", "m2", "mx", "six", fmt.Sprint("none", r.IntN(100))) + ".example.com"
		switch r.IntN(9) {
		case 0, 1:
			term += "ip4:37.0." + pick("0.0/25", "0.1", "0.128/25", "0.77/24", "1.0/24", "0.0/23")
		case 2:
			term += "ip6:2a00:" + pick(":/48", ":1", "1::/48", ":/31")
		case 3:
			term += "a:" + host
		case 4:
			term += "a:" + host + pick("/25", "//64", "/24//48")
		case 5:
			term += "mx:" + host
		case 6, 7:
			term += "include:" + deeper()
		case 8:
			if !maybe {
				continue
			}
			term += pick("exists:%{i}.maybe.example.com", "a:%{i}.maybe.example.com", "exists:%{i}.never.example.com")
		}
		terms = append(terms, term)
	}
	switch r.IntN(6) {
	case 0, 1:
		terms = append(terms, "redirect="+deeper())
	case 2, 3:
		terms = append(terms, pick("-all", "~all", "?all"))
	case 4:
		if r.IntN(5) == 0 {
			terms = append(terms, "+all")
		}
	}
	return strings.Join(terms, " ")
}
