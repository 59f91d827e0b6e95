package policy

import (
	"strings"
	"testing"

	"signpost/internal/dmarc"
)

// A login may use exactly the From addresses that sign.login_maps assigns to it, if the domain of From is ours. This is so even if the mail
// of the domain is not signed. Other mail keeps its role.
func TestLoginMaps(t *testing.T) {
	denied := []UsedAddress{{Address: "carl@example.org", Use: UseDenied, Table: "hash:/logins"}}
	unlisted := []UsedAddress{{Address: "new@example.org", Use: UseUnlisted}}
	unknown := []UsedAddress{{Address: "carl@example.org", Use: UseUnknown, Table: "hash:/logins"}}
	several := []UsedAddress{{Use: UseAllowed}, unknown[0], denied[0]}
	mine, other := &UsedAddress{Use: UseAllowed}, &unlisted[0]
	for _, c := range []struct {
		name   string
		author string
		uses   []UsedAddress
		sender *UsedAddress
		change func(*Rules, *Evidence)
		want   string // role, action or "", code of the verdict or the role
	}{
		{"allowed", "example.org", []UsedAddress{{Use: UseAllowed}}, nil, nil, "sign authenticated"},
		{"a colleague", "example.org", denied, nil, nil, "sign reject login_mismatch"},
		{"the second address", "example.org", several, nil, nil, "sign reject login_mismatch"},
		{"no entry", "example.org", unlisted, nil, nil, "sign authenticated"},
		{"no entry, reject", "example.org", unlisted, nil, func(r *Rules, _ *Evidence) { r.LoginUnlisted = Reject }, "sign reject login_mismatch"},
		{"an outage", "example.org", unknown, nil, func(r *Rules, _ *Evidence) { r.OnMissingKey = Accept }, "sign tempfail table_failed"},
		{"Sender does not count", "example.org", denied, mine, nil, "sign reject login_mismatch"},
		{"Sender counts", "example.org", denied, mine, func(r *Rules, _ *Evidence) { r.LoginSender = true }, "sign authenticated"},
		{"Sender without an entry", "example.org", denied, other, func(r *Rules, _ *Evidence) { r.LoginSender = true }, "sign reject login_mismatch"},
		{"log", "example.org", denied, nil, func(r *Rules, _ *Evidence) { r.LoginMismatch = Accept }, "sign login_mismatch"},
		{"no login", "example.org", denied, nil, func(_ *Rules, e *Evidence) { e.Login, e.Daemon = "", "ORIGINATING" }, "sign originating"},
		{"another domain", "example.com", denied, nil, nil, "bypass not_hosted"},
		{"below our domain", "host.example.org", denied, nil, nil, "sign reject login_mismatch"},

		{"in a table, without a key", "example.com", denied, nil, func(_ *Rules, e *Evidence) { e.Listed = ListedYes }, "sign reject login_mismatch"},
		{"in a table, without a key, log", "example.com", denied, nil, func(r *Rules, e *Evidence) { r.LoginMismatch, e.Listed = Accept, ListedYes }, "bypass accept login_mismatch"},
		{"in sign.domains, without a key", "example.com", denied, nil, func(r *Rules, _ *Evidence) { r.SignDomains = []string{"example.com"} }, "sign reject login_mismatch"},
		{"hosted, not in sign.domains", "example.org", denied, nil, func(r *Rules, _ *Evidence) { r.SignDomains = []string{"example.net"} }, "sign reject login_mismatch"},
		{"below our domain, sign.subdomains = false", "host.example.org", denied, nil, func(r *Rules, _ *Evidence) { r.Subdomains = false }, "sign reject login_mismatch"},
		{"not in sign.domains, allowed", "example.org", []UsedAddress{{Use: UseAllowed}}, nil, func(r *Rules, _ *Evidence) { r.SignDomains = []string{"example.net"} }, "bypass not_in_sign_domains"},

		// It is unknown whether the domain is ours, so the login was not looked up.
		{"the lookup of the domain failed", "example.com", nil, nil, func(r *Rules, e *Evidence) { r.OnMissingKey, e.Listed = Accept, ListedUnknown }, "sign tempfail table_failed"},
		{"the same, log", "example.com", nil, nil, func(r *Rules, e *Evidence) { r.OnMissingKey, r.LoginMismatch, e.Listed = Accept, Accept, ListedUnknown }, "sign accept table_failed"},
		{"the same, no login", "example.com", nil, nil, func(r *Rules, e *Evidence) {
			r.OnMissingKey, e.Login, e.Daemon, e.Listed = Accept, "", "ORIGINATING", ListedUnknown
		}, "sign accept table_failed"},
	} {
		r := rules()
		r.LoginMaps, r.LoginUnlisted, r.LoginMismatch = true, Accept, Reject
		e := Evidence{Connection: Connection{SMTP: true}, Envelope: Envelope{Login: "ann"}, Author: dmarc.Author{Domains: []string{c.author}}, FromUse: c.uses, SenderUse: c.sender}
		if c.change != nil {
			c.change(&r, &e)
		}
		a, v := AssignRole(e, r)
		code := v.Code()
		if v.Action == "" {
			code = a.Reason.Code
		}
		if got := strings.Join(strings.Fields(string(a.Role)+" "+string(v.Action)+" "+string(code)), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
