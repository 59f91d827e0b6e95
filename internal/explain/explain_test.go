package explain

import (
	"net/netip"
	"strings"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/filter"
	"signpost/internal/spf"
	"signpost/policy"
)

// failing returns a message of example.org that fails DMARC and was rejected.
func failing() filter.Report {
	const reason = "DMARC fails for example.org, p=reject at example.org"
	return filter.Report{
		Assignment: policy.Assignment{Role: policy.Verify, Reason: "neither authenticated nor in trusted_networks"},
		Evidence: policy.Evidence{
			QueueID:    "4x",
			Connection: policy.Connection{Client: netip.MustParseAddr("192.0.2.1"), SMTP: true},
			Envelope:   policy.Envelope{Sender: "a@other.example"},
			Author:     dmarc.Author{Domains: []string{"example.org"}},
			SPF:        &spf.Result{Status: spf.Pass, Identity: spf.MailFrom, Domain: "other.example", Record: "v=spf1 +all"},
			DMARC: []dmarc.Result{{Status: dmarc.Fail, Domain: "example.org", OrgDomain: "example.org", PolicyDomain: "example.org",
				Record: "v=DMARC1; p=reject", Tag: "p", Published: "reject", Policy: "reject", Reason: "no aligned identifier passed"}},
		},
		Verdict: policy.Verdict{Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}, Reason: reason},
		Done:    "refused 550 5.7.1",
	}
}

// all returns an explanation as one text.
func all(s Explanation) string {
	text := s.Short + "\n"
	for _, rows := range [][]Row{s.Head, s.Found, s.Decided} {
		for _, r := range rows {
			text += r.Label + " " + r.Text + "\n"
		}
	}
	return text + strings.Join(s.Help, "\n")
}

// The explanation of a failed signature of the author has its cause, and what helps against that one.
func TestSignatureHelp(t *testing.T) {
	const key = "s._domainkey.example.org"
	for reason, want := range map[string]string{
		"the body hash does not match: the body was changed after signing":                                 "let what adds footers or rewrites text run before signing",
		"the signature does not match: signed header fields were changed, or it was made with another key": "Let nothing change the signed fields (from, subject) after signing, and check that the record at " + key,
		"there is no key record at " + key:                                                                 "Publish the key record at " + key,
		"the key was revoked (empty p=)":                                                                   "the one at " + key + " was revoked",
		"the signature expired at 2026-11-01T00:00:00Z":                                                    "Sign it anew",
		"the signature's t= lies in the future":                                                            "Set the clock of the signing host",
		"the RSA key has 512 bits; less than 1024 must not be used (RFC 8301)":                             "Sign with an RSA key of 2048 bits",
		"l= leaves 12 octets of the body unsigned":                                                         "Sign without l=",
		"malformed key record: p= is not base64":                                                           "Mend the key record at " + key + ": malformed key record",
		"h= does not cover From (RFC 6376 section 5.4)":                                                    "Sign with From in h=",
		"rsa-sha1 must not be used (RFC 8301)":                                                             "Mend what signs: rsa-sha1 must not be used",
		"malformed signature: bh= is not the base64 of a SHA-256 hash":                                     "Mend what signs: malformed signature",
		"not verified: the message has more than 8 signatures":                                             "Take signatures out that nobody needs",
		"the key record at " + key + " is no use: more than 100 records":                                   "Mend the key record at " + key,
		"the key record's t=s does not allow an i= below d=":                                               "Mend the key record at " + key,
	} {
		r := failing()
		r.Evidence.DKIM = []dkim.Result{{Status: dkim.Fail, Domain: "example.org", Selector: "s", Reason: reason, Headers: []string{"from", "subject"}, KeyName: key}}
		s := Message(r)
		if !strings.Contains(s.Short, "its signature of example.org is not good ("+reason) {
			t.Errorf("%s: %s", reason, s.Short)
		}
		if len(s.Help) == 0 || !strings.Contains(s.Help[0], want) {
			t.Errorf("%s: %q, want %q", reason, s.Help, want)
		}
	}
}

// The explanation names the rule by which a passing identifier is not aligned.
func TestWhyNotAligned(t *testing.T) {
	for name, c := range map[string]struct {
		change func(d *dmarc.Result)
		signer string
		told   []dns.Lookup
		want   string
	}{
		"a stranger": {func(*dmarc.Result) {}, "list.example", nil, "list.example does not belong to example.org"},
		"strict": {func(d *dmarc.Result) { d.Record = "v=DMARC1; p=reject; adkim=s" }, "mail.example.org", nil,
			"mail.example.org is not example.org itself, as adkim=s asks"},
		"an organisation below": {func(*dmarc.Result) {}, "shop.example.org", []dns.Lookup{
			{Name: "_dmarc.shop.example.org", Type: "TXT", Status: dns.NoError, Records: []string{"v=DMARC1; p=none; psd=n"}}},
			"shop.example.org belongs to shop.example.org by its DMARC record, not to example.org"},
		"a subdomain's organisation": {func(d *dmarc.Result) { d.Domain, d.OrgDomain = "mail.example.org", "example.org" }, "list.example", nil,
			"list.example does not belong to example.org, the organisation of mail.example.org"},
		"a top-level domain": {func(d *dmarc.Result) { d.OrgDomain = "org" }, "other.org", []dns.Lookup{
			{Name: "_dmarc.other.org", Type: "TXT", Status: dns.NXDomain}, {Name: "_dmarc.org", Type: "TXT", Status: dns.NoError, Records: []string{"v=DMARC1; p=none"}}},
			"other.org shares no more than the top-level domain org with it"},
	} {
		r := failing()
		r.Lookups = c.told
		r.Evidence.DKIM = []dkim.Result{{Status: dkim.Pass, Domain: c.signer, Selector: "s"}}
		c.change(&r.Evidence.DMARC[0])
		if text := all(Message(r)); !strings.Contains(text, "the signature of "+c.signer+" passes, but "+c.want) {
			t.Errorf("%s: it does not say %q\n%s", name, c.want, text)
		}
	}
}

// Each SPF result but pass has its cause, and what helps.
func TestSPFHelp(t *testing.T) {
	for status, c := range map[spf.Status]struct{ reason, short, help string }{
		spf.Fail:      {"-all of example.org", "192.0.2.1 may not send for it (fail: -all of example.org)", "add it to the SPF record (ip4:192.0.2.1)"},
		spf.SoftFail:  {"~all of example.org", "192.0.2.1 may not send for it (softfail: ~all of example.org)", "add it to the SPF record"},
		spf.Neutral:   {"no term matched", "does not say that 192.0.2.1 may send for it (neutral: no term matched)", "add it to the SPF record"},
		spf.None:      {"there is no SPF record", "(none: there is no SPF record)", "ublish an SPF record at example.org that names this host: v=spf1 ip4:192.0.2.1 -all"},
		spf.PermError: {"example.org has 2 SPF records", "(permerror: example.org has 2 SPF records)", "end the SPF record of example.org: example.org has 2 SPF records"},
	} {
		r := failing()
		r.Evidence.Envelope.Sender = "a@example.org"
		r.Evidence.SPF = &spf.Result{Status: status, Identity: spf.MailFrom, Domain: "example.org", Reason: c.reason}
		s := Message(r)
		if !strings.Contains(s.Short, c.short) {
			t.Errorf("%s: %s, want %s", status, s.Short, c.short)
		}
		if text := strings.Join(s.Help, "\n"); !strings.Contains(text, c.help) {
			t.Errorf("%s: %s, want %s", status, text, c.help)
		}
	}
}

// A message that was aborted has no role, and the explanation states whose fault that is.
func TestBroken(t *testing.T) {
	e := policy.Evidence{QueueID: "4x", Connection: policy.Connection{SMTP: true}}
	text := all(Message(filter.Report{Evidence: e, Verdict: policy.Broken(e), Done: "deferred 451 4.3.0"}))
	for _, want := range []string{"put off (451 4.3.0)", "a fault here that is not the sender's: an internal error; see the log", "please report it"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q\n%s", want, text)
		}
	}
	if strings.Contains(text, "role") {
		t.Error(text)
	}
}

// Recipients are listed if they were kept, and counted otherwise.
func TestRecipients(t *testing.T) {
	r := failing()
	r.Evidence.Envelope.Addressees = 7
	if text := all(Message(r)); !strings.Contains(text, "recipients 7\n") {
		t.Error(text)
	}
	r.Evidence.Envelope.Recipients = []string{"a@example.net", "b@example.net", "c@example.net", "d@example.net", "e@example.net", "f@example.net", "g@example.net"}
	if text := all(Message(r)); !strings.Contains(text, "RCPT TO <a@example.net>\n <b@example.net>\n") || strings.Contains(text, "f@") || !strings.Contains(text, "and 2 more") {
		t.Error(text)
	}
}

// Outbound mail: the explanation names the keys that signed, or the one that is missing.
func TestOwnMail(t *testing.T) {
	own := policy.Evidence{Connection: policy.Connection{Client: netip.MustParseAddr("127.0.0.1"), SMTP: true}, Author: dmarc.Author{Domains: []string{"example.org"}}}
	for name, c := range map[string]struct {
		report filter.Report
		want   []string
	}{
		"signed": {filter.Report{Assignment: policy.Assignment{Role: policy.Sign, Domain: "example.org", Reason: "authenticated; Author Domain hosted here"}, Done: "signed", Selectors: "r1,e1"},
			[]string{"The message was signed.", "authenticated; Author Domain hosted here", "It is from one of our own users, who had logged in, and was signed for example.org by the keys r1 and e1."}},
		"no key": {filter.Report{Assignment: policy.Assignment{Role: policy.Sign, Domain: "example.org", Reason: "authenticated; Author Domain hosted here"}, Done: "deferred 451 4.3.5",
			Verdict: policy.Verdict{Reply: policy.Reply{Code: 451, Enhanced: "4.3.5", Text: "later"}, Reason: "no usable key for example.org"}},
			[]string{"put off (451 4.3.5)", "should have been signed for example.org, but that could not be done: no usable key for example.org", "dkimkey status example.org"}},
		"not hosted": {filter.Report{Assignment: policy.Assignment{Role: policy.Leave, Reason: "authenticated; Author Domain example.org is not hosted here"}, Done: "accepted"},
			[]string{"neither checked nor signed", "Author Domain example.org is not hosted here", "dkimkey add example.org"}},
		"no key yet": {filter.Report{Assignment: policy.Assignment{Role: policy.Leave, Reason: "authenticated; Author Domain example.org has no active key yet"}, Done: "accepted"},
			[]string{"neither checked nor signed", "dkimkey status example.org says what its first key waits for"}},
		"observed": {filter.Report{Assignment: policy.Assignment{Role: policy.Sign, Domain: "example.org", Reason: "local submission; Author Domain hosted here"}, Done: "signed", Observe: true, Selectors: "r1"},
			[]string{"only observes: the message went on untouched. Otherwise it would have been signed."}},
	} {
		c.report.Evidence = own
		text := all(Message(c.report))
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: it does not say %q\n%s", name, want, text)
			}
		}
		if strings.Contains(text, "SPF") || strings.Contains(text, "DMARC") {
			t.Errorf("%s: it speaks of checks that there were none of\n%s", name, text)
		}
	}
}

// The explanation states that the header of a modified message is still the author's, if it is.
func TestIntactHeader(t *testing.T) {
	const whole, tagged = "the signed header is unchanged", "but for a tag in brackets that a mailing list put into Subject"
	for name, c := range map[string]struct {
		holds, untagged bool
		want, not       string
	}{
		"body":             {true, false, whole, tagged},
		"body and Subject": {false, true, whole + ", " + tagged, ""},
		"more":             {false, false, "", whole},
	} {
		r := failing()
		r.Evidence.DKIM = []dkim.Result{{Status: dkim.Fail, Domain: "example.org", Selector: "s", Reason: "the body hash does not match: the body was changed after signing",
			HeaderHolds: c.holds, HoldsUntagged: c.untagged}}
		s := Message(r)
		for where, text := range map[string]string{"in short": s.Short, "in full": all(Explanation{Found: s.Found})} {
			if !strings.Contains(text, c.want) || c.not != "" && strings.Contains(text, c.not) {
				t.Errorf("%s, %s: %s", name, where, text)
			}
		}
	}
}
