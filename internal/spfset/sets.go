package spfset

import (
	"net/netip"

	"go4.org/netipx"
)

// build returns the set of a builder. The only error is an invalid network, which a parsed record cannot have.
func build(b *netipx.IPSetBuilder) *netipx.IPSet {
	set, _ := b.IPSet()
	return set
}

// Of returns the addresses of networks. It ignores host bits.
func Of(networks ...netip.Prefix) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, p := range networks {
		b.AddPrefix(p)
	}
	return build(&b)
}

// union returns the addresses that are in any of the sets.
func union(sets ...*netipx.IPSet) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, s := range sets {
		b.AddSet(s)
	}
	return build(&b)
}

// without returns the addresses of a set that are not in any of the others.
func without(set *netipx.IPSet, others ...*netipx.IPSet) *netipx.IPSet {
	var b netipx.IPSetBuilder
	b.AddSet(set)
	for _, s := range others {
		b.RemoveSet(s)
	}
	return build(&b)
}

// empty reports whether a set has no address.
func empty(set *netipx.IPSet) bool { return set.Equal(&netipx.IPSet{}) }

// reserved returns address blocks with their purposes. It returns multicast blocks, reserved blocks, and the blocks of IANA's
// special-purpose registries (RFC 6890) that are not globally reachable. It includes IPv6 tunnels through IPv4, because the host that uses
// such an address changes.
func reserved() [][2]string {
	return [][2]string{
		{"0.0.0.0/8", "this network, RFC 791"},
		{"10.0.0.0/8", "private, RFC 1918"},
		{"100.64.0.0/10", "shared by a provider's customers, RFC 6598"},
		{"127.0.0.0/8", "loopback, RFC 1122"},
		{"169.254.0.0/16", "link-local, RFC 3927"},
		{"172.16.0.0/12", "private, RFC 1918"},
		{"192.0.0.0/24", "protocol assignments, RFC 6890"},
		{"192.0.2.0/24", "documentation, RFC 5737"},
		{"192.88.99.0/24", "6to4 relays, RFC 7526"},
		{"192.168.0.0/16", "private, RFC 1918"},
		{"198.18.0.0/15", "benchmarks, RFC 2544"},
		{"198.51.100.0/24", "documentation, RFC 5737"},
		{"203.0.113.0/24", "documentation, RFC 5737"},
		{"224.0.0.0/4", "multicast, RFC 5771"},
		{"240.0.0.0/4", "reserved, RFC 1112"},

		{"2001::/23", "protocol assignments, RFC 2928"},
		{"2001:db8::/32", "documentation, RFC 3849"},
		{"2002::/16", "6to4, RFC 3056"},
		{"3fff::/20", "documentation, RFC 9637"},
		// IANA allocates only 2000::/3. These blocks contain loopback, mapped IPv4, NAT64, fc00::/7, fe80::/10 and ff00::/8.
		{"::/3", "not global unicast, RFC 4291"},
		{"4000::/2", "not global unicast, RFC 4291"},
		{"8000::/1", "not global unicast, RFC 4291"},
	}
}

// special returns the reserved block that overlaps a network, with its purpose: "10.0.0.0/8 (private, RFC 1918)". It returns "" if no
// block does.
func special(p netip.Prefix) string {
	for _, block := range reserved() {
		if netip.MustParsePrefix(block[0]).Overlaps(p) {
			return block[0] + " (" + block[1] + ")"
		}
	}
	return ""
}
