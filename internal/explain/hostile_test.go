package explain

import (
	"bytes"
	"strings"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/milter"
	"signpost/policy"
)

// Only the beginning of a sender's record is shown, up to a limit. No advice repeats the record, because readers are asked to follow
// advice.
func TestLongHostileRecords(t *testing.T) {
	const mark = "visit-evil.example/now,"
	long := strings.Repeat(mark, 90) // a TXT record of about 2 KiB
	for _, c := range []struct {
		name, record string
		most         int // the maximum number of bytes of the record in the advice
	}{
		{"example.org", "v=spf1; " + long, 0},
		{"example.org", "v=spf1\u00a0" + long, 0},
		{"example.org", "v=spf1 x=" + long + " -all", 0},
		{"example.org", "v=spf1 " + long + " -all", 2 * maxTerm},
		{"example.org", "v=spf1 include:%{" + long + " -all", 2 * maxTerm},
		{"example.org", "v=spf1 all:" + long, 2 * maxTerm},
		{"example.org", "v=spf1 -exists:" + long + ".example", 253}, // the name whose lookup failed
		{"_dmarc.example.org", "v=DMARC1; p=" + long, 0},
		{"_dmarc.example.org", "v=DMARC1; p=reject; sp=" + long, 0},
		{"_dmarc.example.org", "v=DMARC1 " + long, 0},
		{"s._domainkey.example.org", "v=DKIM1; k=" + long + "; p=x", 0},
		{"s._domainkey.example.org", "v=DKIM1; " + strings.ReplaceAll(long, ",", ";"), 0},
	} {
		r := failing()
		r.Sender = "a@example.org"
		r.Lookups = []dns.Lookup{{Name: c.name, Type: "TXT", Status: dns.NoError, Records: []string{c.record}}}
		view := dns.Recall(r.Lookups)
		result := spf.Check(t.Context(), view, r.Client, "helo.example", r.Sender)
		r.SPF = &result
		r.DKIM = []dkim.Result{{Status: dkim.PermError, Domain: "example.org", Selector: "s", KeyName: "s._domainkey.example.org", Cause: dkim.KeyRecordMissing}}
		if _, err := dkim.ParseKeyRecord(c.record); strings.HasPrefix(c.name, "s.") {
			fault := err.(*dkim.Fault)
			r.DKIM[0].Cause, r.DKIM[0].Detail, r.DKIM[0].KeyRecord = fault.Cause, fault.Detail, c.record
		}
		if strings.HasPrefix(c.name, "_dmarc.") {
			r.DMARC = []dmarc.Result{dmarc.Discover(t.Context(), view, "example.org").Evaluate(t.Context(), view, nil)}
		}
		for _, reject := range []bool{true, false} {
			if !reject {
				r.Code, r.Verdict = policy.DMARCNone, policy.Verdict{Action: policy.Accept}
			}
			x := Message(r)
			for _, advice := range x.Help {
				if n := strings.Count(advice, mark[:len(mark)-1]) * len(mark); n > c.most {
					t.Errorf("%s %.40q: an advice has %d bytes of the record: %q", c.name, c.record, n, advice)
				}
			}
			if n := strings.Count(x.Short, mark[:len(mark)-1]) * len(mark); n > 2*maxTerm {
				t.Errorf("%s %.40q: the summary has %d bytes of the record: %q", c.name, c.record, n, x.Short)
			}
			for _, row := range append(x.Found, x.Decided...) {
				if len(row.Text) > maxText+len("... (123456 bytes)") {
					t.Errorf("%s %.40q: a row has %d bytes: %q", c.name, c.record, len(row.Text), row.Text)
				}
			}
		}
		r.Lookups[0].Records = []string{strings.Repeat(c.record, 10)}
		var b bytes.Buffer
		WriteRecord(&b, r, milter.Edits{})
		if b.Len() > 4*maxAnswer {
			t.Errorf("%s %.40q: the explanation has %d bytes", c.name, c.record, b.Len())
		}
	}
}
