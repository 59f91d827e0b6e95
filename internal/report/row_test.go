package report

import (
	"net/netip"
	"reflect"
	"testing"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/policy"
)

func rowOf(t *testing.T, r *decision.Record) Row {
	t.Helper()
	record, ok := dmarc.ParseRecord(r.Evidence.DMARC[0].Record)
	if !ok {
		t.Fatal("no record")
	}
	return newRow(t.Context(), &journal.Entry{Record: *r}, r.Evidence.DMARC[0], record)
}

// The disposition is what was done. If it differs from the published policy, there is a reason, in the words of RFC 9990.
func TestDisposition(t *testing.T) {
	relayed := func(action policy.Action, codes ...policy.Code) *decision.Record {
		r := failing()
		r.Action = action
		for _, c := range codes {
			r.Reasons = append(r.Reasons, policy.Reason{Code: c})
		}
		return r
	}
	publish := func(r *decision.Record, published, applied dmarc.Policy) *decision.Record {
		r.Evidence.DMARC[0].Published, r.Evidence.DMARC[0].Policy = published, applied
		return r
	}
	observed := relayed(policy.Accept)
	observed.Observe, observed.Would = true, policy.Reject
	legacy := relayed(policy.Tag)
	legacy.Override = policy.MailingList
	discarded := message()
	discarded.Code, discarded.Action, discarded.Reasons = policy.ReportReceived, policy.Discard, []policy.Reason{{Code: policy.ReportReceived}}
	denied := message()
	denied.Code, denied.Action, denied.Reasons = policy.LocalDeny, policy.Reject, []policy.Reason{{Code: policy.LocalDeny}}
	spfFailed := publish(relayed(policy.Reject), dmarc.PolicyNone, dmarc.PolicyNone)
	spfFailed.Code, spfFailed.Reasons = policy.SPFFail, []policy.Reason{{Code: policy.SPFFail}}
	for name, c := range map[string]struct {
		record  *decision.Record
		want    Disposition
		reasons []Reason
	}{
		"pass":                      {message(), DispositionPass, nil},
		"pass under p=none":         {publish(message(), dmarc.PolicyNone, dmarc.PolicyNone), DispositionNone, nil},
		"pass under t=y":            {publish(message(), dmarc.PolicyQuarantine, dmarc.PolicyNone), DispositionNone, nil},
		"rejected":                  {failing(), DispositionReject, nil},
		"a discarded report":        {discarded, DispositionPass, nil},
		"fail under p=none":         {publish(relayed(policy.Accept), dmarc.PolicyNone, dmarc.PolicyNone), DispositionNone, nil},
		"tagged":                    {publish(relayed(policy.Tag), dmarc.PolicyQuarantine, dmarc.PolicyQuarantine), DispositionQuarantine, nil},
		"held":                      {publish(relayed(policy.Hold), dmarc.PolicyQuarantine, dmarc.PolicyQuarantine), DispositionQuarantine, nil},
		"mailing list":              {relayed(policy.Tag, policy.MailingListRelay), DispositionQuarantine, []Reason{{policy.MailingList, "relay_mailing_list"}}},
		"trusted sealer":            {relayed(policy.Accept, policy.SealedPass), DispositionNone, []Reason{{policy.TrustedForwarder, "sealed_pass"}}},
		"test mode":                 {publish(relayed(policy.Tag, policy.TestMode), dmarc.PolicyReject, dmarc.PolicyQuarantine), DispositionQuarantine, []Reason{{policy.PolicyTestMode, "policy_test_mode"}}},
		"test mode and rule":        {publish(relayed(policy.Accept, policy.TestMode, policy.LocalAllow), dmarc.PolicyReject, dmarc.PolicyQuarantine), DispositionNone, []Reason{{policy.PolicyTestMode, "policy_test_mode"}, {policy.LocalPolicy, "local_allow"}}},
		"observe mode":              {observed, DispositionNone, []Reason{{policy.LocalPolicy, "observe_mode"}}},
		"entry without codes":       {legacy, DispositionQuarantine, []Reason{{policy.MailingList, ""}}},
		"passes, but is denied":     {denied, DispositionReject, []Reason{{policy.LocalPolicy, "local_deny"}}},
		"code without an override":  {spfFailed, DispositionReject, []Reason{{policy.LocalPolicy, "spf_fail"}}},
		"temperror decided as fail": {relayed(policy.Accept, policy.DMARCTempError), DispositionNone, []Reason{{policy.LocalPolicy, "dmarc_fail"}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := rowOf(t, c.record)
			if r.Disposition != c.want || !reflect.DeepEqual(r.Reasons, c.reasons) {
				t.Errorf("%s %+v, want %s %+v", r.Disposition, r.Reasons, c.want, c.reasons)
			}
		})
	}
}

// policy_evaluated has the results of DKIM and SPF as DMARC uses them: only an aligned identifier that passed counts.
func TestAlignment(t *testing.T) {
	type identifiers struct {
		dkim, spf, author, org, at, record string
		lookups                            []dns.Lookup
		aligned                            dmarc.AlignedIdentifier
	}
	walk := func(name, status, text string) dns.Lookup {
		return dns.Lookup{Name: "_dmarc." + name + ".", Type: "TXT", Status: dns.Status(status), Records: []string{text}}
	}
	for name, c := range map[string]struct {
		identifiers
		dkim, spf bool
	}{
		"both":                      {identifiers{dkim: "example.org", spf: "example.org"}, true, true},
		"foreign SPF":               {identifiers{dkim: "example.org", spf: "example.net"}, true, false},
		"foreign DKIM":              {identifiers{dkim: "example.net", spf: "example.org", aligned: dmarc.AlignedIdentifier{Method: dmarc.SPF, Domain: "example.org"}}, false, true},
		"subdomain":                 {identifiers{dkim: "example.org", spf: "bounce.example.org"}, true, true},
		"same organization":         {identifiers{dkim: "mail.example.org", spf: "bounce.example.org", author: "news.example.org", org: "example.org", aligned: dmarc.AlignedIdentifier{Method: dmarc.DKIM, Domain: "mail.example.org"}}, true, true},
		"strict SPF":                {identifiers{dkim: "example.org", spf: "bounce.example.org", record: "v=DMARC1; p=reject; aspf=s"}, true, false},
		"strict DKIM":               {identifiers{dkim: "mail.example.org", spf: "example.org", record: "v=DMARC1; p=reject; adkim=s", aligned: dmarc.AlignedIdentifier{Method: dmarc.SPF, Domain: "example.org"}}, false, true},
		"registry without psd=y":    {identifiers{dkim: "a.bank", spf: "b.bank", author: "a.bank", org: "bank", at: "bank"}, true, false},
		"only the TLD is common":    {identifiers{dkim: "example.org", spf: "example.net.org"}, true, false},
		"above, by recorded walks":  {identifiers{dkim: "a.example.org", spf: "example.org", author: "a.example.org", at: "a.example.org", org: "-", lookups: []dns.Lookup{walk("a.example.org", "NOERROR", "v=DMARC1; p=reject"), walk("example.org", "NOERROR", "v=DMARC1; p=none"), walk("org", "NXDOMAIN", "")}}, true, true},
		"above, but psd=n is below": {identifiers{dkim: "a.example.org", spf: "example.org", author: "a.example.org", at: "a.example.org", org: "-", lookups: []dns.Lookup{walk("a.example.org", "NOERROR", "v=DMARC1; p=reject; psd=n"), walk("example.org", "NOERROR", "v=DMARC1; p=none"), walk("org", "NXDOMAIN", "")}}, true, false},
		"above, without lookups":    {identifiers{dkim: "a.example.org", spf: "example.org", author: "a.example.org", at: "a.example.org", org: "-"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := message()
			d := &r.Evidence.DMARC[0]
			if c.author != "" {
				d.Domain = c.author
			}
			switch c.org {
			case "": // the daemon compared only the equal name
				d.OrgDomain = "example.org"
			case "-":
				d.OrgDomain = ""
			default:
				d.OrgDomain = c.org
			}
			if c.at != "" {
				d.PolicyDomain = c.at
			}
			if c.record != "" {
				d.Record = c.record
			}
			if c.aligned.Domain != "" {
				d.Aligned = &c.aligned
			} else {
				d.Aligned = &dmarc.AlignedIdentifier{Method: dmarc.DKIM, Domain: d.Domain}
			}
			r.Evidence.DKIM[0].Domain, r.Evidence.SPF.Domain, r.Lookups = c.identifiers.dkim, c.identifiers.spf, c.lookups
			if row := rowOf(t, r); row.DKIM != c.dkim || row.SPF != c.spf {
				t.Errorf("dkim %v spf %v, want %v %v", row.DKIM, row.SPF, c.dkim, c.spf)
			}
		})
	}
	r := failing()
	r.Evidence.DKIM[0].Status = dkim.Pass // passes for the author, but is not aligned: the daemon compared all identifiers
	if row := rowOf(t, r); row.DKIM || row.SPF {
		t.Errorf("a message that fails: dkim %v spf %v", row.DKIM, row.SPF)
	}
}

// Signatures are in the order of RFC 9990 section 3.1.3, and at most 100. Those without a readable domain or selector are omitted.
func TestSignatures(t *testing.T) {
	r := message()
	add := func(status dkim.Status, name, selector string) {
		r.Evidence.DKIM = append(r.Evidence.DKIM, dkim.Result{Status: status, Domain: name, Selector: selector})
	}
	r.Evidence.DKIM = nil
	add(dkim.Fail, "example.org", "broken")
	add(dkim.Pass, "list.example", "other")
	add(dkim.Pass, "mail.example.org", "relaxed")
	add(dkim.PermError, "", "s1")
	add(dkim.PermError, "example.org", "")
	add(dkim.Pass, "a...(cut)", "s1")
	add(dkim.Pass, "example.org", "strict")
	for range maxSignatures {
		add(dkim.TempError, "example.net", "s")
	}
	row := rowOf(t, r)
	var order []string
	for _, s := range row.Signatures[:5] {
		order = append(order, s.Selector)
	}
	if want := []string{"strict", "relaxed", "other", "broken", "s"}; !reflect.DeepEqual(order, want) || len(row.Signatures) != maxSignatures {
		t.Errorf("%v and %d in all", order, len(row.Signatures))
	}
}

// The domain of the envelope sender is in lower case. It is empty for the null sender, and SPF then checked the HELO name.
func TestEnvelopeFrom(t *testing.T) {
	for sender, want := range map[string]string{"": "", "ann@Example.ORG": "example.org", "@example.org": "example.org", `"a@b"@example.org`: "example.org",
		"ann@bücher.example": "xn--bcher-kva.example", "(left out)": "", "ann@[192.0.2.1]": "[192.0.2.1]", "ann@<&": "<&"} {
		r := message()
		r.Sender = sender
		if got := rowOf(t, r).EnvelopeFrom; got != want {
			t.Errorf("%q: %q, want %q", sender, got, want)
		}
	}
	r := message()
	r.Sender, r.Evidence.SPF = "", &spf.Result{Status: spf.Pass, Identity: spf.HELO, Domain: "mail.example.org"}
	if row := rowOf(t, r); row.SPFDomain != "mail.example.org" || !row.SPF {
		t.Errorf("%+v", row)
	}
	r.Client = netip.MustParseAddr("::ffff:192.0.2.1")
	if row := rowOf(t, r); row.Source.String() != "192.0.2.1" {
		t.Error(row.Source)
	}
}
