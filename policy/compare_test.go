package policy

import (
	"slices"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// What another filter wrote is held against what was found here, result by result; what it does not say is no difference.
func TestCompare(t *testing.T) {
	e := Evidence{
		SPF: &spf.Result{Status: spf.SoftFail, Identity: spf.MailFrom, Domain: "example.com", Reason: "it matched ~all"},
		DKIM: []dkim.Result{{Status: dkim.Pass, Domain: "example.com", Selector: "s", Signature: "AbCdEfGh12"},
			{Status: dkim.Policy, Domain: "list.example", Selector: "s", Signature: "ZZ", Reason: "l= leaves 9 octets"}},
		DMARC: []dmarc.Result{{Status: dmarc.Pass, Domain: "mail.example.com", OrgDomain: "example.com", Aligned: "dkim example.com"}},
	}
	same := []Other{{Method: "spf", Result: "softfail", Domain: "example.com"}, {Method: "dkim", Result: "pass", Domain: "example.com", Signature: "AbCdEfGh"},
		{Method: "dkim", Result: "policy", Domain: "list.example"}, {Method: "dmarc", Result: "pass", Domain: "mail.example.com"}}
	for _, c := range []struct {
		name string
		say  func(o []Other) []Other
		want []string
	}{
		{"nothing", func([]Other) []Other { return nil }, nil},
		{"the same", func(o []Other) []Other { return o }, nil},
		{"only DKIM", func(o []Other) []Other { return o[1:3] }, nil},
		{"another SPF", func(o []Other) []Other { o[0].Result = "hardfail"; return o }, []string{"spf example.com: softfail (it matched ~all) here, fail there"}},
		{"SPF of HELO", func(o []Other) []Other { o[0].HELO, o[0].Result = true, "pass"; return o }, nil},
		{"SPF of another domain", func(o []Other) []Other { o[0].Domain = "x.example"; return o }, []string{"spf example.com: softfail (it matched ~all) here, softfail for x.example there"}},
		{"DKIM fails there", func(o []Other) []Other { o[1].Result, o[1].Reason = "fail", "bad"; return o }, []string{"dkim example.com/s: pass here, fail (bad) there"}},
		{"a signature that they do not have", func(o []Other) []Other { return slices.Delete(o, 2, 3) }, []string{"dkim list.example/s: policy (l= leaves 9 octets) here, no result there"}},
		{"a signature that we do not have", func(o []Other) []Other {
			return append(o, Other{Method: "dkim", Result: "pass", Domain: "other.example", Selector: "t"})
		}, []string{"dkim other.example/t: no such signature here, pass there"}},
		{"no signature there", func(o []Other) []Other { o[1] = Other{Method: "dkim", Result: "none"}; return slices.Delete(o, 2, 3) },
			[]string{"dkim example.com/s: pass here, no result there", "dkim list.example/s: policy (l= leaves 9 octets) here, no result there"}},
		{"DMARC fails there", func(o []Other) []Other { o[3].Result = "fail"; return o },
			[]string{"dmarc mail.example.com: pass (aligned: dkim example.com; Organizational Domain example.com) here, fail there"}},
		{"DMARC of another domain", func(o []Other) []Other { o[3].Domain = "example.com"; return o },
			[]string{"dmarc mail.example.com: pass (aligned: dkim example.com; Organizational Domain example.com) here, pass for example.com there"}},
	} {
		e.Others = c.say(slices.Clone(same))
		var got []string
		for _, d := range Compare(e) {
			got = append(got, d.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	doubtful := Evidence{Author: dmarc.Author{Doubt: "there are 2 From fields"}, Others: []Other{{Method: "dmarc", Result: "pass", Domain: "example.com"}}}
	if got := Compare(doubtful); len(got) != 1 || got[0].String() != "dmarc example.com: none (there are 2 From fields) here, pass there" {
		t.Errorf("%v", got)
	}
}
