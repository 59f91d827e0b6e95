package spf

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

// zone is a Resolver with only TXT records.
type zone struct {
	Resolver
	txt     func(name string) string
	queries []string
}

func (z *zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	z.queries = append(z.queries, name)
	switch txt := z.txt(name); txt {
	case "":
		return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
	case "fails":
		return nil, &net.DNSError{Err: "timeout", Name: name, IsTemporary: true}
	default:
		return []string{"other text", txt}, nil
	}
}

// A walk visits each term with its depth, its count and its target. If the walk does not follow an include, it returns the cause.
func TestWalk(t *testing.T) {
	records := map[string]string{
		"example.com":   "v=spf1 ip4:192.0.2.0/24 include:A.example. mx a:%{i}.example ptr include:gone.example include:slow.example include:bad.example redirect=b.example",
		"A.example":     "v=spf1 include:Example.com exists:x.example -all a:never.example redirect=never.example",
		"slow.example":  "fails",
		"bad.example":   "v=spf1 nonsense",
		"b.example":     "v=spf1 a ~all",
		"never.example": "v=spf1 -all",
	}
	const want = `0 0 ip4:192.0.2.0/24  ""
0 1 include:A.example. A.example "v=spf1 include:Example.com exists:x.example -all a:never.example redirect=never.example"
1 2 include:Example.com Example.com "" record_loop
1 3 exists:x.example x.example ""
1 3 -all  ""
0 4 mx example.com ""
0 5 a:%{i}.example  ""
0 6 ptr  ""
0 7 include:gone.example gone.example "" no_record
0 8 include:slow.example slow.example "" lookup_failed
0 9 include:bad.example bad.example "" unknown_mechanism
0 10 redirect=b.example b.example "v=spf1 a ~all"
1 11 a b.example ""
1 11 ~all  ""
`
	z := &zone{txt: func(name string) string { return records[name] }}
	var got strings.Builder
	record, _, err := Find(t.Context(), z, "example.com")
	if err != nil {
		t.Fatal(err)
	}
	for n := range Walk(t.Context(), z, "example.com", record) {
		fmt.Fprintf(&got, "%d %d %s %s %q", n.Depth, n.Lookups, n.Directive.Text, n.Target, n.Record)
		if n.Err != nil {
			fmt.Fprintf(&got, " %s", CauseOf(n.Err))
		}
		got.WriteByte('\n')
	}
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	const asked = "example.com A.example gone.example slow.example bad.example b.example"
	if queries := strings.Join(z.queries, " "); queries != asked {
		t.Errorf("queries %s, want %s", queries, asked)
	}
	top := 0
	for n := range Walk(t.Context(), nil, "example.com", record) {
		if top++; n.Depth != 0 || n.Err != nil {
			t.Errorf("without a resolver: %+v", n)
		}
		if n.Mechanism == MX {
			break
		}
	}
	if top != 3 {
		t.Errorf("%d terms until mx, want 3", top)
	}
}

// A walk of an endless sequence of includes or redirects ends at maxWalk.
func TestWalkIsBounded(t *testing.T) {
	for _, record := range []string{"v=spf1 include:x%s include:y%s -all", "v=spf1 redirect=x%s"} {
		z := &zone{txt: func(name string) string { return strings.ReplaceAll(record, "%s", name) }}
		first, _, err := Find(t.Context(), z, "a.example")
		if err != nil {
			t.Fatal(err)
		}
		n, ended := 0, 0
		for node := range Walk(t.Context(), z, "a.example", first) {
			if n = max(n, node.Lookups); CauseOf(node.Err) == TreeTooLarge {
				ended++
			}
		}
		if n != maxWalk || ended == 0 || len(z.queries) != maxWalk+1 {
			t.Errorf("%s: %d terms, %d ends, %d queries", record, n, ended, len(z.queries))
		}
	}
}
