package allowlist

import (
	"net/netip"
	"testing"

	"signpost/internal/spfset"
)

// size counts the addresses of each family, each address once.
func TestSize(t *testing.T) {
	set := spfset.Of(netip.MustParsePrefix("203.0.114.77/24"), netip.MustParsePrefix("203.0.114.0/25"), netip.MustParsePrefix("37.0.0.1/32"), netip.MustParsePrefix("2a00::/28"))
	if four, six := size(set); four != 257 || six != 1<<100 {
		t.Errorf("%v and %v addresses, want 257 and 2^100", four, six)
	}
}

// If several domains have a network, all of them are its origins, even if each domain divides it differently.
func TestOrigins(t *testing.T) {
	l := newList([]listed{
		{domain: "a.example", set: spfset.Of(netip.MustParsePrefix("37.0.0.0/26"), netip.MustParsePrefix("37.0.0.128/26"), netip.MustParsePrefix("37.0.1.0/24"))},
		{domain: "b.example", set: spfset.Of(netip.MustParsePrefix("37.0.0.0/24"), netip.MustParsePrefix("2a00::/32"))},
		{domain: "c.example", set: spfset.Of(netip.MustParsePrefix("37.0.9.0/24"), netip.MustParsePrefix("37.0.11.0/24"))},
	})
	origins := l.origins()
	for network, want := range map[string]string{"37.0.0.0/23": "a.example, b.example", "37.0.9.0/24": "c.example", "37.0.11.0/24": "c.example", "2a00::/32": "b.example"} {
		if got := origins[netip.MustParsePrefix(network)]; got != want {
			t.Errorf("%s has the origins %q, want %q", network, got, want)
		}
	}
	if len(origins) != 4 {
		t.Errorf("%d networks have an origin, want 4", len(origins))
	}
}
