package explain

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/internal/testjournal"
	"signpost/policy"
)

// failing returns a message of example.org that fails DMARC and was rejected.
func failing() *decision.Record {
	return &decision.Record{
		Code:       policy.DMARCFail,
		Assignment: policy.Assignment{Role: policy.RoleVerify},
		Evidence: policy.Evidence{
			QueueID:    "4x",
			Connection: policy.Connection{Client: netip.MustParseAddr("192.0.2.1"), SMTP: true},
			Envelope:   policy.Envelope{Sender: "a@other.example"},
			Author:     dmarc.Author{Domains: []string{"example.org"}},
			SPF:        &spf.Result{Status: spf.Pass, Identity: spf.MailFrom, Domain: "other.example", Record: "v=spf1 +all"},
			DMARC: []dmarc.Result{{Status: dmarc.Fail, Domain: "example.org", OrgDomain: "example.org", PolicyDomain: "example.org",
				Record: "v=DMARC1; p=reject", Tag: "p", Published: "reject", Policy: "reject", Cause: dmarc.NoAlignedIdentifierPassed}},
		},
		Verdict: policy.Verdict{Action: policy.Reject, Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"},
			Reasons: []policy.Reason{{Code: policy.DMARCFail, Domain: "example.org", Detail: "p=reject"}}},
	}
}

// all returns an explanation as one text.
func all(s Explanation) string {
	var b bytes.Buffer
	writeRows(&b, []Row{{"in short", s.Short}})
	for _, rows := range [][]Row{s.Head, s.Found, s.Decided} {
		writeRows(&b, rows)
	}
	s.writeHelp(&b)
	return b.String()
}

// examples returns records whose whole explanations are in testdata/golden.txt.
func examples() map[string]*decision.Record {
	examples := map[string]*decision.Record{}
	const key = "s._domainkey.example.org"
	for cause, detail := range map[dkim.Cause]string{
		dkim.BodyHashMismatch: "", dkim.SignatureMismatch: "", dkim.KeyRecordMissing: "", dkim.KeyRevoked: "", dkim.SignatureExpired: "2026-11-01T00:00:00Z",
		dkim.SignatureInFuture: "", dkim.KeyTooShort: "512", dkim.BodyPartlySigned: "12", dkim.KeyRecordBase64: "", dkim.FromNotSigned: "",
		dkim.ForbiddenAlgorithm: "rsa-sha1", dkim.TooManySignatures: "", dkim.KeyRecordUnusable: "too_many_records",
	} {
		r := failing()
		r.DKIM = []dkim.Result{{Status: dkim.Fail, Domain: "example.org", Selector: "s", Cause: cause, Detail: detail, Headers: []string{"from", "subject"}, KeyName: key}}
		examples["dkim "+string(cause)] = r
	}
	for status, s := range map[spf.Status]spf.Result{
		spf.Fail:      {Cause: spf.TermMatched, Term: "-all", RecordDomain: "example.org"},
		spf.SoftFail:  {Cause: spf.TermMatched, Term: "~all", RecordDomain: "example.org"},
		spf.Neutral:   {Cause: spf.NoTermMatched},
		spf.None:      {Cause: spf.NoRecord},
		spf.PermError: {Cause: spf.SeveralRecords, Detail: "2", RecordDomain: "example.org"},
	} {
		r := failing()
		s.Status, s.Identity, s.Domain = status, spf.MailFrom, "example.org"
		r.Sender, r.SPF = "a@example.org", &s
		examples["spf "+string(status)] = r
	}
	outbound := policy.Evidence{Connection: policy.Connection{Client: netip.MustParseAddr("127.0.0.1"), SMTP: true}, Author: dmarc.Author{Domains: []string{"example.org"}}}
	sign := policy.Assignment{Role: policy.RoleSign, Domain: "example.org", Reason: policy.Reason{Code: policy.Authenticated}}
	examples["signed"] = &decision.Record{Code: policy.Authenticated, Assignment: sign, Evidence: outbound, Verdict: policy.Verdict{Action: policy.Sign}, Selectors: []string{"r1", "e1"}}
	examples["observed"] = &decision.Record{Code: policy.Authenticated, Assignment: sign, Evidence: outbound, Verdict: policy.Verdict{Action: policy.Sign}, Selectors: []string{"r1"}, Observe: true}
	examples["no key"] = &decision.Record{Code: policy.NoUsableKey, Assignment: sign, Evidence: outbound, Verdict: policy.MissingKey(outbound, policy.Rules{}, policy.Reason{Code: policy.NoUsableKey, Domain: "example.org"})}
	for _, code := range []policy.Code{policy.NotHosted, policy.NoActiveKey, policy.SubdomainOfHosted, policy.NotInSignDomains} {
		examples["bypass "+string(code)] = &decision.Record{Code: code, Assignment: policy.Assignment{Role: policy.RoleBypass, Reason: policy.Reason{Code: code, Domain: "example.org"}},
			Evidence: outbound, Verdict: policy.Verdict{Action: policy.Accept}}
	}
	for name, c := range map[string]struct {
		change  func(d *dmarc.Result)
		signer  string
		answers []dns.Lookup
	}{
		"another domain": {func(*dmarc.Result) {}, "list.example", nil},
		"strict":         {func(d *dmarc.Result) { d.Record = "v=DMARC1; p=reject; adkim=s" }, "mail.example.org", nil},
		"an organization below": {func(*dmarc.Result) {}, "shop.example.org",
			[]dns.Lookup{{Name: "_dmarc.shop.example.org", Type: "TXT", Status: dns.NoError, Records: []string{"v=DMARC1; p=none; psd=n"}}}},
		"the organization of a subdomain": {func(d *dmarc.Result) { d.Domain = "mail.example.org" }, "list.example", nil},
		"a top-level domain": {func(d *dmarc.Result) { d.OrgDomain = "org" }, "other.org", []dns.Lookup{
			{Name: "_dmarc.other.org", Type: "TXT", Status: dns.NXDomain}, {Name: "_dmarc.org", Type: "TXT", Status: dns.NoError, Records: []string{"v=DMARC1; p=none"}}}},
	} {
		r := failing()
		r.Lookups, r.DKIM = c.answers, []dkim.Result{{Status: dkim.Pass, Domain: c.signer, Selector: "s"}}
		c.change(&r.DMARC[0])
		examples["unaligned: "+name] = r
	}
	for name, set := range map[string]func(*dkim.Result){
		"body": func(d *dkim.Result) { d.HeaderHolds = true }, "body and Subject": func(d *dkim.Result) { d.HoldsUntagged = true },
	} {
		r := failing()
		r.DKIM = []dkim.Result{{Status: dkim.Fail, Domain: "example.org", Selector: "s", Cause: dkim.BodyHashMismatch}}
		set(&r.DKIM[0])
		examples["changed: "+name] = r
	}
	r := failing()
	r.SPF.Domain, r.DMARC[0].Record = "mail.example.org", "v=DMARC1; p=reject; adkim=s; aspf=s"
	examples["unaligned: strict SPF"] = r
	r = failing()
	r.SPF = &spf.Result{Status: spf.None, Identity: spf.MailFrom, Domain: "example.org", Cause: spf.NoRecord}
	r.Sender, r.Lookups = "a@example.org", []dns.Lookup{{Name: "example.org", Type: "TXT", Status: dns.NoError, Records: []string{"v=spf1; ip4:192.0.2.1; -all"}}}
	examples["spf near miss"] = r
	aborted := policy.Evidence{QueueID: "4x", Connection: policy.Connection{SMTP: true}}
	examples["internal error"] = &decision.Record{Code: policy.InternalError, Evidence: aborted, Verdict: policy.Broken(aborted)}
	return examples
}

// testdata/golden.txt has the explanation of a message of each kind. UPDATE=1 writes the file; read the differences before you commit them.
// If the wording of a text changes, only golden texts change.
func TestGolden(t *testing.T) {
	var b strings.Builder
	examples := examples()
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		fmt.Fprintf(&b, "== %s\n%s", name, all(Message(examples[name])))
	}
	file := filepath.Join("testdata", "golden.txt")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the texts differ from %s: run with UPDATE=1 and read the difference\n%s", file, b.String())
	}
}

// Each code has a text for each role, so that no code is shown to users.
func TestEveryCode(t *testing.T) {
	for _, code := range policy.Codes() {
		r := failing()
		reason := policy.Reason{Code: code, Domain: "d.example", Detail: "detail", Cause: "some_cause"}
		if text := reason.String(); text == "" || text == string(code) || text == reason.Detail && code != policy.Legacy {
			t.Errorf("%s: String is %q", code, text)
		}
		r.Code, r.Reasons = code, []policy.Reason{reason}
		for _, role := range policy.Roles() {
			r.Role, r.Assignment.Reason = role, policy.Reason{}
			switch role {
			case policy.RoleSign:
				r.Assignment.Reason.Code = policy.Authenticated
			case policy.RoleBypass:
				r.Reasons, r.Assignment.Reason = nil, reason
			}
			if x := Message(r); strings.Contains(x.Short, ": .") || strings.Contains(x.Short, ": :") {
				t.Errorf("%s, role %s: %s", code, role, x.Short)
			}
		}
	}
}

// The text of each cause is readable: neither the cause nor a DNS status in the text has underscores, and no part of the text is empty.
func TestEveryCause(t *testing.T) {
	check := func(cause, text string) {
		t.Helper()
		if text = strings.ReplaceAll(text, "_domainkey", ""); text == "" || strings.Contains(text, "_") || strings.Contains(text, ": :") || strings.HasSuffix(text, ": ") {
			t.Errorf("%s: %q", cause, text)
		}
	}
	detail := func(cause string) string {
		if strings.Contains(cause, "lookup_") || cause == string(dkim.KeyRecordUnusable) {
			return string(dns.TooManyRecords)
		}
		return "detail"
	}
	for _, cause := range dkim.Causes() {
		s := dkim.Result{Status: dkim.Fail, Cause: cause, Detail: detail(string(cause)), Domain: "example.org", KeyName: "s._domainkey.example.org"}
		check(string(cause), policy.DKIMText(s))
		check(string(cause), helpSignature(s))
	}
	for _, cause := range spf.Causes() {
		check(string(cause), policy.SPFText(&spf.Result{Cause: cause, Term: "mx", RecordDomain: "example.org", Failed: "example.org", Detail: detail(string(cause))}))
	}
	for _, cause := range dmarc.Causes() {
		check(string(cause), policy.DMARCText(dmarc.Result{Cause: cause, Domain: "example.org", Detail: detail(string(cause))}))
	}
	for _, cause := range dmarc.AuthorCauses() {
		check(string(cause), policy.AuthorText(dmarc.Author{Cause: cause, Detail: "detail"}))
	}
}

// The record of an aborted message has no role.
func TestBroken(t *testing.T) {
	if text := all(Message(examples()["internal error"])); strings.Contains(text, "\nrole") {
		t.Error(text)
	}
}

// Recipients are listed if they were kept, and counted otherwise.
func TestRecipients(t *testing.T) {
	r := failing()
	r.Addressees = 7
	if text := all(Message(r)); !strings.Contains(text, "recipients   7\n") {
		t.Error(text)
	}
	r.Recipients = []string{"a@example.net", "b@example.net", "c@example.net", "d@example.net", "e@example.net", "f@example.net", "g@example.net"}
	text := all(Message(r))
	_, rest, listed := strings.Cut(text, "<e@example.net>\n")
	count, _, _ := strings.Cut(rest, "\n")
	if !listed || !strings.Contains(text, "RCPT TO      <a@example.net>\n") || strings.Contains(text, "f@") || !strings.Contains(count, "2 ") {
		t.Error(text)
	}
}

// A journal of version 1 contains sentences instead of codes. The explanation of a message contains these sentences.
func TestVersion1(t *testing.T) {
	r, err := journal.OpenReader(testjournal.Version1(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sentences, answers := 0, 0
	err = r.Each(t.Context(), journal.Filter{}, func(e *journal.Entry) bool {
		x := Message(&e.Record)
		whole := x.Short
		for _, rows := range [][]Row{x.Head, x.Found, x.Decided} {
			for _, row := range rows {
				whole += "\n" + row.Text
			}
		}
		for _, reason := range e.Reasons {
			if reason.Code == policy.Legacy {
				sentences++
				if !strings.Contains(whole, reason.Detail) {
					t.Errorf("%s: no %q in\n%s", e.QueueID, reason.Detail, whole)
				}
			}
		}
		for _, s := range e.DKIM {
			if len(e.DKIM) <= maxSignatures && s.Cause == policy.LegacyCause && s.Detail != "" && !strings.Contains(whole, s.Detail) {
				t.Errorf("%s: no %q in\n%s", e.QueueID, s.Detail, whole)
			}
		}
		if e.SPF != nil && strings.Contains(whole, "\n"+e.SPF.Domain+": "+e.SPF.Record) {
			answers++
		}
		for _, row := range x.Found {
			if strings.Count(row.Text, "could not be looked up") > 1 || strings.Contains(row.Text, " dmarc.") {
				t.Errorf("%s: %s", e.QueueID, row.Text)
			}
		}
		if strings.Contains(x.Short, " , ") || strings.Contains(x.Short, ", :") {
			t.Errorf("%s: %s", e.QueueID, x.Short)
		}
		var list bytes.Buffer
		if err := NewList(&list, 0)([]journal.Entry{*e}); err != nil || !strings.Contains(list.String(), " "+string(e.Decided())+" ") && !strings.Contains(list.String(), "("+string(e.Decided())+")") {
			t.Errorf("%v: %s", err, &list)
		}
		return true
	})
	if err != nil || sentences < 30 || answers < 20 {
		t.Errorf("%v: %d sentences, %d SPF records", err, sentences, answers)
	}
}

// No two outcomes of a step have the same text.
func TestEveryOutcome(t *testing.T) {
	seen := map[string]spf.Outcome{}
	for _, o := range spf.Outcomes() {
		text := spfOutcome(spf.Step{Outcome: o, Record: "v=spf1 -all", Status: spf.Fail, Cause: spf.InvalidMacro})
		if other, twice := seen[text]; twice || text == "" {
			t.Errorf("%s and %s: %q", o, other, text)
		}
		seen[text] = o
	}
	known := map[string]dmarc.Outcome{}
	for _, o := range dmarc.Outcomes() {
		text := dmarcOutcome(dmarc.Step{Outcome: o, Cause: dmarc.PolicyTagMissing})
		if other, twice := known[text]; twice || text == "" {
			t.Errorf("%s and %s: %q", o, other, text)
		}
		known[text] = o
	}
}

// A damaged entry may lack any part. The remaining parts are explained.
func TestIncompleteRecords(t *testing.T) {
	for _, role := range append(policy.Roles(), "") {
		for _, action := range append(policy.Actions(), "") {
			for _, code := range append(policy.Codes(), "") {
				a := policy.Assignment{Role: role, Reason: policy.Reason{Code: code}}
				for _, r := range []*decision.Record{{}, {Assignment: a}, {Code: code, Assignment: a}, {Code: code}} {
					r.Action = action
					if x := Message(r); x.Short == "" {
						t.Errorf("%+v: %+v", r, x)
					}
				}
			}
		}
	}
}

// With sign.login_mismatch = "log", an unsigned message has two reasons: why it is not signed, and the address that the login may not use.
func TestUnsignedMismatch(t *testing.T) {
	r := &decision.Record{Code: policy.LoginMismatch}
	r.Assignment = policy.Assignment{Role: policy.RoleBypass, Reason: policy.Reason{Code: policy.ListedNoKey, Domain: "example.org", Detail: "hash:/domains"}}
	r.Verdict = policy.Verdict{Action: policy.Accept, Reasons: []policy.Reason{{Code: policy.LoginMismatch, Detail: "ann", Address: "carl@example.org"}}}
	for _, want := range []string{"example.org, which is in hash:/domains, but has no key", `Warning: login "ann" may not use the address carl@example.org`} {
		if got := Message(r).Short; !strings.Contains(got, want) {
			t.Errorf("without %q: %s", want, got)
		}
	}
}
