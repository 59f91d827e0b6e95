package filter

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/internal/spf"
	"signpost/policy"
)

// maxPrefetchedWalks is the maximum number of identifiers whose walks are prefetched because the identifiers may be aligned. It is enough
// for a bounce domain and a signer. The walk of any other identifier starts when the identifier has passed.
const maxPrefetchedWalks = 2

// prefetchWalks starts the lookups that DMARC is likely to make one after the other. It starts none if an identifier is the Author Domain
// itself and that domain has at most two labels. Such a domain inherits no policy, so its own record is sufficient. Most messages are of
// this kind.
func (v *verification) prefetchWalks(ctx context.Context, view *dns.View, author string, mayAlign []string) {
	exact := slices.Contains(mayAlign, author)
	if exact && strings.Count(author, ".") < 2 {
		return
	}
	for _, name := range dmarc.Likely(author) {
		view.Prefetch(ctx, dns.TXT, name)
	}
	if exact {
		return
	}
	for _, d := range mayAlign {
		if v.prefetched == maxPrefetchedWalks {
			return
		}
		if !domain.Within(d, lastTwo(author)) {
			continue // it cannot be aligned
		}
		v.prefetched++
		for _, name := range dmarc.Likely(d) {
			v.walks.Prefetch(ctx, dns.TXT, name)
		}
	}
}

// lastTwo returns the last two labels of a name. Two different names can be aligned only if their last two labels are the same.
func lastTwo(name string) string {
	at := strings.LastIndexByte(name, '.')
	return name[strings.LastIndexByte(name[:max(at, 0)], '.')+1:]
}

// mayAlign returns the domains of the message's identifiers, verified or not. The domains of the signatures come first, then the domain
// that SPF checks.
func mayAlign(keyNames []string, e *policy.Evidence) []string {
	var all []string
	for _, name := range keyNames {
		all = append(all, keyDomain(name))
	}
	if d := senderDomain(e); d != "" {
		all = append(all, d)
	}
	return all
}

// senderDomain returns the domain for which SPF is checked, or "" if there is none.
func senderDomain(e *policy.Evidence) string {
	sender := e.Envelope.Sender[strings.LastIndexByte(e.Envelope.Sender, '@')+1:]
	if sender == "" {
		sender = strings.TrimSuffix(e.Connection.HELO, ".")
	}
	d, err := domain.Parse(sender)
	if err != nil {
		return ""
	}
	return d
}

// spfPrefetcher starts the lookups for all terms of a sender's record at once, because the evaluation makes them one after the other. It
// does not prefetch the terms of included records. It never makes more queries than an evaluation is allowed to make. It makes one query
// for a term that the evaluation does not reach. An evaluation may need eleven queries for each of ten terms.
type spfPrefetcher struct {
	*dns.View
	client netip.Addr
	begun  bool // the sender's own record has been looked up
}

// LookupTXT returns the TXT records of a name. The first call is the lookup of the sender's own record, so it also prefetches the terms.
func (p *spfPrefetcher) LookupTXT(ctx context.Context, name string) ([]string, error) {
	all, err := p.View.LookupTXT(ctx, name)
	if p.begun {
		return all, err
	}
	p.begun = true
	if text, n := spf.Among(all); n == 1 {
		if record, err := spf.ParseRecord(text); err == nil {
			p.prefetchTerms(ctx, name, record)
		}
	}
	return all, err
}

// LookupMX returns the MX records of a name, and prefetches the addresses of all mail exchanges.
func (p *spfPrefetcher) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	hosts, err := p.View.LookupMX(ctx, name)
	if len(hosts) <= spf.MaxHosts {
		for _, h := range hosts {
			p.Prefetch(ctx, p.family(), h.Host)
		}
	}
	return hosts, err
}

// prefetchTerms starts the lookups of the terms up to the first one that matches without DNS. It starts no lookups if the record has more
// terms than the evaluation accepts.
func (p *spfPrefetcher) prefetchTerms(ctx context.Context, name string, record *spf.Record) {
	type question struct {
		dns.Type
		name string
	}
	var all []question
	for n := range spf.Walk(ctx, nil, name, record) {
		if n.Lookups > spf.MaxTerms {
			return
		}
		if !n.Mechanism.AsksDNS() && n.Network.Masked().Contains(p.client) {
			break
		}
		if n.Target != "" {
			all = append(all, question{p.typeOf(n.Mechanism), n.Target})
		}
	}
	for _, q := range all {
		p.Prefetch(ctx, q.Type, q.name)
	}
}

// typeOf returns the DNS record type that a term looks up.
func (p *spfPrefetcher) typeOf(m spf.Mechanism) dns.Type {
	switch m {
	case spf.MX:
		return dns.MX
	case spf.A:
		return p.family()
	case spf.Exists:
		return dns.A
	}
	return dns.TXT // include, redirect
}

func (p *spfPrefetcher) family() dns.Type {
	if p.client.Is4() {
		return dns.A
	}
	return dns.AAAA
}
