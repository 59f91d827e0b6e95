// Package ranges does arithmetic with sets of addresses, and knows which addresses no mail can come from.
package ranges

import (
	"math"
	"net/netip"
	"slices"
	"sort"
)

// Set is a set of addresses of either family. The zero Set is empty; a Set is never changed.
type Set struct{ spans []span } // sorted, IPv4 first; none touches the next

// span has both of its ends, which are of one family.
type span struct{ from, to netip.Addr }

// Of gives the addresses of networks, whose host bits do not count.
func Of(networks ...netip.Prefix) Set {
	spans := make([]span, 0, len(networks))
	for _, p := range networks {
		spans = append(spans, spanOf(p))
	}
	return join(spans)
}

func spanOf(p netip.Prefix) span {
	p = p.Masked()
	return span{p.Addr(), last(p)}
}

// last is a network's last address.
func last(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		octets := p.Addr().As4()
		fill(octets[:], p.Bits())
		return netip.AddrFrom4(octets)
	}
	octets := p.Addr().As16()
	fill(octets[:], p.Bits())
	return netip.AddrFrom16(octets)
}

// fill sets all bits from one on.
func fill(octets []byte, from int) {
	for i := from / 8; i < len(octets); i++ {
		octets[i] |= 0xff >> (max(from-8*i, 0))
	}
}

// join sorts spans and makes one of those that overlap or touch. It may change what it is given.
func join(spans []span) Set {
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	joined := spans[:0]
	for _, s := range spans {
		if n := len(joined); n > 0 && joined[n-1].touches(s) {
			if joined[n-1].to.Less(s.to) {
				joined[n-1].to = s.to
			}
			continue
		}
		joined = append(joined, s)
	}
	return Set{joined}
}

// touches is for a span that does not begin before s.
func (s span) touches(after span) bool {
	return s.to.BitLen() == after.from.BitLen() && (!s.to.Less(after.from) || s.to.Next() == after.from)
}

// Union has what is in any of the sets.
func Union(sets ...Set) Set {
	var spans []span
	for _, s := range sets {
		spans = append(spans, s.spans...)
	}
	return join(spans)
}

// Without has what is in s and not in other.
func (s Set) Without(other Set) Set {
	var spans []span
	rest := other.spans
	for _, at := range s.spans {
		for len(rest) > 0 && rest[0].to.Less(at.from) {
			rest = rest[1:]
		}
		left := true
		for i := 0; i < len(rest) && !at.to.Less(rest[i].from); i++ {
			if at.from.Less(rest[i].from) {
				spans = append(spans, span{at.from, rest[i].from.Prev()})
			}
			if !rest[i].to.Less(at.to) {
				left = false
				break
			}
			at.from = rest[i].to.Next()
		}
		if left {
			spans = append(spans, at)
		}
	}
	return Set{spans}
}

// And has what is in both.
func (s Set) And(other Set) Set {
	var spans []span
	a, b := s.spans, other.spans
	for len(a) > 0 && len(b) > 0 {
		from, to := a[0].from, a[0].to
		if from.Less(b[0].from) {
			from = b[0].from
		}
		if b[0].to.Less(to) {
			to = b[0].to
		}
		if !to.Less(from) {
			spans = append(spans, span{from, to})
		}
		if a[0].to.Less(b[0].to) {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return Set{spans}
}

// Empty says that there is nothing in it.
func (s Set) Empty() bool { return len(s.spans) == 0 }

// Equal says that both have the same addresses.
func (s Set) Equal(other Set) bool { return slices.Equal(s.spans, other.spans) }

// Contains says whether an address is in it. An IPv4 address in IPv6's clothes is an IPv6 one.
func (s Set) Contains(a netip.Addr) bool {
	i := sort.Search(len(s.spans), func(i int) bool { return !s.spans[i].to.Less(a) })
	return i < len(s.spans) && !a.Less(s.spans[i].from)
}

// Overlaps says whether an address of a network is in it.
func (s Set) Overlaps(p netip.Prefix) bool {
	want := spanOf(p)
	i := sort.Search(len(s.spans), func(i int) bool { return !s.spans[i].to.Less(want.from) })
	return i < len(s.spans) && !want.to.Less(s.spans[i].from)
}

// Networks are the fewest networks that hold these addresses and no others, sorted, IPv4 first.
func (s Set) Networks() (all []netip.Prefix) {
	for _, at := range s.spans {
		for from := at.from; ; {
			p := netip.PrefixFrom(from, from.BitLen())
			for p.Bits() > 0 {
				wider := netip.PrefixFrom(from, p.Bits()-1)
				if wider.Masked().Addr() != from || at.to.Less(last(wider)) {
					break
				}
				p = wider
			}
			all = append(all, p)
			if last(p) == at.to {
				break
			}
			from = last(p).Next()
		}
	}
	return all
}

// Size is how many addresses of each family are in it.
func (s Set) Size() (four, six float64) {
	for _, p := range s.Networks() {
		if n := math.Pow(2, float64(p.Addr().BitLen()-p.Bits())); p.Addr().Is4() {
			four += n
		} else {
			six += n
		}
	}
	return four, six
}
