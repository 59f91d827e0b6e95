package whatif

import (
	"net/netip"
	"strings"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/policy"
)

// An entry of a version that did not verify relays is replayed if its evidence is sufficient. Otherwise it counts as "cannot be judged".
func TestOlderEntries(t *testing.T) {
	fails := func(status dmarc.Status, p dmarc.Policy) func(*policy.Evidence) {
		return func(e *policy.Evidence) {
			e.DMARC = []dmarc.Result{{Status: status, Domain: "example.com", OrgDomain: "example.com", Published: p, Policy: p}}
		}
	}
	reject := fails(dmarc.Fail, dmarc.PolicyReject)
	traces := func(names ...string) func(*policy.Evidence) { return func(e *policy.Evidence) { e.Relayed = names } }
	sender := func(address string, s spf.Status) func(*policy.Evidence) {
		return func(e *policy.Evidence) {
			e.Envelope.Sender, e.SPF = address, &spf.Result{Status: s, Identity: spf.MailFrom, Domain: "sender.example"}
		}
	}
	signed := func(r dkim.Result) func(*policy.Evidence) {
		return func(e *policy.Evidence) { e.DKIM = append(e.DKIM, r) }
	}
	checked := func(e *policy.Evidence) { e.RelaysChecked = true }
	const undecidable = "undecidable"
	for _, c := range []struct {
		name    string
		changes []func(*policy.Evidence)
		want    string
	}{
		{"a forgery", []func(*policy.Evidence){reject}, "reject 550 5.7.1"},
		{"a bare List-Id", []func(*policy.Evidence){reject, traces("List-Id")}, "reject 550 5.7.1"},
		{"fields of a list, and no check passes", []func(*policy.Evidence){reject, traces("List-Id", "List-Post")}, "reject 550 5.7.1"},
		{"fields of a list, and a check passes", []func(*policy.Evidence){reject, traces("List-Id", "List-Post"), signed(dkim.Result{Status: dkim.Pass, Domain: "list.example"})}, undecidable},
		{"a Resent- field, and a check passes", []func(*policy.Evidence){reject, traces("a Resent- field"), sender("x@sender.example", spf.Pass)}, undecidable},
		{"a broken signature", []func(*policy.Evidence){reject, signed(dkim.Result{Status: dkim.Fail, Domain: "example.com"})}, "reject 550 5.7.1"},
		{"a broken signature that still verifies the header", []func(*policy.Evidence){reject, signed(dkim.Result{Status: dkim.Fail, Domain: "example.com", HeaderHolds: true})}, undecidable},
		{"a chain that validates", []func(*policy.Evidence){reject, func(e *policy.Evidence) { e.ARC = &dkim.Chain{Status: dkim.Pass} }}, "tag"},
		{"a chain that does not", []func(*policy.Evidence){reject, traces("ARC-Seal"), func(e *policy.Evidence) { e.ARC = &dkim.Chain{Status: dkim.Fail} }}, "reject 550 5.7.1"},
		{"SRS", []func(*policy.Evidence){reject, sender("SRS0=a=b=example.com=ann@sender.example", spf.Pass)}, undecidable},
		{"no SRS", []func(*policy.Evidence){reject, sender("ann@sender.example", spf.Pass)}, "reject 550 5.7.1"},
		{"a sender whose local part is not kept", []func(*policy.Evidence){reject, sender("@sender.example", spf.Pass)}, undecidable},
		{"a sender whose local part is not kept, and SPF fails", []func(*policy.Evidence){reject, sender("@sender.example", spf.Fail)}, "reject 550 5.7.1"},
		{"relays were verified", []func(*policy.Evidence){reject, sender("@sender.example", spf.Pass), checked}, "reject 550 5.7.1"},
		{"p=quarantine", []func(*policy.Evidence){fails(dmarc.Fail, dmarc.PolicyQuarantine), sender("@sender.example", spf.Pass)}, "tag"},
		{"temperror", []func(*policy.Evidence){fails(dmarc.TempError, dmarc.PolicyReject)}, undecidable},
		{"temperror, p=none", []func(*policy.Evidence){fails(dmarc.TempError, dmarc.PolicyNone)}, "accept"},
		{"temperror, no policy known", []func(*policy.Evidence){fails(dmarc.TempError, "")}, "accept"},
	} {
		var e journal.Entry
		e.Evidence = policy.Evidence{Connection: policy.Connection{Client: netip.MustParseAddr("203.0.113.9"), SMTP: true},
			Author: dmarc.Author{Domains: []string{"example.com"}}, SPF: &spf.Result{Status: spf.None, Identity: spf.MailFrom}}
		for _, f := range c.changes {
			f(&e.Evidence)
		}
		got := Judge(&e, policy.Rules{Reject: policy.RejectOnEvidence, Quarantine: policy.QuarantineTag, TempError: policy.TempErrorAccept})
		if c.want == undecidable && got.Unknown != OlderVersion || c.want != undecidable && (got.Unknown != "" || strings.TrimSpace(string(got.Action)+" "+got.Reply) != c.want) {
			t.Errorf("%s: %+v, want %s", c.name, got, c.want)
		}
	}
}

// Older entries do not contain the Author Domain of our results. The domain matters only for mail that would otherwise be signed.
func TestOlderEntriesWithResults(t *testing.T) {
	rules := policy.Rules{TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Hosted: map[string]bool{"example.org": true}}
	for _, c := range []struct {
		author string
		about  policy.ResultsAbout
		want   Judged
	}{
		{"example.org", "", Judged{Unknown: OlderVersion}},
		{"example.com", "", Judged{Fate: Fate{Role: policy.RoleBypass, Action: policy.Accept}}},
		{"example.org", policy.AboutAuthor, Judged{Fate: Fate{Role: policy.RoleBypass, Action: policy.Accept}}},
		{"example.org", policy.AboutOthers, Judged{Fate: Fate{Role: policy.RoleSign, Action: policy.Sign}, Granted: true}},
	} {
		var e journal.Entry
		e.Evidence = policy.Evidence{Connection: policy.Connection{Client: netip.MustParseAddr("127.0.0.1"), SMTP: true},
			Author: dmarc.Author{Domains: []string{c.author}}, OwnResults: true, ResultsAbout: c.about}
		if got := Judge(&e, rules); got != c.want {
			t.Errorf("From %s, results about %q: %+v, want %+v", c.author, c.about, got, c.want)
		}
	}
}
