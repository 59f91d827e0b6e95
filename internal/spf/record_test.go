package spf_test

import (
	"errors"
	"testing"

	"signpost/internal/spf"
)

type recordCase struct {
	record string
	fault  spf.Fault // zero: none
}

func recordCases() []recordCase {
	return []recordCase{
		{"v=spf1", spf.Fault{}},
		{"V=SPF1 A  MX -ALL ", spf.Fault{}},
		{"v=spf1 a:%{d}/24//64 mx//0 a:foo:bar/baz.example.com ptr ip4:192.0.2.1/0 ip6:::1 exists:%{l1r-}.x.%% redirect=_spf.example.com. exp=e.%{o} x-new=%{c}", spf.Fault{}},
		{"v=spf1 ip4=192.0.2.1 -all", spf.Fault{}}, // section 12: an unknown modifier
		{"v=spf10 -all", spf.Fault{Cause: spf.VersionMissing}},
		{"v=spf1 a -Bogus:x -all", spf.Fault{Cause: spf.UnknownMechanism, Detail: "Bogus", Term: "-Bogus:x"}},
		{"v=spf1 -all -redirect=a.example", spf.Fault{Cause: spf.UnknownMechanism, Detail: "redirect=a.example", Term: "-redirect=a.example"}},
		{"v=spf1 all:x", spf.Fault{Cause: spf.TextAfterAll, Detail: ":x", Term: "all:x"}},
		{"v=spf1 include", spf.Fault{Cause: spf.DomainMissing, Term: "include"}},
		{"v=spf1 include:example.com/24", spf.Fault{Cause: spf.InvalidDomainName, Detail: "example.com/24", Term: "include:example.com/24"}},
		{"v=spf1 a:", spf.Fault{Cause: spf.InvalidDomainName, Term: "a:"}},
		{"v=spf1 a:museum", spf.Fault{Cause: spf.InvalidDomainName, Detail: "museum", Term: "a:museum"}},
		{"v=spf1 a:example.123", spf.Fault{Cause: spf.InvalidDomainName, Detail: "example.123", Term: "a:example.123"}},
		{"v=spf1 a:example.com/33", spf.Fault{Cause: spf.InvalidPrefixLength, Detail: "33", Term: "a:example.com/33"}},
		{"v=spf1 a/024", spf.Fault{Cause: spf.InvalidPrefixLength, Detail: "024", Term: "a/024"}},
		{"v=spf1 mx//129", spf.Fault{Cause: spf.InvalidPrefixLength, Detail: "129", Term: "mx//129"}},
		{"v=spf1 ip4:192.0.2.1/", spf.Fault{Cause: spf.InvalidPrefixLength, Term: "ip4:192.0.2.1/"}},
		{"v=spf1 ip4", spf.Fault{Cause: spf.AddressMissing, Term: "ip4"}},
		{"v=spf1 ip4:192.0.2.01", spf.Fault{Cause: spf.InvalidAddress, Detail: "192.0.2.01", Term: "ip4:192.0.2.01"}},
		{"v=spf1 ip4:::1", spf.Fault{Cause: spf.InvalidAddress, Detail: "::1", Term: "ip4:::1"}},
		{"v=spf1 ip6:fe80::1%eth0", spf.Fault{Cause: spf.InvalidAddress, Detail: "fe80::1%eth0", Term: "ip6:fe80::1%eth0"}},
		{"v=spf1 exists:%{d0}.x", spf.Fault{Cause: spf.InvalidMacro, Detail: "%{d0}.x", Term: "exists:%{d0}.x"}},
		{"v=spf1 exists:a%{c}.example.com", spf.Fault{Cause: spf.InvalidMacro, Detail: "%{c}.example.com", Term: "exists:a%{c}.example.com"}},
		{"v=spf1 exists:%(d).example.com", spf.Fault{Cause: spf.StrayPercent, Detail: "%(d).example.com", Term: "exists:%(d).example.com"}},
		{"v=spf1 exists:a.example%", spf.Fault{Cause: spf.StrayPercent, Detail: "%", Term: "exists:a.example%"}},
		{"v=spf1 exists:%{d", spf.Fault{Cause: spf.InvalidMacro, Detail: "%{d", Term: "exists:%{d"}},
		{"v=spf1 a:b\xc3\xbccher.example", spf.Fault{Cause: spf.InvalidCharacter, Term: "a:b\xc3\xbccher.example"}},
		{"v=spf1 a:x.example\tall", spf.Fault{Cause: spf.InvalidCharacter, Term: "a:x.example\tall"}},
		{"v=spf1 redirect=a.example redirect=b.example", spf.Fault{Cause: spf.RepeatedModifier, Detail: "redirect=", Term: "redirect=b.example"}},
		{"v=spf1 exp=a.example Exp=a.example", spf.Fault{Cause: spf.RepeatedModifier, Detail: "exp=", Term: "Exp=a.example"}},
		{"v=spf1 exp=", spf.Fault{Cause: spf.InvalidDomainName, Term: "exp="}},
		{"v=spf1 foo=%abc", spf.Fault{Cause: spf.StrayPercent, Detail: "%abc", Term: "foo=%abc"}},
	}
}

func TestParseRecord(t *testing.T) {
	for _, c := range recordCases() {
		_, err := spf.ParseRecord(c.record)
		var got spf.Fault
		if f := (*spf.Fault)(nil); errors.As(err, &f) {
			got = *f
		}
		if got != c.fault || (err == nil) != (c.fault.Cause == "") {
			t.Errorf("%q: %+v, %v", c.record, got, err)
		}
	}
}

// The text of a Fault names the term, its record and the lookup. Text that a terminal would not show unchanged is quoted.
func TestFaultError(t *testing.T) {
	for want, f := range map[string]spf.Fault{
		"version missing":                                                  {Cause: spf.VersionMissing},
		"several records: 2 (example.org)":                                 {Cause: spf.SeveralRecords, Detail: "2", RecordDomain: "example.org"},
		"invalid address: 192.0.2.300 (ip4:192.0.2.300)":                   {Cause: spf.InvalidAddress, Detail: "192.0.2.300", Term: "ip4:192.0.2.300"},
		"too many lookup terms (a:x.example of example.org)":               {Cause: spf.TooManyLookupTerms, Term: "a:x.example", RecordDomain: "example.org"},
		"lookup failed for x.example: SERVFAIL (a:x.example of a.example)": {Cause: spf.LookupFailed, Detail: "SERVFAIL", Name: "x.example", Term: "a:x.example", RecordDomain: "a.example"},
		"lookup failed for x.example: connection refused":                  {Cause: spf.LookupFailed, Detail: "connection_refused", Name: "x.example"},
		`unknown mechanism: "\x1b[1m" ("\x1b[1m")`:                         {Cause: spf.UnknownMechanism, Detail: "\x1b[1m", Term: "\x1b[1m"},
	} {
		if got := f.Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// If an accepted record is parsed and then written again, the result is the same record.
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

// A TXT record is almost an SPF record if a wrong character precedes or follows v=spf1: RFC 7208 section 4.5. v=spf10 is another version.
func TestNearRecord(t *testing.T) {
	for _, near := range []string{"v=spf1; -all", "v=spf1\t-all", "v=spf1\u00a0-all", " v=spf1 -all", `"v=spf1 -all"`, "V=SPF1,a", "v=spf1ip4:192.0.2.1"} {
		if got := spf.NearRecord([]string{"other", near}); got != near {
			t.Errorf("%q: %q", near, got)
		}
	}
	if got := spf.NearRecord([]string{"v=spf1 -all", "v=spf1", "v=spf10 -all", "v=spf2.0/pra -all", "spf1", ""}); got != "" {
		t.Errorf("%q", got)
	}
}

// An unknown modifier with the name of a mechanism was probably meant to be that mechanism.
func TestMeantMechanism(t *testing.T) {
	for modifier, want := range map[string]string{"ip4=192.0.2.1": "ip4:192.0.2.1", "Include=a.example": "Include:a.example", "ra=postmaster": "", "all=": ""} {
		if got := spf.MeantMechanism(modifier); got != want {
			t.Errorf("%s: %q, want %q", modifier, got, want)
		}
	}
}
