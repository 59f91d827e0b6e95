package policy

import (
	"slices"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// Each of our results is compared with the result of another filter. A result that the other filter does not report is missing, not
// different.
func TestCompare(t *testing.T) {
	e := Evidence{
		SPF: &spf.Result{Status: spf.SoftFail, Identity: spf.MailFrom, Domain: "example.com", Cause: spf.TermMatched, Term: "~all"},
		DKIM: []dkim.Result{{Status: dkim.Pass, Domain: "example.com", Selector: "s", Signature: "AbCdEfGh12"},
			{Status: dkim.Policy, Domain: "list.example", Selector: "s", Signature: "ZZ", Cause: dkim.BodyPartlySigned, Detail: "9"}},
		DMARC: []dmarc.Result{{Status: dmarc.Pass, Domain: "mail.example.com", OrgDomain: "example.com", Aligned: &dmarc.AlignedIdentifier{Method: dmarc.DKIM, Domain: "example.com"}}},
	}
	same := []Other{{Method: "spf", Result: "softfail", Domain: "example.com"}, {Method: "dkim", Result: "pass", Domain: "example.com", Signature: "AbCdEfGh"},
		{Method: "dkim", Result: "policy", Domain: "list.example"}, {Method: "dmarc", Result: "pass", Domain: "mail.example.com"}}
	pass, softfail := Side{Result: "pass"}, Side{Result: "softfail", Cause: "term_matched", Detail: "~all"}
	partly := Side{Result: "policy", Cause: "body_partly_signed", Detail: "9"}
	aligned := Side{Result: "pass", Aligned: "example.com", Org: "example.com"}
	for _, c := range []struct {
		name string
		say  func(o []Other) []Other
		want []Difference
	}{
		{"nothing", func([]Other) []Other { return nil }, nil},
		{"the same", func(o []Other) []Other { return o }, nil},
		{"only DKIM", func(o []Other) []Other { return o[1:3] }, nil},
		{"another SPF", func(o []Other) []Other { o[0].Result = "hardfail"; return o }, []Difference{{"spf", "example.com", softfail, Side{Result: "fail"}}}},
		{"SPF of HELO", func(o []Other) []Other { o[0].HELO, o[0].Result = true, "pass"; return o }, nil},
		{"SPF of another domain", func(o []Other) []Other { o[0].Domain = "x.example"; return o }, []Difference{{"spf", "example.com", softfail, Side{Result: "softfail", Domain: "x.example"}}}},
		{"DKIM fails there", func(o []Other) []Other { o[1].Result, o[1].Reason = "fail", "bad"; return o }, []Difference{{"dkim", "example.com/s", pass, Side{Result: "fail", Detail: "bad"}}}},
		{"a signature that the other filter does not report", func(o []Other) []Other { return slices.Delete(o, 2, 3) }, []Difference{{"dkim", "list.example/s", partly, Side{}}}},
		{"a signature that we do not report", func(o []Other) []Other {
			return append(o, Other{Method: "dkim", Result: "pass", Domain: "other.example", Selector: "t"})
		}, []Difference{{"dkim", "other.example/t", Side{}, Side{Result: "pass"}}}},
		{"no signature there", func(o []Other) []Other { o[1] = Other{Method: "dkim", Result: "none"}; return slices.Delete(o, 2, 3) },
			[]Difference{{"dkim", "example.com/s", pass, Side{}}, {"dkim", "list.example/s", partly, Side{}}}},
		{"DMARC fails there", func(o []Other) []Other { o[3].Result = "fail"; return o },
			[]Difference{{"dmarc", "mail.example.com", aligned, Side{Result: "fail"}}}},
		{"DMARC of another domain", func(o []Other) []Other { o[3].Domain = "example.com"; return o },
			[]Difference{{"dmarc", "mail.example.com", aligned, Side{Result: "pass", Domain: "example.com"}}}},
	} {
		e.Others = c.say(slices.Clone(same))
		got := Compare(e).Different
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	e.Others = same[1:3]
	if got := Compare(e); !slices.Equal(got.Same, []string{"dkim"}) || !slices.Equal(got.Missing, []string{"spf", "dmarc"}) || len(got.Different) > 0 {
		t.Errorf("%+v", got)
	}
	doubtful := Evidence{SPF: &spf.Result{Status: spf.None}, Author: dmarc.Author{Cause: dmarc.FromSeveral, Detail: "2"}, Others: []Other{{Method: "dmarc", Result: "pass", Domain: "example.com"}}}
	want := []Difference{{"dmarc", "example.com", Side{Result: "none", Cause: "from_several", Detail: "2"}, pass}}
	if got := Compare(doubtful).Different; !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
