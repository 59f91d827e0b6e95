package spfset

import (
	"net/netip"

	"go4.org/netipx"
)

// build returns the set of a builder. Its error is about invalid networks, and a parsed record has none.
func build(b *netipx.IPSetBuilder) *netipx.IPSet {
	set, _ := b.IPSet()
	return set
}

// Of returns the addresses of networks, whose host bits do not count.
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

// without returns the addresses of a set that are in none of the others.
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
