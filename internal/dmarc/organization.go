package dmarc

import (
	"cmp"
	"context"
	"strings"

	"signpost/internal/domain"
)

// Organization finds the Organizational Domain of a name (RFC 9989 section 4.10.2). met is a list of the names at which the walk found
// records, longest first.
func Organization(ctx context.Context, r Resolver, from string) (domain string, met []string, err error) {
	w := walk(ctx, r, from)
	if f := cmp.Or(w.failed, w.unusable); f != nil {
		return "", nil, f.err
	}
	for _, f := range w.found {
		met = append(met, f.domain)
	}
	domain, _ = organizational(from, w.found)
	return domain, met, nil
}

// Found returns the policy before identifiers are compared. Its Status is empty if there is a policy.
func (d *Discovery) Found() Result { return d.result }

// SameOrganization reports whether two domains belong to one organization: they are equal or have the same Organizational Domain. Many
// domains of mailing lists publish no record. If neither walk finds a record, it is sufficient that one domain is below the other. If a
// lookup fails, same is false, and failed is the DNS name of that lookup.
func SameOrganization(ctx context.Context, r Resolver, a, b string) (same bool, failed string) {
	if a == b {
		return true, ""
	}
	if common(a, b) < 2 { // the two domains have at most the TLD in common
		return false, ""
	}
	x, y := walk(ctx, r, a), walk(ctx, r, b)
	if f := cmp.Or(x.failed, y.failed); f != nil {
		return false, strings.TrimSuffix(f.name, ".")
	}
	if x.incomplete || y.incomplete {
		return false, ""
	}
	if len(x.found) == 0 && len(y.found) == 0 {
		return domain.Within(a, b) || domain.Within(b, a), ""
	}
	orgA, _ := organizational(a, x.found)
	orgB, _ := organizational(b, y.found)
	return orgA == orgB, ""
}
