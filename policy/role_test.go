package policy

import (
	"net/netip"
	"strings"
	"testing"

	"signpost/internal/dmarc"
)

func rules() Rules {
	return Rules{
		TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("192.0.2.0/28")},
		SkipNetworks:    []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		Hosted:          map[string]bool{"example.org": true, "example.net": true, "sub.example.net": true},
		Subdomains:      true,
		OnMissingKey:    Tempfail,
	}
}

func TestAssignRole(t *testing.T) {
	smtp := func(addr string) Connection { return Connection{Client: netip.MustParseAddr(addr), SMTP: true} }
	local := Connection{Client: netip.MustParseAddr("127.0.0.1")}
	stranger, lan := smtp("203.0.113.9"), smtp("192.0.2.5")
	submission := stranger
	submission.Daemon = "ORIGINATING"
	queue := Connection{Client: netip.MustParseAddr("203.0.113.9")}
	ann := Envelope{Sender: "ann@example.org", Login: "Ann@example.org"}
	from := func(d ...string) dmarc.Author { return dmarc.Author{Domains: d} }
	doubt := dmarc.Author{Cause: dmarc.FromSeveral, Detail: "2"}
	for _, c := range []struct {
		name   string
		e      Evidence
		change func(*Rules)
		role   Role
		domain string
		code   string
		reason string
	}{
		{"inbound mail", Evidence{Connection: stranger, Author: from("example.com")}, nil, RoleVerify, "", "", ""},
		{"inbound mail with From of a hosted domain", Evidence{Connection: stranger, Author: from("example.org")}, nil, RoleVerify, "", "", ""},
		{"inbound mail with two From", Evidence{Connection: stranger, Author: doubt}, nil, RoleVerify, "", "", ""},
		{"inbound mail with forged results", Evidence{Connection: stranger, Author: from("example.com"), OwnResults: true}, nil, RoleVerify, "", "", ""},
		{"inbound mail with a huge header", Evidence{Connection: stranger, Oversize: true}, nil, RoleVerify, "", "552 5.3.4", "header_too_large"},
		{"a client without address", Evidence{Connection: Connection{SMTP: true}, Author: from("example.org")}, nil, RoleVerify, "", "", ""},
		{"postsuper -r of inbound mail", Evidence{Connection: queue, Author: from("example.org")}, nil, RoleVerify, "", "", "requeued"},
		{"postsuper -r, huge header", Evidence{Connection: queue, Oversize: true}, nil, RoleBypass, "", "", "header_too_large"},
		{"bounce of a report", Evidence{Connection: smtp("203.0.113.9"), Author: from("example.org"), ToReports: true}, nil, RoleBypass, "", "", "report_bounce"},
		{"mail to a bounce address", Evidence{Connection: smtp("203.0.113.9"), Author: from("example.com"), ToReports: true, Envelope: Envelope{Sender: "x@example.com"}}, nil, RoleVerify, "", "", ""},
		{"own relay", Evidence{Connection: smtp("198.51.100.7"), Author: from("example.org")}, nil, RoleBypass, "", "", "skip_network"},
		{"own relay, mapped address", Evidence{Connection: smtp("::ffff:198.51.100.7")}, nil, RoleBypass, "", "", "skip_network"},
		{"re-injected by a filter", Evidence{Connection: smtp("127.0.0.1"), OwnResults: true, Author: from("example.org")}, nil, RoleBypass, "", "", "own_results"},
		{"re-injected by Sieve", Evidence{Connection: local, OwnResults: true, Author: from("example.com")}, nil, RoleBypass, "", "", "own_results"},
		{"re-injected, results about the author", Evidence{Connection: smtp("127.0.0.1"), OwnResults: true, ResultsAbout: AboutAuthor, Author: from("example.org")}, nil, RoleBypass, "", "", "own_results example.org author"},
		{"re-injected, results about no known author", Evidence{Connection: local, OwnResults: true, ResultsAbout: AboutUnknown, Author: from("example.org")}, nil, RoleBypass, "", "", "own_results example.org unknown"},
		{"a list manager by SMTP", Evidence{Connection: smtp("127.0.0.1"), OwnResults: true, ResultsAbout: AboutOthers, Author: from("example.org")}, nil, RoleSign, "example.org", "", "trusted_network"},
		{"a list manager by sendmail(1)", Evidence{Connection: local, OwnResults: true, ResultsAbout: AboutOthers, Author: from("lists.example.org")}, nil, RoleSign, "example.org", "", ""},
		{"a list manager on another host", Evidence{Connection: lan, OwnResults: true, ResultsAbout: AboutOthers, Author: from("example.org")}, nil, RoleSign, "example.org", "", "trusted_network"},
		{"a list manager, domain not hosted", Evidence{Connection: local, OwnResults: true, ResultsAbout: AboutOthers, Author: from("example.com")}, nil, RoleBypass, "", "", "not_hosted"},
		{"re-injected, two From fields", Evidence{Connection: smtp("127.0.0.1"), OwnResults: true, ResultsAbout: AboutOthers, Author: doubt}, nil, RoleBypass, "", "", "own_results"},
		{"re-injected, huge header", Evidence{Connection: smtp("127.0.0.1"), OwnResults: true, Oversize: true}, nil, RoleBypass, "", "", "own_results"},
		{"inbound mail with results about others", Evidence{Connection: stranger, Author: from("example.org"), OwnResults: true, ResultsAbout: AboutOthers}, nil, RoleVerify, "", "", ""},
		{"authenticated, with results about the author", Evidence{Connection: lan, Envelope: ann, OwnResults: true, ResultsAbout: AboutAuthor, Author: from("example.org")}, nil, RoleSign, "example.org", "", "authenticated"},
		{"authenticated, with our results", Evidence{Connection: lan, Envelope: ann, OwnResults: true, Author: from("example.org")}, nil, RoleSign, "example.org", "", "authenticated"},
		{"authenticated", Evidence{Connection: stranger, Envelope: ann, Author: from("example.org")}, nil, RoleSign, "example.org", "", "authenticated"},
		{"submission service", Evidence{Connection: submission, Author: from("example.org")}, nil, RoleSign, "example.org", "", "originating"},
		{"trusted network", Evidence{Connection: lan, Author: from("example.org")}, nil, RoleSign, "example.org", "", "trusted_network"},
		{"sendmail(1)", Evidence{Connection: local, Author: from("example.org")}, nil, RoleSign, "example.org", "", "trusted_network"},
		{"sendmail(1), loopback not trusted", Evidence{Connection: local, Author: from("example.org")}, func(r *Rules) { r.TrustedNetworks = nil }, RoleSign, "example.org", "", "local_submission"},
		{"SMTP from loopback, loopback not trusted", Evidence{Connection: smtp("127.0.0.1"), Author: from("example.org")}, func(r *Rules) { r.TrustedNetworks = nil }, RoleVerify, "", "", ""},
		{"non-SMTP with main.cf's daemon_name", Evidence{Connection: Connection{Client: queue.Client, Daemon: "ORIGINATING"}, Author: from("example.org")}, nil, RoleVerify, "", "", "requeued"},
		{"a subdomain", Evidence{Connection: lan, Author: from("host.mail.example.org")}, nil, RoleSign, "example.org", "", ""},
		{"the nearest parent", Evidence{Connection: lan, Author: from("host.sub.example.net")}, nil, RoleSign, "sub.example.net", "", ""},
		{"a subdomain, sign.subdomains is false", Evidence{Connection: lan, Author: from("host.example.org")}, func(r *Rules) { r.Subdomains = false }, RoleBypass, "", "", "subdomain_of_hosted"},
		{"a name that only ends in the same letters", Evidence{Connection: lan, Author: from("badexample.org")}, nil, RoleBypass, "", "", "not_hosted"},
		{"not hosted", Evidence{Connection: stranger, Envelope: ann, Author: from("example.com")}, nil, RoleBypass, "", "", "not_hosted"},
		{"to be signed, no key yet", Evidence{Connection: lan, Author: from("example.com")}, func(r *Rules) { r.SignDomains = []string{"example.com"} }, RoleBypass, "", "", "no_active_key"},
		{"hosted, not to be signed", Evidence{Connection: lan, Author: from("example.org")}, func(r *Rules) { r.SignDomains = []string{"example.net"} }, RoleBypass, "", "", "not_in_sign_domains"},
		{"permitted login", Evidence{Connection: stranger, Envelope: ann, Author: from("example.org")}, logins, RoleSign, "example.org", "", ""},
		{"permitted login, subdomain", Evidence{Connection: stranger, Envelope: ann, Author: from("x.example.org")}, logins, RoleSign, "example.org", "", ""},
		{"login not permitted", Evidence{Connection: stranger, Envelope: ann, Author: from("example.net")}, logins, RoleSign, "", "550 5.7.1", "login_mismatch"},
		{"login not listed", Evidence{Connection: stranger, Envelope: Envelope{Login: "bob"}, Author: from("example.org")}, logins, RoleSign, "", "550 5.7.1", "login_mismatch"},
		{"no login, none required", Evidence{Connection: lan, Author: from("example.net")}, logins, RoleSign, "example.net", "", ""},
		{"login not permitted, not by SMTP", Evidence{Connection: local, Envelope: ann, Author: from("example.net")}, logins, RoleBypass, "", "", "login_mismatch"},
		{"two From fields", Evidence{Connection: lan, Author: doubt}, nil, RoleSign, "", "550 5.6.0", "hostile_from"},
		{"two domains in From", Evidence{Connection: lan, Author: from("example.org", "example.net")}, nil, RoleSign, "", "550 5.6.0", "several_authors"},
		{"two From fields, not by SMTP", Evidence{Connection: local, Author: doubt}, nil, RoleBypass, "", "", "hostile_from"},
		{"huge header", Evidence{Connection: lan, Oversize: true}, nil, RoleSign, "", "552 5.3.4", "header_too_large"},
		{"huge header, not by SMTP", Evidence{Connection: local, Oversize: true}, nil, RoleBypass, "", "", "header_too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rules()
			if c.change != nil {
				c.change(&r)
			}
			a, v := AssignRole(c.e, r)
			code := ""
			if v.Reply.Code != 0 {
				code = verdict(v)
			}
			why := append([]Reason{a.Reason}, v.Reasons...)
			if a.Role != c.role || a.Domain != c.domain || code != c.code || !strings.Contains(reasons(why), c.reason) {
				t.Errorf("got %+v %+v", a, v)
			}
			if a.ResultsOnly != (c.reason == "requeued") {
				t.Errorf("ResultsOnly = %v", a.ResultsOnly)
			}
			if inbound := a.Role == RoleVerify && !a.ResultsOnly; inbound != (a.Reason.Code == "") {
				t.Errorf("the reason of role %s is %+v", a.Role, a.Reason)
			}
		})
	}
}

func logins(r *Rules) {
	r.LoginDomains = map[string][]string{"ann@example.org": {"example.org"}}
}

// Without a key, no message is sent unsigned unless the operator chose that. Bounces are never rejected or deferred.
func TestMissingKey(t *testing.T) {
	smtp := Evidence{Connection: Connection{SMTP: true}, Envelope: Envelope{Sender: "ann@example.org"}}
	nullSMTP := Evidence{Connection: Connection{SMTP: true}}
	sendmail := Evidence{Envelope: Envelope{Sender: "ann@example.org"}}
	made := Evidence{}
	for _, c := range []struct {
		name   string
		e      Evidence
		action Action
		code   int
		hold   bool
	}{
		{"by SMTP", smtp, Tempfail, 451, false},
		{"null sender by SMTP", nullSMTP, Tempfail, 451, false},
		{"by sendmail(1)", sendmail, Tempfail, 451, false},
		{"a bounce created here", made, Tempfail, 0, false},
		{"hold", smtp, Hold, 0, true},
		{"a bounce is not held either", made, Hold, 0, false},
		{"accept", smtp, Accept, 0, false},
	} {
		v := MissingKey(c.e, Rules{OnMissingKey: c.action}, Reason{Code: NoUsableKey})
		if v.Reply.Code != c.code || (v.Action == Hold) != c.hold || v.Code() != NoUsableKey {
			t.Errorf("%s: %+v", c.name, v)
		}
		if c.action == Tempfail {
			if b := Broken(c.e); b.Reply.Code != c.code {
				t.Errorf("%s, broken: %+v", c.name, b)
			}
		}
	}
}
