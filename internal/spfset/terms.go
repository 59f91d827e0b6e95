package spfset

import (
	"context"
	"net/netip"
	"strings"

	"signpost/internal/spf"
)

// directive divides streams into those that match a directive and the rest: RFC 7208 section 5.
func (w *walk) directive(ctx context.Context, d spf.Directive, domain string, at []stream) (matched, rest []stream, err error) {
	where := d.Text + " of " + domain
	switch d.Mechanism {
	case spf.All:
		if d.Qualifier == spf.Pass {
			at = mark(at, w.refuse("%s authorizes all addresses: refused", where))
		}
		return at, nil, nil
	case spf.IP4, spf.IP6:
		if d.Network.Addr().Is6() != w.six {
			return nil, at, nil
		}
		matched, rest = w.networks(d, where, []netip.Prefix{d.Network.Masked()}, at)
		return matched, rest, nil
	}
	if at = w.count(at, where); len(at) == 0 {
		return nil, nil, nil
	}
	if d.Domain.HasMacros() || d.Mechanism == spf.PTR || d.Mechanism == spf.Exists {
		matched, rest = w.unknown(d, where, at)
		return matched, rest, nil
	}
	name := strings.ToLower(d.Domain.Name(domain))
	switch d.Mechanism {
	case spf.Include:
		below, err := w.follow(ctx, name, where, at)
		return merge(below.pass), merge(below.other), err
	case spf.A:
		var addrs []netip.Addr
		addrs, err = w.addresses(ctx, name)
		if spf.IsNotFound(err) {
			return nil, w.void(at, where), nil
		}
		matched, rest = w.networks(d, where, around(d, addrs), at)
	default: // MX
		matched, rest, err = w.mx(ctx, d, name, where, at)
	}
	if err == nil {
		return matched, rest, nil
	}
	if err = spf.Failure(err); spf.IsTemporary(err) {
		w.fail(err)
	} else {
		w.note("%s: %v: this term and later terms authorize nothing", where, err)
	}
	w.lose(rest)
	return matched, nil, nil
}

// unknown handles a term whose match depends on the message.
func (w *walk) unknown(d spf.Directive, where string, at []stream) (matched, rest []stream) {
	switch {
	case d.Mechanism == spf.Include:
		// The result of the included record is unknown. It may be an error.
		w.note("%s depends on the message: addresses of this term and later terms are not listed", where)
		w.lose(at)
		return nil, nil
	case d.Qualifier == spf.Pass:
		w.note("%s depends on more than the client address: its addresses are not listed", where)
	default:
		w.note("%s depends on more than the client address: addresses of later terms are not listed", where)
	}
	// If such a term does not match, the lookup is usually a void lookup.
	return at, w.void(at, where)
}

// networks divides streams by the networks of a term.
func (w *walk) networks(d spf.Directive, where string, networks []netip.Prefix, at []stream) (matched, rest []stream) {
	for _, p := range networks {
		var inside []stream
		inside, at = split(at, p)
		if d.Qualifier == spf.Pass && len(inside) > 0 {
			if why := w.refusal(p); why != "" {
				inside = mark(inside, w.refuse("%s: %s: refused", where, why))
			}
		}
		matched = append(matched, inside...)
	}
	return merge(matched), at
}

func (w *walk) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	if w.six {
		return w.resolver.LookupAAAA(ctx, name)
	}
	return w.resolver.LookupA(ctx, name)
}

// around returns, for each address, the network that contains the address and has the prefix length of the term.
func around(d spf.Directive, addrs []netip.Addr) (all []netip.Prefix) {
	for _, a := range addrs {
		all = append(all, d.Around(a))
	}
	return all
}

// mx evaluates the mechanism mx: RFC 7208 section 5.4. If an address matches one mail exchanger, an error of the next one does not affect
// it.
func (w *walk) mx(ctx context.Context, d spf.Directive, name, where string, at []stream) (matched, rest []stream, err error) {
	hosts, err := w.resolver.LookupMX(ctx, name)
	if spf.IsNotFound(err) {
		return nil, w.void(at, where), nil
	}
	if err != nil {
		return nil, at, err
	}
	if len(hosts) > spf.MaxHosts {
		w.note("%s: more than %d MX hosts: this term and later terms authorize nothing", where, spf.MaxHosts)
		w.lose(at)
		return nil, nil, nil
	}
	void := false
	for _, h := range hosts {
		if h.Host == "." {
			continue // RFC 7505: the domain accepts no mail
		}
		addrs, err := w.addresses(ctx, h.Host)
		if err != nil && !spf.IsNotFound(err) {
			return matched, at, err
		}
		void = void || err != nil
		var more []stream
		more, at = w.networks(d, where, around(d, addrs), at)
		matched = append(matched, more...)
	}
	if void {
		at = w.void(at, where)
	}
	return merge(matched), at, nil
}
