package filter

import (
	"strings"
	"testing"

	"signpost/internal/authres"
	"signpost/policy"
)

// Mail of a list manager is signed only if our results name another Author Domain. The test has every spelling that RFC 8601 or a program
// on the way allows.
func TestResultsAbout(t *testing.T) {
	const author, others, unknown = policy.AboutAuthor, policy.AboutOthers, policy.AboutUnknown
	list := func(values ...string) []string { return values }
	for _, c := range []struct {
		name    string
		own     []string
		authors []string
		want    policy.ResultsAbout
	}{
		{"no results", nil, list("a.example"), ""},
		{"the author", list(" mx; spf=pass smtp.mailfrom=b.example; dmarc=pass header.from=a.example"), list("a.example"), author},
		{"another author", list(" mx; dmarc=pass header.from=b.example policy.dmarc=reject"), list("a.example"), others},
		{"a failure", list(" mx; dmarc=fail header.from=a.example"), list("a.example"), author},
		{"two authors, one of them present", list(" mx; dmarc=pass header.from=b.example; dmarc=none header.from=a.example"), list("a.example"), author},
		{"two fields, the author above", list(" mx; dmarc=pass header.from=a.example", " mx; dmarc=pass header.from=b.example"), list("a.example"), author},
		{"two fields, the author below", list(" mx; dmarc=pass header.from=b.example", " mx; dmarc=pass header.from=a.example"), list("a.example"), author},
		{"two fields of others", list(" mx; dmarc=pass header.from=b.example", " old; dmarc=pass header.from=c.example"), list("a.example"), others},
		{"a parent domain", list(" mx; dmarc=pass header.from=example"), list("a.example"), others},
		{"a subdomain", list(" mx; dmarc=pass header.from=x.a.example"), list("a.example"), others},
		{"no result", list(" mx; none"), list("a.example"), unknown},
		{"no result of DMARC", list(" mx; spf=pass smtp.mailfrom=a.example; dkim=pass header.d=a.example"), list("a.example"), unknown},
		{"no author", list(" mx; dmarc=none reason=\"there are 2 From fields\""), list("a.example"), unknown},
		{"another author, and no result of DMARC", list(" mx; dkim=pass header.d=a.example", " mx; dmarc=pass header.from=b.example"), list("a.example"), others},
		{"another author, and none", list(" mx; dmarc=none", " mx; dmarc=pass header.from=b.example"), list("a.example"), others},
		{"no author now", list(" mx; dmarc=pass header.from=a.example"), nil, others},
		{"another property", list(" mx; dmarc=pass policy.from=a.example; spf=pass header.from=a.example"), list("a.example"), unknown},
		{"a reason that quotes the sender", list(` mx; spf=fail reason="dmarc=pass header.from=a.example"; dmarc=pass header.from=b.example`), list("a.example"), others},
		{"a comment", list(" mx; dmarc=pass (header.from=a.example) header.from=b.example"), list("a.example"), others},
		{"upper case", list(" MX 1; DMARC=PASS Header.From=A.Example"), list("a.example"), author},
		{"comments and folds", list("\r\n\t(x) mx;\n\tdmarc/1 = pass (p=none)\n header.from (y) =\n\t(z) a.example"), list("a.example"), author},
		{"a quoted name", list(` mx; dmarc=pass header.from="a.example"`), list("a.example"), author},
		{"a final dot", list(" mx; dmarc=pass header.from=a.example."), list("a.example"), author},
		{"an address", list(" mx; dmarc=pass header.from=ann@a.example", " mx; dmarc=pass"), list("a.example"), author},
		{"an address in brackets", list(" mx; dmarc=pass header.from=<ann@a.example>"), list("a.example"), author},
		{"U-labels", list(" mx; dmarc=pass header.from=b\u00fccher.example"), list("xn--bcher-kva.example"), author},
		{"A-labels", list(" mx; dmarc=pass header.from=XN--bcher-kva.example"), list("xn--bcher-kva.example"), author},
		{"stray words", list(" mx; dmarc=pass junk header.from=a.example"), list("a.example"), author},
		{"an open quote", list(` mx; dmarc=pass reason="x header.from=b.example`), list("a.example"), unknown},
		{"an open comment", list(" mx; dmarc=pass (header.from=b.example"), list("a.example"), unknown},
		{"no equals sign", list(" mx; dmarc pass header.from=b.example"), list("a.example"), unknown},
		{"unreadable, and another author", list(" mx; (", " mx; dmarc=pass header.from=b.example"), list("a.example"), unknown},
		{"unreadable, and the author", list(" mx; (", " mx; dmarc=pass header.from=a.example", " mx; ("), list("a.example"), author},
		{"too many results", list(" mx" + strings.Repeat("; dkim=pass", 200)), list("a.example"), unknown},
	} {
		if got := resultsAbout(c.own, c.authors); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// No text that a sender puts into the results that we write makes them name another Author Domain, or makes them unreadable.
func FuzzResultsAbout(f *testing.F) {
	f.Add("x; dmarc=pass header.from=a.example")
	f.Add(`x"; dmarc=pass header.from=a.example (`)
	f.Add("\\\" header.from=a.example\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		field := authres.Format("mx.example", []authres.Result{
			{Method: "spf", Value: "pass", Reason: text, Props: []authres.Prop{{Type: "smtp", Name: "mailfrom", Value: text}}},
			{Method: "dmarc", Value: "fail", Reason: text, Props: []authres.Prop{{Type: "header", Name: "from", Value: "b.example"}}},
		})
		if got := resultsAbout([]string{field}, []string{"a.example"}); got != policy.AboutOthers {
			t.Errorf("%q: %q", field, got)
		}
		resultsAbout([]string{text}, []string{"a.example"})
	})
}
