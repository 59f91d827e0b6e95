package spf_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/spf"
)

// faulty is a zone in which two names cannot be looked up.
type faulty struct{ spf.Resolver }

func failure(name string) error {
	switch {
	case name == "slow.example":
		return &net.DNSError{Err: "SERVFAIL", Name: name + ".", IsTemporary: true}
	case name == "odd.example":
		return &net.DNSError{Err: "too long", Name: name + "."}
	}
	return nil
}

func (f faulty) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := failure(name); err != nil {
		return nil, err
	}
	return f.Resolver.LookupTXT(ctx, name)
}

func (f faulty) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	if err := failure(name); err != nil {
		return nil, err
	}
	return f.Resolver.LookupA(ctx, name)
}

const faultyZone = `
example.com. TXT "v=spf1 ip4:192.0.2.0/24 ?ip4:198.51.100.1 ~all"
open.example. TXT "v=spf1 a:mail.example"
mail.example. A 192.0.2.1
moved.example. TXT "v=spf1 redirect=open.example"
two.example. TXT "v=spf1 -all"
two.example. TXT "v=spf1 +all"
wrong.example. TXT "v=spf1 a ip4:192.0.2.300 -all"
in-wrong.example. TXT "v=spf1 include:wrong.example -all"
in-two.example. TXT "v=spf1 include:two.example -all"
in-none.example. TXT "v=spf1 include:%{l}.none.example -all"
to-none.example. TXT "v=spf1 redirect=none.example"
near.example. TXT "v=spf1; ip4:203.0.113.9; -all"
equals.example. TXT "v=spf1 ip4=203.0.113.9 -all"
in-slow.example. TXT "v=spf1 include:slow.example -all"
a-slow.example. TXT "v=spf1 mx:mail.example a:slow.example -all"
a-odd.example. TXT "v=spf1 exists:odd.example -all"
in-a-slow.example. TXT "v=spf1 include:a-slow.example -all"
void.example. TXT "v=spf1 a:x.example a:y.example a:z.example -all"
loop.example. TXT "v=spf1 include:loop.example -all"
mx.example. TXT "v=spf1 mx:many.example -all"
`

// causeCase is a check of 203.0.113.9 and its result. want does not include Identity, Domain and Record.
type causeCase struct {
	sender string
	want   spf.Result
}

func causeCases() []causeCase {
	return []causeCase{
		{"ann@example.com", spf.Result{Status: spf.SoftFail, Cause: spf.TermMatched, Term: "~all", RecordDomain: "example.com"}},
		{"ann", spf.Result{Status: spf.None, Cause: spf.NoDomain}},
		{"ann@none.example", spf.Result{Status: spf.None, Cause: spf.NoRecord}},
		{"ann@open.example", spf.Result{Status: spf.Neutral, Cause: spf.NoTermMatched, RecordDomain: "open.example"}},
		{"ann@moved.example", spf.Result{Status: spf.Neutral, Cause: spf.NoTermMatched, RecordDomain: "open.example"}},
		{"ann@two.example", spf.Result{Status: spf.PermError, Cause: spf.SeveralRecords, Detail: "2", RecordDomain: "two.example"}},
		{"ann@in-two.example", spf.Result{Status: spf.PermError, Cause: spf.SeveralRecords, Detail: "2", RecordDomain: "two.example"}},
		{"ann@wrong.example", spf.Result{Status: spf.PermError, Cause: spf.InvalidAddress, Detail: "192.0.2.300", Term: "ip4:192.0.2.300", RecordDomain: "wrong.example"}},
		{"ann@in-wrong.example", spf.Result{Status: spf.PermError, Cause: spf.InvalidAddress, Detail: "192.0.2.300", Term: "ip4:192.0.2.300", RecordDomain: "wrong.example"}},
		{"ann@in-none.example", spf.Result{Status: spf.PermError, Cause: spf.IncludeNoRecord, Detail: "ann.none.example", Term: "include:%{l}.none.example", RecordDomain: "in-none.example"}},
		{"ann@to-none.example", spf.Result{Status: spf.PermError, Cause: spf.RedirectNoRecord, Detail: "none.example", Term: "redirect=none.example", RecordDomain: "to-none.example"}},
		{"ann@slow.example", spf.Result{Status: spf.TempError, Cause: spf.LookupFailed, Detail: "SERVFAIL", Failed: "slow.example"}},
		{"ann@odd.example", spf.Result{Status: spf.PermError, Cause: spf.LookupUnusable, Detail: "too long", Failed: "odd.example"}},
		{"ann@in-slow.example", spf.Result{Status: spf.TempError, Cause: spf.LookupFailed, Detail: "SERVFAIL", Term: "include:slow.example", RecordDomain: "in-slow.example", Failed: "slow.example"}},
		{"ann@in-a-slow.example", spf.Result{Status: spf.TempError, Cause: spf.LookupFailed, Detail: "SERVFAIL", Term: "a:slow.example", RecordDomain: "a-slow.example", Failed: "slow.example"}},
		{"ann@a-odd.example", spf.Result{Status: spf.PermError, Cause: spf.LookupUnusable, Detail: "too long", Term: "exists:odd.example", RecordDomain: "a-odd.example", Failed: "odd.example"}},
		{"ann@void.example", spf.Result{Status: spf.PermError, Cause: spf.TooManyVoidLookups, Term: "a:z.example", RecordDomain: "void.example"}},
		{"ann@loop.example", spf.Result{Status: spf.PermError, Cause: spf.TooManyLookupTerms, Term: "include:loop.example", RecordDomain: "loop.example"}},
		{"ann@mx.example", spf.Result{Status: spf.PermError, Cause: spf.TooManyMX, Detail: "many.example", Term: "mx:many.example", RecordDomain: "mx.example"}},
	}
}

// If a check does not pass, its Result has the cause and the deciding term, which may be in an included record.
func TestCauses(t *testing.T) {
	zone := faultyZone
	for i := range 11 {
		zone += "many.example. MX 1 m" + string(rune('a'+i)) + ".example.\n"
	}
	parsed, err := dns.ParseZone(strings.NewReader(zone), "zone")
	if err != nil {
		t.Fatal(err)
	}
	r := faulty{parsed.Resolver(time.Now, slog.New(slog.DiscardHandler)).View(netip.Addr{})}
	for _, c := range causeCases() {
		got, path := spf.Trace(t.Context(), r, netip.MustParseAddr("203.0.113.9"), "x", c.sender)
		c.want.Identity, c.want.Domain, c.want.Record = got.Identity, got.Domain, got.Record
		if got != c.want {
			t.Errorf("%s\ngot  %+v\nwant %+v", c.sender, got, c.want)
		}
		if got.Status != spf.TempError && got.Status != spf.PermError {
			continue
		}
		// The step that ended the check has the same cause. The steps that lead to that step have the outcome EndedBelow.
		ended := 0
		for _, s := range path.Steps {
			switch s.Outcome {
			case spf.Ended:
				ended++
				if s.Cause != got.Cause || s.Detail != got.Detail || s.Failed != got.Failed || s.Term != "" && s.Term != got.Term || s.Wrong != "" && s.Wrong != got.Term {
					t.Errorf("%s: %+v", c.sender, s)
				}
			case spf.RecordNone, spf.EndedBelow, spf.NoMatch, spf.RecordFound:
			default:
				t.Errorf("%s: %+v", c.sender, s)
			}
		}
		if ended != 1 {
			t.Errorf("%s: %d steps ended: %+v", c.sender, ended, path.Steps)
		}
	}
	if got := spf.Check(t.Context(), r, netip.Addr{}, "x", "ann@example.com"); got.Cause != spf.ClientUnknown {
		t.Errorf("%+v", got)
	}
}

// Each step of a check has the record that was found, or the outcome of the term.
func TestTrace(t *testing.T) {
	parsed, err := dns.ParseZone(strings.NewReader(faultyZone), "zone")
	if err != nil {
		t.Fatal(err)
	}
	r := parsed.Resolver(time.Now, slog.New(slog.DiscardHandler)).View(netip.Addr{})
	for _, c := range []struct {
		domain string
		want   []spf.Step
	}{
		{"example.com", []spf.Step{
			{Outcome: spf.RecordFound, Record: "v=spf1 ip4:192.0.2.0/24 ?ip4:198.51.100.1 ~all"},
			{Term: "ip4:192.0.2.0/24", Outcome: spf.NoMatch}, {Term: "?ip4:198.51.100.1", Outcome: spf.NoMatch}, {Term: "~all", Outcome: spf.Match},
		}},
		{"none.example", []spf.Step{{Outcome: spf.RecordNone}}},
		{"moved.example", []spf.Step{
			{Outcome: spf.RecordFound, Record: "v=spf1 redirect=open.example"}, {Term: "redirect=open.example", Outcome: spf.Redirected, Status: spf.Neutral},
			{Outcome: spf.RecordFound, Record: "v=spf1 a:mail.example"}, {Term: "a:mail.example", Outcome: spf.NoMatch},
		}},
		{"in-wrong.example", []spf.Step{
			{Outcome: spf.RecordFound, Record: "v=spf1 include:wrong.example -all"}, {Term: "include:wrong.example", Outcome: spf.EndedBelow},
			{Outcome: spf.Ended, Record: "v=spf1 a ip4:192.0.2.300 -all", Cause: spf.InvalidAddress, Detail: "192.0.2.300", Wrong: "ip4:192.0.2.300"},
		}},
		{"near.example", []spf.Step{{Outcome: spf.RecordNone, Cause: spf.VersionMissing, Record: "v=spf1; ip4:203.0.113.9; -all"}}},
		{"equals.example", []spf.Step{
			{Outcome: spf.RecordFound, Record: "v=spf1 ip4=203.0.113.9 -all", Ignored: []string{"ip4=203.0.113.9"}}, {Term: "-all", Outcome: spf.Match},
		}},
		{"to-none.example", []spf.Step{
			{Outcome: spf.RecordFound, Record: "v=spf1 redirect=none.example"},
			{Term: "redirect=none.example", Outcome: spf.Ended, Cause: spf.RedirectNoRecord, Detail: "none.example"},
			{Outcome: spf.RecordNone},
		}},
	} {
		_, path := spf.Trace(t.Context(), r, netip.MustParseAddr("203.0.113.9"), "x", "ann@"+c.domain)
		for i := range path.Steps {
			s := &path.Steps[i]
			s.Depth, s.Domain, s.Terms, s.Voids = 0, "", 0, 0
		}
		if !reflect.DeepEqual(path.Steps, c.want) {
			t.Errorf("%s\ngot  %+v\nwant %+v", c.domain, path.Steps, c.want)
		}
	}
}

// Each cause occurs in a case of this package.
func TestEachCauseOccurs(t *testing.T) {
	seen := map[spf.Cause]bool{"": true, spf.ClientUnknown: true, spf.RecordLoop: true, spf.TreeTooLarge: true} // in tests of their own
	for _, c := range recordCases() {
		seen[c.fault.Cause] = true
	}
	for _, c := range causeCases() {
		seen[c.want.Cause] = true
	}
	for _, cause := range spf.Causes() {
		if !seen[cause] {
			t.Errorf("%s occurs in no case", cause)
		}
		delete(seen, cause)
	}
	if delete(seen, ""); len(seen) > 0 {
		t.Errorf("Causes does not return %v", seen)
	}
}
