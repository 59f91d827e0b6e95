package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
)

// An accepted forwarder is in effect only until it expires, and only in the list for its kind. Memory that other goroutines read is not
// changed.
func TestForwardersAt(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	network := netip.MustParsePrefix("192.0.2.0/24")
	own := make([]string, 1, 10)
	own[0] = "own.example"
	base := Rules{TrustedSealers: own, Forwarders: []Forwarder{
		{Sealer: "a.example", Expires: now.Add(1)}, {Sealer: "over.example", Expires: now},
		{Network: network, Expires: now.Add(1)}, {Network: netip.MustParsePrefix("198.51.100.0/24"), Expires: now},
		{Signer: "b.example", Network: network, Expires: now.Add(1)}, {Signer: "over.example", Expires: now},
	}}
	r := base.At(now)
	if !slices.Equal(r.TrustedSealers, []string{"own.example", "a.example"}) || !slices.Equal(r.TrustedForwarders, []netip.Prefix{network}) ||
		len(r.Forwarders) != 1 || r.Forwarders[0].Signer != "b.example" {
		t.Errorf("%+v", r)
	}
	if len(base.TrustedSealers) != 1 || len(base.Forwarders) != 6 || own[:2][1] != "" {
		t.Errorf("%+v", base)
	}
}

// Only a message with a passing signature of an accepted signer is accepted. A [[deny]] takes precedence.
func TestAcceptedSigner(t *testing.T) {
	until := time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)
	f := Forwarder{Signer: "lists.example", Network: netip.MustParsePrefix("192.0.2.0/24"), Comment: "x", Expires: until}
	for name, c := range map[string]struct {
		client string
		status dkim.Status
		domain string
		deny   bool
		want   bool
	}{
		"signed":                 {"192.0.2.1", dkim.Pass, "lists.example", false, true},
		"its signature is wrong": {"192.0.2.1", dkim.Fail, "lists.example", false, false},
		"another's":              {"192.0.2.1", dkim.Pass, "a.lists.example", false, false},
		"from elsewhere":         {"198.51.100.1", dkim.Pass, "lists.example", false, false},
		"denied":                 {"192.0.2.1", dkim.Pass, "lists.example", true, false},
	} {
		e := Evidence{Connection: Connection{Client: netip.MustParseAddr(c.client), SMTP: true}, Author: dmarc.Author{Domains: []string{"example.com"}},
			DKIM:  []dkim.Result{{Status: c.status, Domain: c.domain}},
			DMARC: []dmarc.Result{{Status: dmarc.Fail, Domain: "example.com", OrgDomain: "example.com", Published: "reject", Policy: "reject"}}}
		r := Rules{Reject: RejectAlways, Forwarders: []Forwarder{f}}
		if c.deny {
			r.Deny = []LocalRule{{Network: netip.MustParsePrefix("192.0.2.0/24"), Comment: "x", Expires: until}}
		}
		v := Decide(e, r)
		if (v.Reply.Code == 0) != c.want || c.want && (v.Override != TrustedForwarder || !strings.Contains(reasons(v.Reasons), `accepted_forwarder lists.example signer=lists.example network=192.0.2.0/24 comment="x" expires=2027-03-31`)) {
			t.Errorf("%s: %+v", name, v)
		}
	}
}
