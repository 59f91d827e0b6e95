package doctor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// lines returns the first line that doctor prints for each finding.
func lines(all []Finding) (texts []string) {
	for _, f := range all {
		texts = append(texts, string(f.Level)+" "+f.Headline())
	}
	return texts
}

func TestArrange(t *testing.T) {
	red := func(domain, what string) Finding {
		return Finding{Check: "spf", Level: Red, What: what, Where: what, Fix: "fix " + domain, Domain: domain}
	}
	for _, c := range []struct {
		name string
		all  []Finding
		want []string
	}{
		{"the worst first, otherwise in the original order", []Finding{
			{Level: Green, What: "a"}, {Level: Yellow, What: "b"}, {Level: Red, What: "c"}, {Level: Green, What: "d"}, {Level: Red, What: "e"}},
			[]string{"red c", "red e", "yellow b", "green a", "green d"}},
		{"First precedes a worse finding", []Finding{{Level: Red, What: "a"}, {Level: Yellow, What: "b", First: true}}, []string{"yellow b", "red a"}},
		{"two domains", []Finding{red("a.test", "a.test has no SPF record"), red("b.test", "b.test has no SPF record")},
			[]string{"red a.test has no SPF record; the same for 1 more domain: b.test"}},
		{"five domains", []Finding{red("a.test", "no SPF record at a.test"), red("b.test", "no SPF record at b.test"), red("c.test", "no SPF record at c.test"),
			red("d.test", "no SPF record at d.test"), red("e.test", "no SPF record at e.test")},
			[]string{"red no SPF record at a.test; the same for 4 more domains: b.test, c.test, d.test, ..."}},
		{"another level", []Finding{red("a.test", "a.test: x"), {Check: "spf", Level: Yellow, What: "b.test: x", Domain: "b.test"}}, []string{"red a.test: x", "yellow b.test: x"}},
		{"another check", []Finding{red("a.test", "a.test: x"), {Check: "mx", Level: Red, What: "b.test: x", Domain: "b.test"}}, []string{"red a.test: x", "red b.test: x"}},
		{"another reason", []Finding{red("a.test", "a.test: x"), {Check: "spf", Level: Red, What: "b.test: x", Why: "another", Domain: "b.test"}}, []string{"red a.test: x", "red b.test: x"}},
		{"names below the domain", []Finding{red("a.test", "_dmarc.a.test. fails"), red("b.test", "_dmarc.b.test. fails")}, []string{"red _dmarc.a.test. fails; the same for 1 more domain: b.test"}},
		{"longer names with the same letters", []Finding{red("a.test", "aa.test a.testing a.test.example, a.test"), red("b.test", "bb.test b.testing b.test.example, b.test")},
			[]string{"red aa.test a.testing a.test.example, a.test", "red bb.test b.testing b.test.example, b.test"}},
		{"What contains more than the domain", []Finding{{Level: Red, What: "key x of a.test", Domain: "a.test", Cause: "no record"}, {Level: Red, What: "key y of b.test", Domain: "b.test", Cause: "no record"}},
			[]string{"red key x of a.test; the same for 1 more domain: b.test"}},
		{"two keys of a domain", []Finding{{Level: Red, What: "key x of a.test", Domain: "a.test", Cause: "no record"}, {Level: Red, What: "key y of b.test", Domain: "b.test", Cause: "no record"}, {Level: Red, What: "key z of b.test", Domain: "b.test", Cause: "no record"}},
			[]string{"red key x of a.test; the same for 1 more domain: b.test", "red key z of b.test"}},
		{"a finding about this host, reported for each domain", []Finding{{Level: Red, What: "192.0.2.1 has no PTR record", Domain: "a.test"}, {Level: Red, What: "192.0.2.1 has no PTR record", Domain: "b.test"}},
			[]string{"red 192.0.2.1 has no PTR record"}},
		{"findings about this host with different fixes", []Finding{{Level: Red, What: "a", Fix: "x"}, {Level: Red, What: "a", Fix: "y"}}, []string{"red a", "red a"}},
	} {
		once := Arrange(c.all)
		if got := lines(once); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if got := lines(Arrange(once)); !slices.Equal(got, c.want) {
			t.Errorf("%s, arranged again: got %q, want %q", c.name, got, c.want)
		}
	}
}

// If a fault of a thousand domains has a single cause, the text about it has only a few lines. JSON contains each domain with its own
// record to publish.
func TestArrangeThousandDomains(t *testing.T) {
	var all []Finding
	for i := range 1000 {
		domain := fmt.Sprintf("d%d.test", i)
		all = append(all, Finding{Check: "dkim", Level: Red, What: "the record of the DKIM key s1 of " + domain + " is missing", Where: domain, Fix: "s1._domainkey." + domain + ". IN TXT " + fmt.Sprint(i), Domain: domain})
	}
	found := Arrange(all)
	if len(found) != 1 || len(found[0].Others) != 999 || found[0].Others[998].Fix != all[999].Fix {
		t.Fatalf("%d findings", len(found))
	}
	const want = "s1._domainkey.d0.test. IN TXT 0\ns1._domainkey.d1.test. IN TXT 1\ns1._domainkey.d2.test. IN TXT 2\n(997 more: signpost doctor --json)"
	if got := found[0].Fixes(); got != want {
		t.Errorf("got %s", got)
	}
	if got := found[0].Headline(); len(got) > 150 || !strings.Contains(got, "999 more domains") {
		t.Errorf("got %s", got)
	}
	if got := Count(found); got != "1 red, 0 yellow, 0 green" {
		t.Errorf("got %s", got)
	}
}
