package dmarc_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
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

// Each file of testdata is a DNS and lines of cases: Author Domain, identifiers, and what must come of them. "queries" are
// all that the cases may ask, in their order.
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
			t.Fatalf("%q is no identifier", word)
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
	add("aligned=", strings.Replace(r.Aligned, " ", ":", 1))
	add("cause=", string(r.Cause))
	add("assumed=", string(r.Assumed))
	add("failed=", r.Failed)
	if r.Domain != given[0] {
		t.Errorf("the Author Domain became %q", r.Domain)
	}
	if (r.Reason == "") != (r.Status == dmarc.Pass) {
		t.Errorf("%s: the reason is %q", given, r.Reason)
	}
	return strings.Join(words, " ")
}

// However long the names and however many the identifiers, the queries stay within the bounds of the design.
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

// Whatever stands in a TXT record, a policy comes out of it or a reason why not.
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
