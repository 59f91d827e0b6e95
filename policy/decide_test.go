package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// verifying returns the default settings for inbound mail.
func verifying() Rules {
	r := rules()
	r.HostileFrom, r.Reject, r.Quarantine, r.TempError, r.SPFFail = HostileRefuse, RejectOnEvidence, QuarantineTag, TempErrorAccept, SPFLeftToDMARC
	r.TrustedForwarders = []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")}
	return r
}

// forged returns a message that an unauthenticated client sends directly, with From of a p=reject domain.
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
	if v.Reply.Code != 0 {
		return fmt.Sprintf("%d %s", v.Reply.Code, v.Reply.Enhanced)
	}
	return string(v.Action)
}

// reasons returns reasons as text: code, domain or "-", detail and cause of each reason, with "|" between two reasons.
func reasons(all []Reason) string {
	var text []string
	for _, r := range all {
		text = append(text, strings.TrimRight(strings.Join([]string{string(r.Code), cmp.Or(r.Domain, "-"), r.Detail, r.Cause}, " "), " -"))
	}
	return strings.Join(text, "|")
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
	temp := func(cause dmarc.Cause) func(*Evidence, *Rules) {
		return func(e *Evidence, r *Rules) {
			d := &e.DMARC[0]
			d.Status, d.Cause, d.Failed, d.Assumed = dmarc.TempError, cause, "dead.example.com", dmarc.Fail
		}
	}
	assumed := func(s dmarc.Status) func(*Evidence, *Rules) {
		return func(e *Evidence, _ *Rules) { e.DMARC[0].Assumed = s }
	}
	unknown := func(e *Evidence, _ *Rules) { e.DMARC[0].Policy, e.DMARC[0].Published, e.DMARC[0].Tag = "", "", "" }
	fault := func(f Fault) func(*Evidence, *Rules) { return func(e *Evidence, _ *Rules) { e.Fault = f } }
	reject := func(s string) func(*Evidence, *Rules) { return func(_ *Evidence, r *Rules) { r.Reject = s } }
	hold := func(_ *Evidence, r *Rules) { r.Quarantine = QuarantineHold }
	tempfail := func(_ *Evidence, r *Rules) { r.TempError = TempErrorDefer }
	spfReject := func(_ *Evidence, r *Rules) { r.SPFFail = SPFReject }
	spfIs := func(s spf.Status) func(*Evidence, *Rules) { return func(e *Evidence, _ *Rules) { e.SPF.Status = s } }
	relay := func(kind RelayKind, change ...func(*Relay)) func(*Evidence, *Rules) {
		return func(e *Evidence, _ *Rules) {
			r := Relay{Kind: kind, Domain: "relay.example", Method: "dkim"}
			for _, f := range change {
				f(&r)
			}
			e.Relays = append(e.Relays, r)
		}
	}
	deny := func(l LocalRule) func(*Evidence, *Rules) {
		return func(_ *Evidence, r *Rules) { r.Deny = append(r.Deny, l) }
	}
	unchecked := func(r *Relay) { r.Failed = "_dmarc.relay.example" }
	about := func(author string) func(*Relay) { return func(r *Relay) { r.Author = author } }
	claims := func(e *Evidence, _ *Rules) {
		e.Relayed = []string{"List-Id", "List-Post", "ARC-Seal", "Resent-"}
	}
	forwarder := func(e *Evidence, _ *Rules) { e.Connection.Client = netip.MustParseAddr("::ffff:192.0.2.200") }
	// chain returns a change that adds an ARC chain of these sealers. Each name is followed by the DMARC result in the sealer's set.
	chain := func(status dkim.Status, sealers ...string) func(*Evidence, *Rules) {
		return func(e *Evidence, r *Rules) {
			e.ARC = &dkim.Chain{Status: status}
			r.TrustedSealers = []string{"list.example", "forward.example"}
			for i, s := range sealers {
				name, result, _ := strings.Cut(s, " ")
				e.ARC.Sets = append(e.ARC.Sets, dkim.Sealer{Instance: i + 1, Domain: name, CoversFrom: true})
				if result != "" {
					e.SealedDMARC = append(e.SealedDMARC, SealedDMARC{i + 1, "mail.example.com", result})
				}
				if status == dkim.Pass && i == len(sealers)-1 {
					e.Relays = append(e.Relays, Relay{Kind: RelayARC, Domain: name, Method: "arc"})
				}
			}
		}
	}
	withoutFrom := func(instance int) func(*Evidence, *Rules) {
		return func(e *Evidence, _ *Rules) { e.ARC.Sets[instance-1].CoversFrom = false }
	}
	doubt := func(e *Evidence, _ *Rules) {
		e.Author, e.DMARC = dmarc.Author{Cause: dmarc.FromSeveral, Detail: "2"}, nil
	}
	type changes = []func(*Evidence, *Rules)
	for _, c := range []struct {
		name   string
		change changes
		want   string
		reason string
	}{
		// The rules of dmarc.reject = "evidence", one by one.
		{"directly from an unauthenticated client", nil, "550 5.7.1", "sp=reject"},
		{"a broken signature of the Author Domain", changes{signature("mail.example.com", dkim.Fail)}, "550 5.7.1", ""},
		{"a broken signature of the Organizational Domain", changes{signature("example.com", dkim.PermError)}, "550 5.7.1", ""},
		{"a signature of another organization", changes{signature("stranger.example", dkim.Pass)}, "550 5.7.1", ""},
		{"a signature without a readable domain", changes{signature("", dkim.PermError)}, "550 5.7.1", ""},
		{"header fields of relays that nothing verifies", changes{claims}, "550 5.7.1", ""},
		{"a genuine header", changes{relay(RelayAuthor, about("mail.example.com"))}, "tag", "relay_author_header relay.example dkim"},
		{"a genuine header of another author", changes{relay(RelayAuthor, about("other.example"))}, "550 5.7.1", ""},
		{"a mailing list", changes{relay(RelayList)}, "tag", "relay_mailing_list relay.example dkim"},
		{"a forwarder", changes{relay(RelaySRS, about("mail.example.com"))}, "tag", "relay_srs relay.example"},
		{"resent", changes{relay(RelayResent)}, "tag", "relay_resent relay.example"},
		{"a forwarder that seals", changes{relay(RelayARC)}, "tag", "relay_arc relay.example"},
		{"a denied relay", changes{relay(RelayList), deny(LocalRule{Domain: "relay.example"})}, "550 5.7.1", ""},
		{"a denied relay and another one", changes{relay(RelayList), relay(RelayARC, func(r *Relay) { r.Domain = "arc.example" }), deny(LocalRule{Domain: "relay.example"})}, "tag", "relay_arc arc.example"},
		{"a denied relay of mail that passes", changes{relay(RelayList), deny(LocalRule{Domain: "relay.example"}), set(dmarc.Pass, dmarc.PolicyReject)}, "accept", ""},
		{"a relay that could not be verified", changes{relay(RelayList, unchecked)}, "451 4.7.1", "relay_unverified - _dmarc.relay.example"},
		{"a relay that could not be verified, and one that was", changes{relay(RelayList, unchecked), relay(RelayARC)}, "tag", "relay_arc"},
		{"a relay of another author that could not be verified", changes{relay(RelaySRS, about("other.example"), unchecked)}, "550 5.7.1", ""},
		{"a trusted forwarder", changes{forwarder}, "tag", "trusted_forwarder"},

		// A sealed message, RFC 8617 section 7.2: the verdict depends on the newest sealer, and on the results of the trusted sealers before it.
		{"sealed: it had passed", changes{chain(dkim.Pass, "list.example pass")}, "accept", "sealed_pass list.example"},
		{"sealed: it had failed", changes{chain(dkim.Pass, "list.example fail")}, "tag", "list.example"},
		{"sealed: no DMARC result", changes{chain(dkim.Pass, "list.example")}, "tag", "list.example"},
		{"sealed: for another author", changes{chain(dkim.Pass, "list.example pass"), func(e *Evidence, _ *Rules) { e.SealedDMARC[0].Domain = "example.com" }}, "tag", "sealed_without_pass"},
		{"sealed: an untrusted sealer", changes{chain(dkim.Pass, "stranger.example pass")}, "tag", "relay_arc"},
		{"sealed: no trusted sealers", changes{chain(dkim.Pass, "list.example pass"), func(_ *Evidence, r *Rules) { r.TrustedSealers = nil }}, "tag", "relay_arc"},
		{"sealed: the chain fails", changes{chain(dkim.Fail, "list.example pass")}, "550 5.7.1", ""},
		{"sealed: an untrusted sealer last", changes{chain(dkim.Pass, "list.example pass", "stranger.example pass")}, "tag", "relay_arc"},
		{"sealed: an untrusted sealer first", changes{chain(dkim.Pass, "stranger.example pass", "list.example fail")}, "tag", "sealed_without_pass"},
		{"sealed: an untrusted sealer in between", changes{chain(dkim.Pass, "list.example pass", "stranger.example pass", "forward.example fail")}, "tag", "forward.example"},
		{"sealed: the first of two found dmarc=pass", changes{chain(dkim.Pass, "list.example pass", "forward.example fail")}, "accept", "sealed_pass list.example"},
		{"sealed: a signature without From", changes{chain(dkim.Pass, "list.example pass"), withoutFrom(1)}, "tag", "relay_arc"},
		{"sealed: the older signature without From", changes{chain(dkim.Pass, "list.example pass", "forward.example fail"), withoutFrom(1)}, "tag", "forward.example"},
		{"sealed: had passed, p=quarantine", changes{chain(dkim.Pass, "list.example pass"), set(dmarc.Fail, dmarc.PolicyQuarantine), hold}, "accept", "sealed_pass"},
		{"sealed: had failed, p=quarantine", changes{chain(dkim.Pass, "list.example fail"), set(dmarc.Fail, dmarc.PolicyQuarantine)}, "tag", "sp=quarantine"},
		{"sealed: had passed, always", changes{chain(dkim.Pass, "list.example pass"), reject(RejectAlways)}, "accept", "sealed_pass"},
		{"sealed: had failed, always", changes{chain(dkim.Pass, "list.example fail"), reject(RejectAlways)}, "550 5.7.1", ""},
		{"sealed: had passed, SPF fail", changes{chain(dkim.Pass, "list.example pass"), spfReject}, "accept", ""},
		{"sealed: had failed, SPF fail", changes{chain(dkim.Pass, "list.example fail"), spfReject}, "550 5.7.23", ""},

		// The operator's settings.
		{"always", changes{reject(RejectAlways)}, "550 5.7.1", ""},
		{"always, a list", changes{reject(RejectAlways), relay(RelayList)}, "550 5.7.1", ""},
		{"always, a relay that could not be verified", changes{reject(RejectAlways), relay(RelayList, unchecked)}, "550 5.7.1", ""},
		{"never", changes{reject(RejectNever)}, "tag", "reject_never - dmarc.reject"},
		{"never, hold", changes{reject(RejectNever), hold}, "hold", ""},
		{"a list, hold", changes{relay(RelayList), hold}, "hold", "relay_mailing_list"},
		{"p=quarantine", changes{set(dmarc.Fail, dmarc.PolicyQuarantine)}, "tag", "sp=quarantine"},
		{"p=quarantine, hold", changes{set(dmarc.Fail, dmarc.PolicyQuarantine), hold}, "hold", ""},
		{"p=quarantine, always", changes{set(dmarc.Fail, dmarc.PolicyQuarantine), reject(RejectAlways)}, "tag", ""},
		{"p=none changes nothing", changes{set(dmarc.Fail, dmarc.PolicyNone)}, "accept", "dmarc_fail mail.example.com sp=none"},
		{"p=none changes nothing", changes{set(dmarc.Fail, dmarc.PolicyNone), reject(RejectAlways), hold}, "accept", ""},
		{"pass", changes{set(dmarc.Pass, dmarc.PolicyReject)}, "accept", ""},
		{"no policy", changes{set(dmarc.None, "")}, "accept", ""},
		{"permerror", changes{set(dmarc.PermError, "")}, "accept", ""},

		// The verdict of a temporary error is never milder than that of a failure. If a failure would be rejected, the reply is 4xx.
		{"temperror", changes{temp(dmarc.KeyLookupFailed)}, "451 4.7.5", "dmarc_temperror mail.example.com dead.example.com key_lookup_failed|temperror_as_fail mail.example.com sp=reject"},
		{"temperror, SPF", changes{temp(dmarc.SPFLookupFailed)}, "451 4.7.24", ""},
		{"temperror, DMARC", changes{temp(dmarc.PolicyLookupFailed)}, "451 4.7.1", ""},
		{"temperror, always", changes{temp(dmarc.PolicyLookupFailed), reject(RejectAlways)}, "451 4.7.1", ""},
		{"temperror, never", changes{temp(dmarc.PolicyLookupFailed), reject(RejectNever)}, "tag", "reject_never - dmarc.reject"},
		{"temperror, a mailing list", changes{temp(dmarc.PolicyLookupFailed), relay(RelayList)}, "tag", "relay_mailing_list"},
		{"temperror, a relay that could not be verified", changes{temp(dmarc.PolicyLookupFailed), relay(RelayList, unchecked)}, "451 4.7.1", ""},
		{"temperror, a trusted forwarder", changes{temp(dmarc.PolicyLookupFailed), forwarder}, "tag", "trusted_forwarder"},
		{"temperror, a trusted sealer found dmarc=pass", changes{temp(dmarc.PolicyLookupFailed), chain(dkim.Pass, "list.example pass")}, "accept", "sealed_pass"},
		{"temperror, p=quarantine", changes{set(dmarc.Fail, dmarc.PolicyQuarantine), temp(dmarc.PolicyLookupFailed)}, "tag", "sp=quarantine"},
		{"temperror, p=quarantine, hold", changes{set(dmarc.Fail, dmarc.PolicyQuarantine), temp(dmarc.PolicyLookupFailed), hold}, "hold", ""},
		{"temperror, p=quarantine, tempfail", changes{set(dmarc.Fail, dmarc.PolicyQuarantine), temp(dmarc.PolicyLookupFailed), tempfail}, "451 4.7.1", ""},
		{"temperror, passes as far as is known", changes{temp(dmarc.PolicyLookupFailed), assumed(dmarc.Pass)}, "accept", "dmarc_temperror"},
		{"temperror, passes as far as is known, tempfail", changes{temp(dmarc.PolicyLookupFailed), assumed(dmarc.Pass), tempfail}, "accept", ""},
		{"temperror, no policy was ever seen", changes{temp(dmarc.PolicyLookupFailed), assumed(dmarc.None), unknown}, "accept", "dmarc_temperror"},
		{"temperror, no policy was ever seen, tempfail", changes{temp(dmarc.PolicyLookupFailed), assumed(dmarc.None), unknown, tempfail}, "451 4.7.1", ""},
		{"temperror at p=none", changes{temp(dmarc.KeyLookupFailed), tempfail, func(e *Evidence, _ *Rules) { e.DMARC[0].Policy = dmarc.PolicyNone }}, "accept", ""},

		// A fault on this host causes a 4xx reply only if the message would not be accepted without this fault.
		{"no slot was free", changes{temp(dmarc.KeyLookupFailed), fault(Exhausted)}, "451 4.3.0", "dns_slots_exhausted"},
		{"the root does not answer", changes{temp(dmarc.PolicyLookupFailed), assumed(dmarc.None), unknown, fault(Unreachable)}, "451 4.4.3", "dns_unreachable"},
		{"the root does not answer, p=quarantine", changes{set(dmarc.Fail, dmarc.PolicyQuarantine), temp(dmarc.PolicyLookupFailed), fault(Unreachable)}, "451 4.4.3", ""},
		{"the root does not answer, passes as far as is known", changes{temp(dmarc.PolicyLookupFailed), assumed(dmarc.Pass), fault(Unreachable)}, "accept", ""},
		{"the root does not answer, p=none", changes{set(dmarc.Fail, dmarc.PolicyNone), temp(dmarc.PolicyLookupFailed), fault(Unreachable)}, "accept", ""},

		// spf.fail = "reject".
		{"SPF fail is left to DMARC", changes{set(dmarc.None, "")}, "accept", ""},
		{"SPF fail", changes{set(dmarc.None, ""), spfReject}, "550 5.7.23", "spf_fail stranger.example"},
		{"SPF fail, no Author Domain", changes{set(dmarc.PermError, ""), spfReject}, "550 5.7.23", ""},
		{"SPF softfail", changes{set(dmarc.None, ""), spfReject, spfIs(spf.SoftFail)}, "accept", ""},
		{"SPF permerror", changes{set(dmarc.None, ""), spfReject, spfIs(spf.PermError)}, "accept", ""},
		{"SPF fail, DMARC pass", changes{set(dmarc.Pass, dmarc.PolicyReject), spfReject}, "accept", ""},
		{"SPF fail, trusted forwarder", changes{set(dmarc.None, ""), spfReject, forwarder}, "accept", ""},
		{"SPF temperror", changes{set(dmarc.None, ""), spfReject, spfIs(spf.TempError)}, "accept", "spf_temperror"},
		{"SPF temperror behind a record", changes{set(dmarc.None, ""), spfReject, spfIs(spf.TempError), func(e *Evidence, _ *Rules) { e.SPF.Record = "v=spf1 a:dead.example -all" }}, "451 4.7.24", ""},
		{"SPF temperror behind a record, DMARC pass", changes{set(dmarc.Pass, ""), spfReject, spfIs(spf.TempError), func(e *Evidence, _ *Rules) { e.SPF.Record = "v=spf1 a:dead.example -all" }}, "accept", ""},
		{"SPF temperror, tempfail", changes{set(dmarc.None, ""), spfReject, spfIs(spf.TempError), tempfail}, "451 4.7.24", ""},
		{"SPF and DMARC reject", changes{spfReject}, "550 5.7.26", "dmarc_fail mail.example.com"},
		{"SPF rejects, DMARC would tag", changes{spfReject, relay(RelayList)}, "550 5.7.23", ""},
		{"SPF would reject, DMARC has a temperror", changes{spfReject, temp(dmarc.KeyLookupFailed)}, "451 4.7.5", ""},

		// hostile From.
		{"two From fields", changes{doubt}, "550 5.6.0", "hostile_from - 2 from_several"},
		{"two From fields, tag", changes{doubt, func(_ *Evidence, r *Rules) { r.HostileFrom = HostileTag }}, "tag", "hostile_from - 2 from_several|hostile_tagged"},
		{"too many domains, tag", changes{doubt, func(e *Evidence, r *Rules) { e.Author.Cause, r.HostileFrom = dmarc.FromTooManyDomains, HostileTag }}, "550 5.6.0", ""},

		// Several Author Domains: the strictest verdict counts.
		{"the second one fails", changes{func(e *Evidence, _ *Rules) {
			e.DMARC = append([]dmarc.Result{{Status: dmarc.Pass, Domain: "stranger.example", Policy: dmarc.PolicyReject}}, e.DMARC...)
		}}, "550 5.7.1", "mail.example.com"},
		{"the milder verdict comes first", changes{func(e *Evidence, _ *Rules) {
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
			if got := verdict(v); got != c.want || !strings.Contains(reasons(v.Reasons), c.reason) {
				t.Errorf("got %s: %+v", got, v)
			}
			if v.Reply.Code == 550 && v.Reply.Enhanced == "5.7.1" && len(v.Evidence) == 0 {
				t.Error("rejected without evidence")
			}
			if e.Connection.SMTP == (v.Code() == "") {
				t.Error("no reason")
			}
			if replied := v.Action == Reject || v.Action == Tempfail; replied != (v.Reply.Code != 0) {
				t.Errorf("action %s with reply %+v", v.Action, v.Reply)
			}
		})
	}
}

// The reply to the administrator of a sender names DMARC (RFC 9989 section 7.2), the Author Domain, and each check with its result
// and its domain.
func TestReplyTexts(t *testing.T) {
	e := forged()
	e.DKIM = []dkim.Result{{Status: dkim.Pass, Domain: "stranger.example"}}
	text := Decide(e, verifying()).Reply.Text
	for _, part := range []string{"DMARC.* mail.example.com", `SPF fail\b.* stranger.example`, `DKIM pass\b.* stranger.example`} {
		if !regexp.MustCompile(part).MatchString(text) {
			t.Errorf("%q does not match %q", text, part)
		}
	}
	e.DKIM = nil
	if unsigned := Decide(e, verifying()).Reply.Text; strings.Count(unsigned, "stranger.example") != 1 || strings.Count(unsigned, "DKIM") != strings.Count(text, "DKIM") {
		t.Error(unsigned)
	}
	for range 20 {
		e.DKIM = append(e.DKIM, dkim.Result{Status: dkim.Fail, Domain: "other.example"})
	}
	if text := Decide(e, verifying()).Reply.Text; strings.Count(text, "other.example") != 3 || !strings.Contains(text, " 17 ") || len(text) > 400 {
		t.Error(text)
	}
}

// SPF is checked neither for outbound mail nor for mail with role bypass.
func TestUnauthenticated(t *testing.T) {
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
		if got := Unauthenticated(c.c, c.e, r); got != c.want {
			t.Errorf("%+v %+v: %v", c.c, c.e, got)
		}
	}
}
