package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"signpost/internal/dmarc"
)

// RFC 9990: if the action differs from the policy, the override states why.
func TestOverride(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(e *Evidence, r *Rules)
		want   Override
	}{
		{"rejected as requested", func(*Evidence, *Rules) {}, ""},
		{"quarantined as requested", func(e *Evidence, _ *Rules) { e.DMARC[0].Policy, e.DMARC[0].Published = "quarantine", "quarantine" }, ""},
		{"a mailing list", func(e *Evidence, _ *Rules) { e.Relays = []Relay{{Kind: RelayList}} }, MailingList},
		{"resent", func(e *Evidence, _ *Rules) { e.Relays = []Relay{{Kind: RelayResent}} }, LocalPolicy},
		{"a genuine header", func(e *Evidence, _ *Rules) { e.Relays = []Relay{{Kind: RelayAuthor}} }, LocalPolicy},
		{"a trusted forwarder", func(e *Evidence, r *Rules) { e.Connection.Client = netip.MustParseAddr("192.0.2.200") }, TrustedForwarder},
		{"reject = never", func(_ *Evidence, r *Rules) { r.Reject = RejectNever }, LocalPolicy},
		{"reject = never for one domain", func(_ *Evidence, r *Rules) { r.RejectFor = map[string]string{"example.com": RejectNever} }, LocalPolicy},
		{"reject = never for another domain", func(_ *Evidence, r *Rules) { r.RejectFor = map[string]string{"example.net": RejectNever} }, ""},
		{"testing: reject becomes quarantine", func(e *Evidence, _ *Rules) { e.DMARC[0].Testing, e.DMARC[0].Policy = true, dmarc.PolicyQuarantine }, PolicyTestMode},
		{"testing: quarantine becomes none", func(e *Evidence, _ *Rules) { e.DMARC[0].Testing, e.DMARC[0].Policy = true, dmarc.PolicyNone }, PolicyTestMode},
		{"allowed", func(_ *Evidence, r *Rules) { r.Allow = []LocalRule{{Domain: "example.com"}} }, LocalPolicy},
		{"allowed, and accepted anyway", func(e *Evidence, r *Rules) { e.DMARC, r.Allow = nil, []LocalRule{{Domain: "example.com"}} }, ""},
		{"denied", func(_ *Evidence, r *Rules) { r.Deny = []LocalRule{{Domain: "com"}} }, LocalPolicy},
	} {
		e, r := forged(), verifying()
		c.change(&e, &r)
		if got := Decide(e, r); got.Override != c.want {
			t.Errorf("%s: override %q, want %q: %+v", c.name, got.Override, c.want, got)
		}
	}
}

// An expired exception is omitted. The list of the configuration is not changed.
func TestExpired(t *testing.T) {
	end := time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)
	r := Rules{Allow: []LocalRule{{Comment: "old", Expires: end}, {Comment: "new", Expires: end.AddDate(1, 0, 0)}}, Deny: []LocalRule{{Expires: end}}}
	for at, want := range map[time.Duration]int{-time.Second: 3, 0: 1} {
		if got := r.At(end.Add(at)); len(got.Allow)+len(got.Deny) != want {
			t.Errorf("%v after the expiry: %+v", at, got)
		}
	}
	if len(r.Allow) != 2 || r.Allow[0].Comment != "old" || len(r.Deny) != 1 {
		t.Errorf("%+v", r)
	}
}

// A relay does not count as evidence if the operator denied its domain or a parent of it. The message is rejected, even if the relay
// could not be verified.
func TestDeniedRelay(t *testing.T) {
	elsewhere := netip.MustParsePrefix("2001:db8:ffff::/48")
	for _, c := range []struct {
		name   string
		deny   []LocalRule
		failed string
		want   int // the reply; 0: tagged
	}{
		{"not denied", nil, "", 0},
		{"not denied, not verified", nil, "k.relay.example", 451},
		{"another domain", []LocalRule{{Domain: "other.example"}}, "", 0},
		{"a domain below", []LocalRule{{Domain: "x.relay.example"}}, "", 0},
		{"a client only", []LocalRule{{Network: elsewhere}}, "", 0},
		{"the domain from another client", []LocalRule{{Domain: "relay.example", Network: elsewhere}}, "", 0},
		{"denied", []LocalRule{{Domain: "relay.example"}}, "", 550},
		{"denied, not verified", []LocalRule{{Domain: "relay.example"}}, "k.relay.example", 550},
		{"above it", []LocalRule{{Domain: "example"}}, "", 550},
	} {
		e, r := forged(), verifying()
		e.Relays = []Relay{{Kind: RelayARC, Domain: "relay.example", Method: "arc", Failed: c.failed}}
		r.Deny = c.deny
		if got := Decide(e, r); got.Reply.Code != c.want || (got.Action == Tag) != (c.want == 0) {
			t.Errorf("%s: %+v, want %d", c.name, got, c.want)
		} else if c.want == 550 && !strings.Contains(reasons(got.Evidence), "relay.example") {
			t.Errorf("%s: the denied relay is not named: %q", c.name, got.Evidence)
		}
	}
}
