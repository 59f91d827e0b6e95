package spf_test

import (
	"strings"
	"testing"

	"signpost/internal/spf"
)

func TestParseRecord(t *testing.T) {
	for _, c := range []struct{ record, refused string }{
		{"v=spf1", ""},
		{"V=SPF1 A  MX -ALL ", ""},
		{"v=spf1 a:%{d}/24//64 mx//0 a:foo:bar/baz.example.com ptr ip4:192.0.2.1/0 ip6:::1 exists:%{l1r-}.x.%% redirect=_spf.example.com. exp=e.%{o} x-new=%{c}", ""},
		{"v=spf1 ip4=192.0.2.1 -all", ""}, // section 12: an unknown modifier
		{"v=spf10 -all", "does not begin"},
		{"v=spf1 bogus -all", `"bogus": there is no such mechanism`},
		{"v=spf1 -all -redirect=a.example", "no such mechanism"},
		{"v=spf1 all:x", "nothing may follow"},
		{"v=spf1 include", "a colon"},
		{"v=spf1 include:example.com/24", "no domain name"},
		{"v=spf1 a:", "no domain name"},
		{"v=spf1 a:museum", "no domain name"},
		{"v=spf1 a:example.123", "no domain name"},
		{"v=spf1 a:example.com/33", "0 to 32"},
		{"v=spf1 a/024", "0 to 32"},
		{"v=spf1 mx//129", "0 to 128"},
		{"v=spf1 ip4:192.0.2.1/", "0 to 32"},
		{"v=spf1 ip4:192.0.2.01", "no address"},
		{"v=spf1 ip4:::1", "no address"},
		{"v=spf1 ip6:fe80::1%eth0", "no address"},
		{"v=spf1 exists:%{d0}.x", "no macro"},
		{"v=spf1 exists:%{c}.example.com", "no macro"},
		{"v=spf1 exists:%(d).example.com", "begin a macro"},
		{"v=spf1 exists:%{d", "no macro"},
		{"v=spf1 a:b\xc3\xbccher.example", "ASCII"},
		{"v=spf1 a:x.example\tall", "ASCII"},
		{"v=spf1 redirect=a.example redirect=a.example", "redirect= stands twice"},
		{"v=spf1 exp=a.example exp=a.example", "exp= stands twice"},
		{"v=spf1 exp=", "no domain name"},
		{"v=spf1 foo=%abc", "begin a macro"},
	} {
		_, err := spf.ParseRecord(c.record)
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%q: %v", c.record, err)
		}
	}
}

// A record that is accepted is the same one when it is written again from what was read.
func FuzzParseRecord(f *testing.F) {
	f.Add("v=spf1 a:%{d}/24//64 mx -ip4:192.0.2.0/24 ?ip6:2001:db8::/32 ~exists:%{ir}.%{v}._spf.%{d2} redirect=_spf.example.com")
	f.Add("v=spf1 exp=e.example x=%{t} a:a:b/c.example ptr all")
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := spf.ParseRecord(txt)
		if err != nil {
			return
		}
		again := "v=spf1"
		for _, d := range r.Directives {
			if (d.Mechanism == spf.IP4 || d.Mechanism == spf.IP6) != d.Network.IsValid() {
				t.Fatalf("%+v", d)
			}
			again += " " + d.Text
		}
		if r.Redirect != "" {
			again += " redirect=" + string(r.Redirect)
		}
		if _, err := spf.ParseRecord(again); err != nil {
			t.Fatalf("%q: %v", again, err)
		}
	})
}
