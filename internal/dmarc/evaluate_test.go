package dmarc_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"signpost/internal/conformance"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/testdns"
)

// Each file of testdata has DNS records and lines of cases. A case is an Author Domain, identifiers and the expected result. "queries"
// lists all queries of the cases, in their order.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatal("no cases", err)
	}
	cases := 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{}
			for _, f := range ar.Files {
				parts[f.Name] = string(f.Data)
			}
			server, err := testdns.Start(parts["dns"])
			if err != nil {
				t.Fatal(err)
			}
			defer server.Stop()
			resolver := dns.New(dns.Options{
				Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: 10 * time.Second,
				Now: time.Now, Log: slog.New(slog.DiscardHandler),
			})
			for line := range strings.Lines(parts["cases"]) {
				cases++
				given, want, _ := strings.Cut(strings.TrimSpace(line), " -> ")
				if got := evaluate(t, resolver.View(netip.Addr{}), strings.Fields(given)); got != want {
					t.Errorf("%s\n got %s\nwant %s", given, got, want)
				}
			}
			if want, ok := parts["queries"]; ok {
				if got := strings.ReplaceAll(strings.Join(server.Queries(), "\n"), " TXT", "") + "\n"; got != want {
					t.Errorf("queries:\n%s", got)
				}
			}
		})
	}
	conformance.Add(t, "cases-dmarc", "DMARC: %d cases of RFC 9989's discovery and alignment (internal/dmarc/testdata).", cases)
}

func evaluate(t *testing.T, view *dns.View, given []string) string {
	var ids []dmarc.Identifier
	for _, word := range given[1:] {
		method, rest, _ := strings.Cut(word, "=")
		status, domain, ok := strings.Cut(rest, ":")
		if !ok || status != "pass" && status != "temperror" {
			t.Fatalf("%q is not an identifier", word)
		}
		ids = append(ids, dmarc.Identifier{Method: dmarc.Method(method), Domain: domain, Open: status == "temperror"})
	}
	r := dmarc.Discover(t.Context(), view.Limit(dmarc.MaxQueries), given[0]).Evaluate(t.Context(), view, ids)
	words := []string{string(r.Status)}
	add := func(name, value string) {
		if value != "" {
			words = append(words, name+value)
		}
	}
	add("", string(r.Policy))
	if r.Published != r.Policy {
		add("published=", string(r.Published))
	}
	add("tag=", r.Tag)
	add("at=", r.PolicyDomain)
	add("org=", r.OrgDomain)
	if r.Aligned != nil {
		add("aligned=", string(r.Aligned.Method)+":"+r.Aligned.Domain)
	}
	add("cause=", string(r.FailedMethod()))
	add("assumed=", string(r.Assumed))
	add("failed=", r.Failed)
	if r.Domain != given[0] {
		t.Errorf("the Author Domain became %q", r.Domain)
	}
	if (r.Cause == "") != (r.Status == dmarc.Pass) {
		t.Errorf("%s: the cause is %q", given, r.Cause)
	}
	return strings.Join(words, " ")
}

// The number of queries is limited for names of any length and any number of identifiers.
func TestQueriesAreBounded(t *testing.T) {
	server, err := testdns.Start("_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\n")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	resolver := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: 10 * time.Second,
		Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	view := resolver.View(netip.Addr{})
	long := strings.Repeat("x.", 50)
	var ids []dmarc.Identifier
	for i := range 200 {
		ids = append(ids, dmarc.Identifier{Method: dmarc.DKIM, Domain: fmt.Sprintf("%sy%d.a.b.c.d.e.f.example.net", long, i)})
		ids = append(ids, dmarc.Identifier{Method: dmarc.DKIM, Domain: fmt.Sprintf("%sz%d.example.com", long, i)})
	}
	r := dmarc.Discover(t.Context(), view.Limit(dmarc.MaxQueries), long+"example.com").Evaluate(t.Context(), view.Limit(50), ids)
	if r.Status != dmarc.Pass {
		t.Errorf("%+v", r)
	}
	if n := len(server.Queries()); n > dmarc.MaxQueries+50 {
		t.Errorf("%d queries", n)
	}
}

func TestReportURIs(t *testing.T) {
	r, ok := dmarc.ParseRecord("v=DMARC1; p=none; rua=mailto:a@example.org!10m, https://example.org/dmarc ,nonsense,mailto:, x://; ruf=mailto:f@example.org")
	if !ok || !slices.Equal(r.RUA, []string{"mailto:a@example.org", "https://example.org/dmarc"}) || !slices.Equal(r.RUF, []string{"mailto:f@example.org"}) {
		t.Errorf("%q %q", r.RUA, r.RUF)
	}
}

// stepCase is a TXT record of example.org and the expected step, without Name and Record.
type stepCase struct {
	txt  string
	step dmarc.Step
}

func stepCases() []stepCase {
	const rua = "; rua=mailto:a@example.org"
	return []stepCase{
		{"v=DMARC1; p=reject" + rua, dmarc.Step{Outcome: dmarc.RecordFound}},
		{"v=DMARC1; p=reject; psd=n", dmarc.Step{Outcome: dmarc.RecordFound, PSD: "n"}},
		{"v=DMARC1; p=reject; psd=y", dmarc.Step{Outcome: dmarc.RecordFound, PSD: "y"}},
		{"v=DMARC1; p=rejct" + rua, dmarc.Step{Outcome: dmarc.RecordFound, Cause: dmarc.PolicyTagInvalid, Detail: "p=rejct"}},
		{"v=DMARC1; p=rejct", dmarc.Step{Outcome: dmarc.RecordWithoutEffect, Cause: dmarc.PolicyTagInvalid, Detail: "p=rejct"}},
		{"v=DMARC1; p=" + rua, dmarc.Step{Outcome: dmarc.RecordFound, Cause: dmarc.PolicyTagInvalid, Detail: "p="}},
		{"v=DMARC1; p:reject" + rua, dmarc.Step{Outcome: dmarc.RecordFound, Cause: dmarc.PolicyTagMissing}},
		{"v=DMARC1; sp=reject", dmarc.Step{Outcome: dmarc.RecordWithoutEffect, Cause: dmarc.PolicyTagMissing}},
		{"v=DMARC1; p=reject; sp=foo" + rua, dmarc.Step{Outcome: dmarc.RecordFound, Cause: dmarc.PolicyTagInvalid, Detail: "sp=foo"}},
		{"v=DMARC1; p=reject; np=foo", dmarc.Step{Outcome: dmarc.RecordWithoutEffect, Cause: dmarc.PolicyTagInvalid, Detail: "np=foo"}},
		{"v=DMARC1; p=\"reject\"" + rua, dmarc.Step{Outcome: dmarc.RecordFound, Cause: dmarc.PolicyTagInvalid, Detail: "p="}},
		{"v=DMARC1; p=reject please, if you can" + rua, dmarc.Step{Outcome: dmarc.RecordFound, Cause: dmarc.PolicyTagInvalid, Detail: "p="}},
		{"v=DMARC1 p=reject", dmarc.Step{Outcome: dmarc.RecordNone, Cause: dmarc.SemicolonMissing, Detail: "p=reject"}},
		{"v = DMARC1\\; p=reject", dmarc.Step{Outcome: dmarc.RecordNone, Cause: dmarc.SemicolonMissing, Detail: "\\"}},
		{"v=DMARC1, p=reject", dmarc.Step{Outcome: dmarc.RecordNone, Cause: dmarc.SemicolonMissing, Detail: ", p=reject"}},
		{"v=DMARC1: p=reject", dmarc.Step{Outcome: dmarc.RecordNone, Cause: dmarc.SemicolonMissing, Detail: ": p=reject"}},
		{"v=dmarc1; p=reject", dmarc.Step{Outcome: dmarc.RecordNone, Cause: dmarc.VersionMissing}},
		{"", dmarc.Step{Outcome: dmarc.RecordNone}},
	}
}

// If a record has no effect, or another effect than its text suggests, the step has a cause. The cause shows a wrong value only if the
// value is harmless.
func TestRecordFaults(t *testing.T) {
	for _, c := range stepCases() {
		zone := texts{"_dmarc.example.org": c.txt}
		if c.txt == "" {
			zone = nil
		}
		result, steps := dmarc.Explain(t.Context(), zone, "example.org")
		want := dmarc.Result{Cause: c.step.Cause, Detail: c.step.Detail}
		switch c.step.Outcome {
		case dmarc.RecordNone:
			want = dmarc.Result{Cause: dmarc.NoRecord}
		case dmarc.RecordFound:
			want = dmarc.Result{}
			if c.step.Cause != "" {
				want.Fault = &dmarc.Fault{Cause: c.step.Cause, Detail: c.step.Detail}
			}
		}
		if result.Cause != want.Cause || result.Detail != want.Detail || !reflect.DeepEqual(result.Fault, want.Fault) {
			t.Errorf("%s\ngot  %+v\nwant %+v", c.txt, result, want)
		}
		if len(steps) == 0 {
			t.Fatalf("%s: no steps", c.txt)
		}
		got := steps[0]
		if shown := got.Record == c.txt; shown != !strings.Contains(c.txt, "dmarc1") {
			t.Errorf("%s: the step shows %q", c.txt, got.Record)
		}
		if got.Name, got.Record = "", ""; got != c.step {
			t.Errorf("%s\ngot  %+v\nwant %+v", c.txt, got, c.step)
		}
	}
}

// texts are TXT records by name.
type texts map[string]string

func (t texts) LookupTXT(_ context.Context, name string) ([]string, error) {
	if txt, ok := t[name]; ok {
		return []string{txt}, nil
	}
	return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

func (t texts) Exists(context.Context, string) (bool, error) { return true, nil }

func (t texts) Remembered(string) []string { return nil }

// Each DMARC record has a p that is one of the three policies.
func FuzzParseRecord(f *testing.F) {
	f.Add("v=DMARC1; p=reject; sp=none; rua=mailto:a@example.org")
	f.Add("v = DMARC1 ; p = x")
	f.Fuzz(func(t *testing.T, txt string) {
		r, ok := dmarc.ParseRecord(txt)
		if !ok {
			return
		}
		switch r.P {
		case dmarc.PolicyNone, dmarc.PolicyQuarantine, dmarc.PolicyReject:
		default:
			t.Fatalf("%q: p=%q", txt, r.P)
		}
	})
}
