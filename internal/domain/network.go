package domain

import "net/netip"

// ParseNetwork parses a network as a person writes it: 192.0.2.0/24, 2001:db8::/32, or an address, which is a network of one address. It
// returns an IPv4-mapped IPv6 network as the IPv4 network. It does not clear the bits outside the mask. It returns false for an address
// with a zone.
func ParseNetwork(s string) (p netip.Prefix, ok bool) {
	a, err := netip.ParseAddr(s)
	if err == nil && a.Zone() == "" {
		p = netip.PrefixFrom(a, a.BitLen())
	} else if p, err = netip.ParsePrefix(s); err != nil {
		return p, false
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p, true
}
