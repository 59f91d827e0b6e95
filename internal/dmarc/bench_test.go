package dmarc_test

import (
	"context"
	"net"
	"testing"

	"signpost/internal/dmarc"
)

// known is a Resolver with one record.
type known struct {
	dmarc.Resolver
	name    string
	records []string
}

func (k known) LookupTXT(_ context.Context, name string) ([]string, error) {
	if name != k.name {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return k.records, nil
}

// BenchmarkOrdinary measures an ordinary message: one author, a record at the domain itself, aligned DKIM and SPF.
func BenchmarkOrdinary(b *testing.B) {
	r := known{name: "_dmarc.example.org", records: []string{"v=DMARC1; p=reject; rua=mailto:dmarc@example.org; adkim=r; aspf=r"}}
	from := []string{` "Ann Example" <ann@example.org>`}
	ids := []dmarc.Identifier{{Method: dmarc.DKIM, Domain: "example.org"}, {Method: dmarc.SPF, Domain: "example.org"}}
	b.ReportAllocs()
	for b.Loop() {
		author := dmarc.ReadAuthor(from)
		d := dmarc.Discover(b.Context(), r, author.Domains[0])
		if got := d.Evaluate(b.Context(), r, ids); got.Status != dmarc.Pass {
			b.Fatal(got)
		}
	}
}
