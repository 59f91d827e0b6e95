package policy

import (
	"net/netip"
	"testing"
	"time"
)

func TestTrustedAs(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	later, earlier := now.AddDate(0, 1, 0), now.AddDate(0, -1, 0)
	network := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	r := Rules{
		TrustedNetworks:   []netip.Prefix{network("127.0.0.0/8")},
		SkipNetworks:      []netip.Prefix{network("10.0.0.0/8")},
		TrustedForwarders: []netip.Prefix{network("2001:db8::/32")},
		Forwarders: []Forwarder{
			{Network: network("192.0.2.0/28"), Comment: "university", Expires: later},
			{Network: network("192.0.2.16/28"), Comment: "old", Expires: earlier},
			{Network: network("192.0.2.32/28"), Signer: "lists.example", Comment: "list", Expires: later},
			{Signer: "lists.example", Comment: "any client", Expires: later},
		},
		Allow: []LocalRule{
			{Domain: "example.com", Comment: "any client", Expires: later},
			{Network: network("198.51.100.0/28"), Comment: "partner", Expires: later},
			{Network: network("198.51.100.16/28"), Comment: "old", Expires: earlier},
		},
	}
	for client, want := range map[string]string{
		"127.0.0.1":        "trusted_networks",
		"::ffff:127.0.0.1": "trusted_networks",
		"10.1.2.3":         "verify.skip_networks",
		"2001:db8::25":     "dmarc.trusted_forwarders",
		"192.0.2.1":        `[[forwarder]] network=192.0.2.0/28 comment="university" expires=2026-12-29`,
		"192.0.2.17":       "",
		"192.0.2.33":       `[[forwarder]] signer=lists.example network=192.0.2.32/28 comment="list" expires=2026-12-29`,
		"198.51.100.1":     `[[allow]] network=198.51.100.0/28 comment="partner" expires=2026-12-29`,
		"198.51.100.17":    "",
		"203.0.113.9":      "",
	} {
		if got := r.TrustedAs(netip.MustParseAddr(client), now); got != want {
			t.Errorf("%s: %q, want %q", client, got, want)
		}
	}
}
