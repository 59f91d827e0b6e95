package whatif

import (
	"testing"

	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/policy"
)

// A decision about the From address of a login is repeated with other settings of sign.login_*. Without lookups it cannot be repeated.
func TestLogins(t *testing.T) {
	var e journal.Entry
	e.Evidence = policy.Evidence{Connection: policy.Connection{SMTP: true}, Envelope: policy.Envelope{Login: "ann"}, Author: dmarc.Author{Domains: []string{"example.org"}},
		FromUse: []policy.UsedAddress{{Address: "bob@example.org", Use: policy.UseDenied, Table: "hash:/logins"}}}
	e.Code, e.Role, e.Verdict = policy.LoginMismatch, policy.RoleSign, policy.Verdict{Action: policy.Sign}
	rules := policy.Rules{Hosted: map[string]bool{"example.org": true}, LoginMaps: true, LoginUnlisted: policy.Accept, LoginMismatch: policy.Reject}
	if got := Judge(&e, rules); got.String() != "reject 553 5.7.1" {
		t.Errorf("reject: %+v", got)
	}
	rules.LoginMismatch = policy.Accept
	if got := Judge(&e, rules); got.Unknown != "" || got.Action == policy.Reject {
		t.Errorf("log: %+v", got)
	}
	e.FromUse = nil
	if got := Judge(&e, rules); got.Unknown != NoLogins {
		t.Errorf("without lookups: %+v", got)
	}
	rules.LoginMaps = false
	if got := Judge(&e, rules); got.Unknown != "" {
		t.Errorf("login_maps is not set: %+v", got)
	}
}
