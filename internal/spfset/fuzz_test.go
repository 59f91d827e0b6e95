package spfset

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/spf"
)

// Each address that Find returns passes the check of package spf. If there is no note, no other address passes.
func FuzzFind(f *testing.F) {
	f.Add("-ip4:37.0.3.0/24 ip4:37.0.0.0/16 ?include:b.example a:h.example/20 -all", "ip4:37.0.64.0/18 ~ip6:2a00::/32 redirect=a.example", uint32(0x25000000))
	f.Add("include:b.example ?exists:%{i}.x.example ip4:37.0.0.0/16 ptr +all", "ip6:2a00::/28 mx:b.example -all exp=h.example", uint32(0x25004000))
	f.Fuzz(func(t *testing.T, a, b string, client uint32) {
		for _, text := range []string{a, b} {
			if len(text) > 200 || strings.ContainsAny(text, "\"\\;()\n\r") {
				return
			}
		}
		zone, err := dns.ParseZone(strings.NewReader("a.example. TXT \"v=spf1 "+a+"\"\nb.example. TXT \"v=spf1 "+b+"\"\nb.example. MX 1 h.example.\nh.example. A 37.0.0.9\nh.example. AAAA 2a00::9\n"), "zone")
		if err != nil {
			return
		}
		r := zone.Resolver(time.Now, slog.New(slog.DiscardHandler))
		answer, err := Find(t.Context(), r.View(netip.Addr{}), "a.example", Options{})
		var networks []netip.Prefix
		if err == nil {
			networks = answer.Networks.Prefixes()
		}
		addrs := []netip.Addr{netip.AddrFrom4([4]byte{byte(client >> 24), byte(client >> 16), byte(client >> 8), byte(client)})}
		for _, p := range networks {
			addrs = append(addrs, p.Addr(), p.Addr().Prev())
		}
		for _, addr := range addrs {
			if !addr.IsValid() || special(netip.PrefixFrom(addr, addr.BitLen())) != "" {
				continue
			}
			got := spf.Check(t.Context(), r.View(netip.Addr{}), addr, "mail.a.example", "ann@a.example")
			listed := err == nil && answer.Networks.Contains(addr)
			if pass := got.Status == spf.Pass; listed && !pass || !listed && pass && err == nil && len(answer.Notes) == 0 {
				t.Fatalf("%s: listed %v, SPF returns %s (%s); %q", addr, listed, got.Status, got.Cause, answer.Notes)
			}
		}
	})
}
