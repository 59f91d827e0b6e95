package dmarc_test

import (
	"context"
	"net"
	"slices"
	"testing"

	"signpost/internal/dmarc"
)

// stub is a Resolver with DMARC records. Lookups of the names in broken fail. remembered has the records of earlier answers.
type stub struct {
	records    map[string]string
	remembered map[string]string
	broken     []string
	lookups    []string
}

func (s *stub) LookupTXT(_ context.Context, name string) ([]string, error) {
	s.lookups = append(s.lookups, name)
	if slices.Contains(s.broken, name) {
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	}
	if record, ok := s.records[name]; ok {
		return []string{record}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (s *stub) Exists(context.Context, string) (bool, error) { return true, nil }

func (s *stub) Remembered(name string) []string {
	if record, ok := s.remembered[name]; ok {
		return []string{record}
	}
	return nil
}

// Two domains belong to one organization if they have the same Organizational Domain. If neither domain has a record, they belong to one
// organization if one is below the other. If a lookup fails, the result is unknown.
func TestSameOrganization(t *testing.T) {
	const none, apart, suffix = "v=DMARC1; p=none", "v=DMARC1; p=none; psd=n", "v=DMARC1; p=none; psd=y"
	for _, c := range []struct {
		a, b   string
		dns    stub
		same   bool
		failed string
	}{
		{"example.net", "example.net", stub{broken: []string{"_dmarc.example.net"}}, true, ""},
		{"example.net", "example.org", stub{}, false, ""},
		{"one.example", "two.example", stub{broken: []string{"_dmarc.one.example"}}, false, ""}, // they have at most the TLD in common
		{"net", "example.net", stub{}, false, ""},
		{"lists.example.net", "example.net", stub{}, true, ""},
		{"example.net", "talk.lists.example.net", stub{}, true, ""},
		{"a.example.net", "b.example.net", stub{}, false, ""}, // neither is below the other, and there is no common record
		{"xexample.net", "example.net", stub{}, false, ""},
		{"a.example.net", "b.example.net", stub{records: map[string]string{"_dmarc.example.net": none}}, true, ""},
		{"lists.example.net", "example.net", stub{records: map[string]string{"_dmarc.example.net": none}}, true, ""},
		{"customer.example.net", "example.net", stub{records: map[string]string{"_dmarc.example.net": none, "_dmarc.customer.example.net": apart}}, false, ""},
		{"one.co.example", "two.co.example", stub{records: map[string]string{"_dmarc.co.example": suffix}}, false, ""},
		{"a.one.co.example", "b.one.co.example", stub{records: map[string]string{"_dmarc.co.example": suffix}}, true, ""},
		{"lists.example.net", "example.net", stub{broken: []string{"_dmarc.lists.example.net"}}, false, "_dmarc.lists.example.net"},
		{"lists.example.net", "example.net", stub{broken: []string{"_dmarc.net"}}, false, "_dmarc.net"},
		// The name has eight labels or more: the walk continues with the last seven labels, and the names in between are not looked up.
		{"a.b.c.d.e.f.g.example.net", "x.example.net", stub{records: map[string]string{"_dmarc.example.net": none}, broken: []string{"_dmarc.b.c.d.e.f.g.example.net"}}, true, ""},
		{"a.b.c.d.e.f.example.net", "example.net", stub{broken: []string{"_dmarc.b.c.d.e.f.example.net"}}, false, "_dmarc.b.c.d.e.f.example.net"},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			if same, failed := dmarc.SameOrganization(t.Context(), &c.dns, pair[0], pair[1]); same != c.same || failed != c.failed {
				t.Errorf("%q, DNS %+v: %v %q, want %v %q", pair, c.dns, same, failed, c.same, c.failed)
			}
		}
	}
}

// If a lookup fails, the record of an earlier answer applies. The result is a temperror. Its field Assumed has the status that the earlier
// record causes. The earlier record is never used if the lookup succeeds.
func TestRemembered(t *testing.T) {
	const reject, none, long = "v=DMARC1; p=reject", "v=DMARC1; p=none", "a.b.c.d.e.f.example.com" // long has eight labels
	pass := []dmarc.Identifier{{Method: dmarc.DKIM, Domain: "example.com"}}
	other := []dmarc.Identifier{{Method: dmarc.SPF, Domain: "stranger.example"}}
	for _, c := range []struct {
		name, author string
		dns          stub
		ids          []dmarc.Identifier
		status       dmarc.Status
		assumed      dmarc.Status
		policy       dmarc.Policy
		at           string
		remembered   bool
	}{
		{"a forgery", "example.com", stub{remembered: map[string]string{"_dmarc.example.com": reject}, broken: []string{"_dmarc.example.com"}},
			other, dmarc.TempError, dmarc.Fail, dmarc.PolicyReject, "example.com", true},
		{"an aligned pass", "example.com", stub{remembered: map[string]string{"_dmarc.example.com": reject}, broken: []string{"_dmarc.example.com"}},
			pass, dmarc.TempError, dmarc.Pass, dmarc.PolicyReject, "example.com", true},
		{"nothing is remembered", "example.com", stub{broken: []string{"_dmarc.example.com"}},
			other, dmarc.TempError, dmarc.None, "", "", false},
		{"the record is no longer published", "example.com", stub{remembered: map[string]string{"_dmarc.example.com": reject}},
			other, dmarc.None, "", "", "", false},
		{"the record was changed", "example.com", stub{remembered: map[string]string{"_dmarc.example.com": reject}, records: map[string]string{"_dmarc.example.com": none}},
			other, dmarc.Fail, "", dmarc.PolicyNone, "example.com", false},
		{"the remembered record is not a DMARC record", "example.com", stub{remembered: map[string]string{"_dmarc.example.com": "x"}, broken: []string{"_dmarc.example.com"}},
			other, dmarc.TempError, dmarc.None, "", "", false},
		{"a name below", "mail.example.com", stub{remembered: map[string]string{"_dmarc.example.com": reject}, broken: []string{"_dmarc.mail.example.com", "_dmarc.example.com"}},
			other, dmarc.TempError, dmarc.Fail, dmarc.PolicyReject, "example.com", true},
		{"the name is broken, the organization is not", "mail.example.com", stub{records: map[string]string{"_dmarc.example.com": reject}, broken: []string{"_dmarc.mail.example.com"}},
			other, dmarc.TempError, dmarc.Fail, dmarc.PolicyReject, "example.com", false},
		{"eight labels", long, stub{remembered: map[string]string{"_dmarc.example.com": reject}, broken: []string{"_dmarc." + long, "_dmarc.example.com"}},
			other, dmarc.TempError, dmarc.Fail, dmarc.PolicyReject, "example.com", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := dmarc.Discover(t.Context(), &c.dns, c.author).Evaluate(t.Context(), &c.dns, c.ids)
			if r.Status != c.status || r.Assumed != c.assumed || r.Policy != c.policy || r.PolicyDomain != c.at || r.Remembered != c.remembered {
				t.Errorf("%+v", r)
			}
			if unauthenticated := c.status == dmarc.Fail || c.assumed == dmarc.Fail; r.Unauthenticated() != unauthenticated {
				t.Errorf("Unauthenticated: %v", r.Unauthenticated())
			}
			if r.Status == dmarc.TempError && (r.Failed == "" || !slices.Contains(c.dns.broken, r.Failed)) {
				t.Errorf("the lookup of %q failed", r.Failed)
			}
			if n := len(c.dns.lookups); n > dmarc.MaxQueries {
				t.Errorf("%d lookups: %q", n, c.dns.lookups)
			}
		})
	}
}
