package dmarc_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"signpost/internal/dmarc"
)

// faulty has one TXT record for each name. Lookups of names that begin with slow fail. The answers for names that begin with odd cannot
// be used.
type faulty map[string]string

func (f faulty) LookupTXT(_ context.Context, name string) ([]string, error) {
	domain := strings.TrimPrefix(name, "_dmarc.")
	switch {
	case strings.HasPrefix(domain, "slow"):
		return nil, &net.DNSError{Err: "SERVFAIL", Name: name + ".", IsTemporary: true}
	case strings.HasPrefix(domain, "odd"):
		return nil, &net.DNSError{Err: "too long", Name: name + "."}
	case f[domain] == "":
		return nil, &net.DNSError{Err: "NXDOMAIN", Name: name + ".", IsNotFound: true}
	}
	return strings.Split(f[domain], "|"), nil
}

func (f faulty) Exists(_ context.Context, name string) (bool, error) {
	if strings.HasPrefix(name, "a.slow") {
		return false, &net.DNSError{Err: "timeout", Name: name + ".", IsTimeout: true, IsTemporary: true}
	}
	return !strings.HasPrefix(name, "gone"), nil
}

func (f faulty) Remembered(string) []string { return nil }

// resultCase is one evaluation and its result. want has Status, Cause, Detail, IdentifierDomain and Failed.
type resultCase struct {
	author string
	id     dmarc.Identifier
	want   dmarc.Result
}

func resultCases() []resultCase {
	dkim := func(domain string) dmarc.Identifier { return dmarc.Identifier{Method: dmarc.DKIM, Domain: domain} }
	return []resultCase{
		{"example.org", dkim("example.org"), dmarc.Result{Status: dmarc.Pass}},
		{"example.org", dkim("example.net"), dmarc.Result{Status: dmarc.Fail, Cause: dmarc.NoAlignedIdentifierPassed}},
		{"none.example", dkim("none.example"), dmarc.Result{Status: dmarc.None, Cause: dmarc.NoRecord}},
		{"two.example", dkim("two.example"), dmarc.Result{Status: dmarc.None, Cause: dmarc.NoRecord}},
		{"wrong.example", dkim("wrong.example"), dmarc.Result{Status: dmarc.None, Cause: dmarc.PolicyTagInvalid, Detail: "p=rejct"}},
		{"no-p.example", dkim("no-p.example"), dmarc.Result{Status: dmarc.None, Cause: dmarc.PolicyTagMissing}},
		{"slow.example", dkim("slow.example"), dmarc.Result{Status: dmarc.TempError, Cause: dmarc.PolicyLookupFailed, Detail: "SERVFAIL", Failed: "_dmarc.slow.example"}},
		{"a.slow.example.org", dkim("example.net"), dmarc.Result{Status: dmarc.TempError, Cause: dmarc.PolicyLookupFailed, Detail: "SERVFAIL", Failed: "_dmarc.slow.example.org"}},
		{"odd.example", dkim("odd.example"), dmarc.Result{Status: dmarc.PermError, Cause: dmarc.PolicyLookupUnusable, Detail: "too long", Failed: "_dmarc.odd.example"}},
		{"example.org", dkim("slow.example.org"), dmarc.Result{Status: dmarc.TempError, Cause: dmarc.OrganizationLookupFailed, Detail: "SERVFAIL",
			IdentifierDomain: "slow.example.org", Failed: "_dmarc.slow.example.org"}},
		{"example.org", dmarc.Identifier{Method: dmarc.DKIM, Domain: "example.org", Open: true, Failed: "s._domainkey.example.org"},
			dmarc.Result{Status: dmarc.TempError, Cause: dmarc.KeyLookupFailed, IdentifierDomain: "example.org", Failed: "s._domainkey.example.org"}},
		{"example.org", dmarc.Identifier{Method: dmarc.SPF, Domain: "mail.example.org", Open: true, Failed: "_spf.example.net"},
			dmarc.Result{Status: dmarc.TempError, Cause: dmarc.SPFLookupFailed, IdentifierDomain: "mail.example.org", Failed: "_spf.example.net"}},
	}
}

func faultyZone() faulty {
	return faulty{"example.org": "v=DMARC1; p=reject", "two.example": "v=DMARC1; p=none|v=DMARC1; p=reject", "wrong.example": "v=DMARC1; p=rejct",
		"no-p.example": "v=DMARC1; sp=none"}
}

// A Result that is not a pass has a cause. After a failed lookup, the Result also has the DNS status, the name and the method.
func TestCauses(t *testing.T) {
	methods := map[dmarc.Cause]dmarc.Method{dmarc.PolicyLookupFailed: dmarc.DNS, dmarc.PolicyLookupUnusable: dmarc.DNS,
		dmarc.OrganizationLookupFailed: dmarc.DNS, dmarc.KeyLookupFailed: dmarc.DKIM, dmarc.SPFLookupFailed: dmarc.SPF}
	for _, c := range resultCases() {
		r := dmarc.Discover(t.Context(), faultyZone(), c.author).Evaluate(t.Context(), faultyZone(), []dmarc.Identifier{c.id})
		got := dmarc.Result{Status: r.Status, Cause: r.Cause, Detail: r.Detail, IdentifierDomain: r.IdentifierDomain, Failed: r.Failed}
		if got != c.want || r.FailedMethod() != methods[c.want.Cause] {
			t.Errorf("%s, %+v\ngot  %+v, %q\nwant %+v", c.author, c.id, got, r.FailedMethod(), c.want)
		}
	}
}

// Each step of a walk contains the outcome of its lookup.
func TestExplain(t *testing.T) {
	zone := faultyZone()
	zone["a.slow.np.example"], zone["np.example"], zone["example"] = "", "v=DMARC1; p=none; np=reject", "x|v=DMARC1; p=none|v=DMARC1; p=none"
	for _, c := range []struct {
		author string
		cause  dmarc.Cause
		want   []dmarc.Step
	}{
		{"gone.np.example", "", []dmarc.Step{
			{Name: "_dmarc.gone.np.example", Outcome: dmarc.RecordNone},
			{Name: "_dmarc.np.example", Outcome: dmarc.RecordFound, Record: "v=DMARC1; p=none; np=reject"},
			{Name: "_dmarc.example", Outcome: dmarc.RecordNone, Cause: dmarc.SeveralRecords, Detail: "2"},
			{Name: "gone.np.example", Outcome: dmarc.NameMissing},
		}},
		{"a.np.example", "", []dmarc.Step{
			{Name: "_dmarc.a.np.example", Outcome: dmarc.RecordNone},
			{Name: "_dmarc.np.example", Outcome: dmarc.RecordFound, Record: "v=DMARC1; p=none; np=reject"},
			{Name: "_dmarc.example", Outcome: dmarc.RecordNone, Cause: dmarc.SeveralRecords, Detail: "2"},
			{Name: "a.np.example", Outcome: dmarc.NameExists},
		}},
		{"a.slow.np.example", dmarc.OrganizationLookupFailed, []dmarc.Step{
			{Name: "_dmarc.a.slow.np.example", Outcome: dmarc.RecordNone},
			{Name: "_dmarc.slow.np.example", Outcome: dmarc.LookupFailed, Detail: "SERVFAIL"},
			{Name: "_dmarc.np.example", Outcome: dmarc.RecordFound, Record: "v=DMARC1; p=none; np=reject"},
			{Name: "_dmarc.example", Outcome: dmarc.RecordNone, Cause: dmarc.SeveralRecords, Detail: "2"},
			{Name: "a.slow.np.example", Outcome: dmarc.LookupFailed, Detail: "timeout"},
		}},
	} {
		result, steps := dmarc.Explain(t.Context(), zone, c.author)
		if result.Cause != c.cause {
			t.Errorf("%s: %+v", c.author, result)
		}
		if len(steps) != len(c.want) {
			t.Fatalf("%s: %+v", c.author, steps)
		}
		for i, want := range c.want {
			if steps[i] != want {
				t.Errorf("%s\ngot  %+v\nwant %+v", c.author, steps[i], want)
			}
		}
	}
}

// The text of a Fault is its cause as a phrase, and its detail.
func TestFaultError(t *testing.T) {
	if got := (&dmarc.Fault{Cause: dmarc.PolicyTagInvalid, Detail: "p=rejct"}).Error(); got != "policy tag invalid: p=rejct" {
		t.Error(got)
	}
}

// Each cause occurs in a case.
func TestEachCauseOccurs(t *testing.T) {
	seen := map[dmarc.Cause]bool{dmarc.SeveralRecords: true} // in TestExplain
	for _, c := range stepCases() {
		seen[c.step.Cause] = true
	}
	for _, c := range resultCases() {
		seen[c.want.Cause] = true
	}
	for _, cause := range dmarc.Causes() {
		if !seen[cause] {
			t.Errorf("%s occurs in no case", cause)
		}
		delete(seen, cause)
	}
	if delete(seen, ""); len(seen) > 0 {
		t.Errorf("Causes does not return %v", seen)
	}
}
