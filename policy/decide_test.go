package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// verifying are the defaults of the configuration.
func verifying() Rules {
	r := rules()
	r.HostileFrom, r.Reject, r.Quarantine, r.TempError, r.SPFFail = HostileRefuse, RejectOnEvidence, QuarantineTag, TempErrorAccept, SPFLeftToDMARC
	r.TrustedForwarders = []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")}
	return r
}

// forged is a message that comes straight from a stranger, in the name of a p=reject domain.
func forged() Evidence {
	return Evidence{
		Connection: Connection{Client: netip.MustParseAddr("203.0.113.9"), SMTP: true},
		Envelope:   Envelope{Sender: "x@stranger.example"},
		Author:     dmarc.Author{Domains: []string{"mail.example.com"}},
		SPF:        &spf.Result{Status: spf.Fail, Identity: spf.MailFrom, Domain: "stranger.example"},
		DMARC: []dmarc.Result{{Status: dmarc.Fail, Domain: "mail.example.com", OrgDomain: "example.com", PolicyDomain: "example.com",
			Tag: "sp", Published: dmarc.PolicyReject, Policy: dmarc.PolicyReject}},
	}
}

func verdict(v Verdict) string {
	switch {
	case v.Reply.Code != 0:
		return fmt.Sprintf("%d %s", v.Reply.Code, v.Reply.Enhanced)
	case v.Hold != "":
		return "hold"
	case v.Tag != "":
		return "tag"
	}
	return "accept"
}

func TestDecide(t *testing.T) {
	signature := func(domain string, s dkim.Status) func(*Evidence, *Rules) {
		return func(e *Evidence, _ *Rules) { e.DKIM = append(e.DKIM, dkim.Result{Status: s, Domain: domain}) }
	}
	set := func(status dmarc.Status, p dmarc.Policy) func(*Evidence, *Rules) {
		return func(e *Evidence, _ *Rules) {
			e.DMARC[0].Status, e.DMARC[0].Published, e.DMARC[0].Policy = status, p, p
		}
	}
	temp := func(cause dmarc.Method) func(*Evidence, *Rules) {
		return func(e *Evidence, r *Rules) {
			e.DMARC[0].Status, e.DMARC[0].Cause, e.DMARC[0].Reason = dmarc.TempError, cause, "no answer"
		}
	}
	reject := func(s string) func(*Evidence, *Rules) { return func(_ *Evidence, r *Rules) { r.Reject = s } }
	hold := func(_ *Evidence, r *Rules) { r.Quarantine = QuarantineHold }
	tempfail := func(_ *Evidence, r *Rules) { r.TempError = TempErrorDefer }
	spfReject := func(_ *Evidence, r *Rules) { r.SPFFail = SPFReject }
	spfIs := func(s spf.Status) func(*Evidence, *Rules) { return func(e *Evidence, _ *Rules) { e.SPF.Status = s } }
	relayed := func(name string) func(*Evidence, *Rules) {
		return func(e *Evidence, _ *Rules) { e.Relayed = []string{name} }
	}
	forwarder := func(e *Evidence, _ *Rules) { e.Connection.Client = netip.MustParseAddr("::ffff:192.0.2.200") }
	// chain is a chain of these sealers; each says the word of DMARC that stands behind his name.
	chain := func(status dkim.Status, sealers ...string) func(*Evidence, *Rules) {
		return func(e *Evidence, r *Rules) {
			e.ARC, e.Relayed = &dkim.Chain{Status: status}, []string{"ARC-Seal"}
			r.TrustedSealers = []string{"list.example", "forward.example"}
			for i, s := range sealers {
				name, said, _ := strings.Cut(s, " ")
				e.ARC.Sets = append(e.ARC.Sets, dkim.Sealer{Instance: i + 1, Domain: name, CoversFrom: true})
				if said != "" {
					e.SealedDMARC = append(e.SealedDMARC, SealedDMARC{i + 1, "mail.example.com", said})
				}
			}
		}
	}
	withoutFrom := func(instance int) func(*Evidence, *Rules) {
		return func(e *Evidence, _ *Rules) { e.ARC.Sets[instance-1].CoversFrom = false }
	}
	doubt := func(e *Evidence, _ *Rules) {
		e.Author, e.DMARC = dmarc.Author{Doubt: "there are 2 From fields"}, nil
	}
	type changes = []func(*Evidence, *Rules)
	for _, c := range []struct {
		name   string
		change changes
		want   string
		reason string
	}{
		// The evidence rule, row by row.
		{"straight from a stranger", nil, "550 5.7.1", "sp=reject"},
		{"a broken signature of the Author Domain", changes{signature("mail.example.com", dkim.Fail)}, "tag", "signature of mail.example.com (fail)"},
		{"a broken signature of the Organizational Domain", changes{signature("example.com", dkim.PermError)}, "tag", "signature of example.com (permerror)"},
		{"a signature of a sister domain", changes{signature("news.example.com", dkim.Policy)}, "tag", "signature of news.example.com"},
		{"a signature of somebody else", changes{signature("stranger.example", dkim.Pass)}, "550 5.7.1", ""},
		{"a signature of a name that ends alike", changes{signature("evilexample.com", dkim.Pass)}, "550 5.7.1", ""},
		{"a signature that names nobody", changes{signature("", dkim.PermError)}, "550 5.7.1", ""},
		{"a list", changes{relayed("List-Id")}, "tag", "it bears List-Id"},
		{"a list without List-Id", changes{relayed("List-Post")}, "tag", "it bears List-Post"},
		{"a forwarder that seals", changes{relayed("ARC-Seal")}, "tag", "it bears ARC-Seal"},
		{"re-sent", changes{relayed("a Resent- field")}, "tag", "it bears a Resent- field"},
		{"a trusted forwarder", changes{forwarder}, "tag", "trusted_forwarders"},
		{"Organizational Domain not known", changes{func(e *Evidence, _ *Rules) { e.DMARC[0].OrgDomain = "" }}, "tag", "could not be looked up"},

		// A sealed message, RFC 8617 section 7.2: who sealed last, and what the sealers saw, as far back as they are trusted.
		{"sealed: it had passed", changes{chain(dkim.Pass, "list.example pass")}, "accept", "sealed by list.example, which had seen dmarc=pass"},
		{"sealed: it had failed", changes{chain(dkim.Pass, "list.example fail")}, "tag", "sealed by list.example of dmarc.trusted_sealers"},
		{"sealed: nothing said", changes{chain(dkim.Pass, "list.example")}, "tag", "sealed by list.example of dmarc.trusted_sealers"},
		{"sealed: for another author", changes{chain(dkim.Pass, "list.example pass"), func(e *Evidence, _ *Rules) { e.SealedDMARC[0].Domain = "example.com" }}, "tag", "do not say that it passed"},
		{"sealed: by a stranger", changes{chain(dkim.Pass, "stranger.example pass")}, "tag", "it bears ARC-Seal"},
		{"sealed: nobody is trusted", changes{chain(dkim.Pass, "list.example pass"), func(_ *Evidence, r *Rules) { r.TrustedSealers = nil }}, "tag", "it bears ARC-Seal"},
		{"sealed: the chain fails", changes{chain(dkim.Fail, "list.example pass")}, "tag", "it bears ARC-Seal"},
		{"sealed: a stranger last", changes{chain(dkim.Pass, "list.example pass", "stranger.example pass")}, "tag", "it bears ARC-Seal"},
		{"sealed: a stranger first", changes{chain(dkim.Pass, "stranger.example pass", "list.example fail")}, "tag", "do not say that it passed"},
		{"sealed: a stranger between", changes{chain(dkim.Pass, "list.example pass", "stranger.example pass", "forward.example fail")}, "tag", "sealed by forward.example"},
		{"sealed: the first of two saw it", changes{chain(dkim.Pass, "list.example pass", "forward.example fail")}, "accept", "sealed by list.example, which"},
		{"sealed: a signature without From", changes{chain(dkim.Pass, "list.example pass"), withoutFrom(1)}, "tag", "it bears ARC-Seal"},
		{"sealed: the older signature without From", changes{chain(dkim.Pass, "list.example pass", "forward.example fail"), withoutFrom(1)}, "tag", "sealed by forward.example"},
		{"sealed: had passed, p=quarantine", changes{chain(dkim.Pass, "list.example pass"), set(dmarc.Fail, dmarc.PolicyQuarantine), hold}, "accept", "which had seen dmarc=pass"},
		{"sealed: had failed, p=quarantine", changes{chain(dkim.Pass, "list.example fail"), set(dmarc.Fail, dmarc.PolicyQuarantine)}, "tag", "sp=quarantine"},
		{"sealed: had passed, always", changes{chain(dkim.Pass, "list.example pass"), reject(RejectAlways)}, "accept", "which had seen dmarc=pass"},
		{"sealed: had failed, always", changes{chain(dkim.Pass, "list.example fail"), reject(RejectAlways)}, "550 5.7.1", ""},
		{"sealed: had passed, SPF fail", changes{chain(dkim.Pass, "list.example pass"), spfReject}, "accept", ""},
		{"sealed: had failed, SPF fail", changes{chain(dkim.Pass, "list.example fail"), spfReject}, "550 5.7.23", ""},

		// What the operator chose.
		{"always", changes{reject(RejectAlways)}, "550 5.7.1", ""},
		{"always, a list", changes{reject(RejectAlways), relayed("List-Id")}, "550 5.7.1", ""},
		{"never", changes{reject(RejectNever)}, "tag", "dmarc.reject = never"},
		{"never, hold", changes{reject(RejectNever), hold}, "hold", ""},
		{"a list, hold", changes{relayed("List-Id"), hold}, "hold", "List-Id"},
		{"p=quarantine", changes{set(dmarc.Fail, dmarc.PolicyQuarantine)}, "tag", "sp=quarantine"},
		{"p=quarantine, hold", changes{set(dmarc.Fail, dmarc.PolicyQuarantine), hold}, "hold", ""},
		{"p=quarantine, always", changes{set(dmarc.Fail, dmarc.PolicyQuarantine), reject(RejectAlways)}, "tag", ""},
		{"p=none changes nothing", changes{set(dmarc.Fail, dmarc.PolicyNone)}, "accept", "DMARC fails"},
		{"p=none changes nothing", changes{set(dmarc.Fail, dmarc.PolicyNone), reject(RejectAlways), hold}, "accept", ""},
		{"pass", changes{set(dmarc.Pass, dmarc.PolicyReject)}, "accept", ""},
		{"no policy", changes{set(dmarc.None, "")}, "accept", ""},
		{"permerror", changes{set(dmarc.PermError, "")}, "accept", ""},

		// Temporary errors are accepted unless the operator chose otherwise.
		{"temperror", changes{temp(dmarc.DKIM)}, "accept", "no answer"},
		{"temperror, DKIM", changes{temp(dmarc.DKIM), tempfail}, "451 4.7.5", ""},
		{"temperror, SPF", changes{temp(dmarc.SPF), tempfail}, "451 4.7.24", ""},
		{"temperror, DMARC", changes{temp(dmarc.DNS), tempfail}, "451 4.7.1", ""},
		{"temperror at p=none", changes{temp(dmarc.DKIM), tempfail, func(e *Evidence, _ *Rules) { e.DMARC[0].Policy = dmarc.PolicyNone }}, "accept", ""},

		// spf.fail = "reject".
		{"SPF fail is left to DMARC", changes{set(dmarc.None, "")}, "accept", ""},
		{"SPF fail", changes{set(dmarc.None, ""), spfReject}, "550 5.7.23", "spf.fail"},
		{"SPF fail, no Author Domain", changes{set(dmarc.PermError, ""), spfReject}, "550 5.7.23", ""},
		{"SPF softfail", changes{set(dmarc.None, ""), spfReject, spfIs(spf.SoftFail)}, "accept", ""},
		{"SPF permerror", changes{set(dmarc.None, ""), spfReject, spfIs(spf.PermError)}, "accept", ""},
		{"SPF fail, DMARC pass", changes{set(dmarc.Pass, dmarc.PolicyReject), spfReject}, "accept", ""},
		{"SPF fail, trusted forwarder", changes{set(dmarc.None, ""), spfReject, forwarder}, "accept", ""},
		{"SPF temperror", changes{set(dmarc.None, ""), spfReject, spfIs(spf.TempError)}, "accept", "SPF of"},
		{"SPF temperror, tempfail", changes{set(dmarc.None, ""), spfReject, spfIs(spf.TempError), tempfail}, "451 4.7.24", ""},
		{"SPF and DMARC refuse", changes{spfReject}, "550 5.7.26", "DMARC fails"},
		{"SPF refuses, DMARC would tag", changes{spfReject, relayed("List-Id")}, "550 5.7.23", ""},
		{"SPF would refuse, DMARC has to be asked again", changes{spfReject, temp(dmarc.DKIM), tempfail}, "451 4.7.5", ""},

		// hostile From.
		{"two From fields", changes{doubt}, "550 5.6.0", "2 From fields"},
		{"two From fields, tag", changes{doubt, func(_ *Evidence, r *Rules) { r.HostileFrom = HostileTag }}, "tag", "2 From fields"},
		{"too many domains, tag", changes{doubt, func(e *Evidence, r *Rules) { e.Author.TooMany, r.HostileFrom = true, HostileTag }}, "550 5.6.0", ""},

		// Several Author Domains: the strictest counts.
		{"the second one fails", changes{func(e *Evidence, _ *Rules) {
			e.DMARC = append([]dmarc.Result{{Status: dmarc.Pass, Domain: "stranger.example", Policy: dmarc.PolicyReject}}, e.DMARC...)
		}}, "550 5.7.1", "mail.example.com"},
		{"the milder one comes first", changes{func(e *Evidence, _ *Rules) {
			first := e.DMARC[0]
			first.Policy, first.Published = dmarc.PolicyQuarantine, dmarc.PolicyQuarantine
			e.DMARC = append([]dmarc.Result{first}, e.DMARC...)
		}}, "550 5.7.1", ""},

		// Results only.
		{"mail from the queue", changes{func(e *Evidence, _ *Rules) { e.Connection.SMTP = false }}, "accept", ""},
		{"mail from the queue, two From fields", changes{doubt, func(e *Evidence, _ *Rules) { e.Connection.SMTP = false }}, "accept", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, r := forged(), verifying()
			for _, f := range c.change {
				f(&e, &r)
			}
			v := Decide(e, r)
			if got := verdict(v); got != c.want || !strings.Contains(v.Reason, c.reason) {
				t.Errorf("got %s: %+v", got, v)
			}
			if v.Reply.Code == 550 && v.Reply.Enhanced == "5.7.1" && len(v.Evidence) == 0 {
				t.Error("refused without saying on what evidence")
			}
			if (v.Reply.Code != 0 || v.Tag != "" || v.Hold != "") && v.Reason == "" {
				t.Error("no reason")
			}
		})
	}
}

// What a sender's administrator reads says what failed, for which domain, and that it was DMARC (RFC 9989 section 7.2).
func TestReplyTexts(t *testing.T) {
	e := forged()
	e.DKIM = []dkim.Result{{Status: dkim.Pass, Domain: "stranger.example"}}
	text := Decide(e, verifying()).Reply.Text
	for _, part := range []string{"DMARC policy for mail.example.com", "SPF fail for stranger.example", "DKIM pass for stranger.example", "passes for that domain"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
	e.DKIM = nil
	if text := Decide(e, verifying()).Reply.Text; !strings.Contains(text, "no DKIM signature") {
		t.Error(text)
	}
	for range 20 {
		e.DKIM = append(e.DKIM, dkim.Result{Status: dkim.Fail, Domain: "other.example"})
	}
	if text := Decide(e, verifying()).Reply.Text; !strings.Contains(text, "17 more") || len(text) > 400 {
		t.Error(text)
	}
}

// SPF is never checked for our own users' mail, nor for mail that is left alone.
func TestStranger(t *testing.T) {
	r := rules()
	for _, c := range []struct {
		c    Connection
		e    Envelope
		want bool
	}{
		{Connection{Client: netip.MustParseAddr("203.0.113.9"), SMTP: true}, Envelope{}, true},
		{Connection{Client: netip.MustParseAddr("203.0.113.9")}, Envelope{}, true}, // from the queue
		{Connection{Client: netip.MustParseAddr("203.0.113.9"), SMTP: true}, Envelope{Login: "ann"}, false},
		{Connection{Client: netip.MustParseAddr("203.0.113.9"), SMTP: true, Daemon: "ORIGINATING"}, Envelope{}, false},
		{Connection{Client: netip.MustParseAddr("192.0.2.5"), SMTP: true}, Envelope{}, false},
		{Connection{Client: netip.MustParseAddr("198.51.100.5"), SMTP: true}, Envelope{}, false},
		{Connection{Client: netip.MustParseAddr("127.0.0.1")}, Envelope{}, false},
		{Connection{Client: netip.MustParseAddr("192.0.2.5")}, Envelope{}, true}, // from the queue: AssignRole verifies it
	} {
		if got := Stranger(c.c, c.e, r); got != c.want {
			t.Errorf("%+v %+v: %v", c.c, c.e, got)
		}
	}
}
