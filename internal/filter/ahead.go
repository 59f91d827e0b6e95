package filter

import (
	"cmp"
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

const (
	// maxAhead is how many names that may align are walked from ahead: a bounce domain and a signer. Others are walked from
	// when they have passed.
	maxAhead = 2
	// maxTermsAhead is how many look-ups SPF's terms may take: RFC 7208 section 4.6.4. A record with more is an error, and
	// nothing of it is asked ahead.
	maxTermsAhead = 10
	// maxHostsAhead is how many mail exchanges a term may have, by the same section.
	maxHostsAhead = 10
)

// askAhead asks at once for what DMARC is likely to ask step by step. Where one of the names that may align is the Author
// Domain itself, and that is too short to have inherited its policy, one record is enough: most messages are so.
func (v *verification) askAhead(ctx context.Context, view *dns.View, author string, mayAlign []string) {
	exact := false
	for _, d := range mayAlign {
		exact = exact || d == author
	}
	if exact && strings.Count(author, ".") < 2 {
		return
	}
	for _, name := range dmarc.Ahead(author) {
		view.Ahead(ctx, dns.TXT, name)
	}
	if exact {
		return
	}
	for _, d := range mayAlign {
		if v.ahead == maxAhead {
			return
		}
		if !domain.Within(d, lastTwo(author)) {
			continue // it cannot align
		}
		v.ahead++
		for _, name := range dmarc.Ahead(d) {
			v.walks.Ahead(ctx, dns.TXT, name)
		}
	}
}

// lastTwo are the last two labels of a name, which two different names share where they align.
func lastTwo(name string) string {
	at := strings.LastIndexByte(name, '.')
	return name[strings.LastIndexByte(name[:max(at, 0)], '.')+1:]
}

// mayAlign are the domains that the message's identifiers name, verified or not: the signatures', then SPF's.
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

// senderDomain returns the domain that SPF is checked for, "" if there is none.
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

// spfAsker asks at once for what a sender's record names, where the evaluation asks for one after the other. What it
// includes from others is left to the evaluation. It makes no more queries than the evaluation may: a term that is not come
// to has cost one, and ten terms may take eleven each.
type spfAsker struct {
	*dns.View
	client netip.Addr
	begun  bool
}

// LookupTXT gives the TXT records of a name. What is asked for first is the sender's own record.
func (a *spfAsker) LookupTXT(ctx context.Context, name string) ([]string, error) {
	all, err := a.View.LookupTXT(ctx, name)
	if a.begun {
		return all, err
	}
	a.begun = true
	if records := slices.DeleteFunc(slices.Clone(all), func(txt string) bool { return !spf.IsRecord(txt) }); len(records) == 1 {
		if record, err := spf.ParseRecord(records[0]); err == nil {
			a.askTerms(ctx, record, name)
		}
	}
	return all, err
}

// LookupMX gives the MX records of a name, and asks for the addresses of all of them.
func (a *spfAsker) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	hosts, err := a.View.LookupMX(ctx, name)
	if len(hosts) <= maxHostsAhead {
		for _, h := range hosts {
			a.Ahead(ctx, a.family(), h.Host)
		}
	}
	return hosts, err
}

// askTerms goes as far as the first term that matches without DNS.
func (a *spfAsker) askTerms(ctx context.Context, r *spf.Record, domain string) {
	type term struct {
		dns.Type
		name spf.DomainSpec
	}
	var terms []term
	decided := false
	for _, d := range r.Directives {
		switch d.Mechanism {
		case spf.All:
			decided = true
		case spf.IP4, spf.IP6:
			decided = d.Network.Masked().Contains(a.client)
		case spf.Include:
			terms = append(terms, term{dns.TXT, d.Domain})
		case spf.MX:
			terms = append(terms, term{dns.MX, d.Domain})
		case spf.A:
			terms = append(terms, term{a.family(), d.Domain})
		case spf.Exists:
			terms = append(terms, term{dns.A, d.Domain})
		case spf.PTR:
			terms = append(terms, term{dns.A, "%"}) // counts, and the names are not known
		}
		if decided {
			break
		}
	}
	if !decided && r.Redirect != "" {
		terms = append(terms, term{dns.TXT, r.Redirect})
	}
	if len(terms) > maxTermsAhead {
		return
	}
	for _, t := range terms {
		if name := cmp.Or(string(t.name), domain); !t.name.HasMacros() {
			a.Ahead(ctx, t.Type, name)
		}
	}
}

func (a *spfAsker) family() dns.Type {
	if a.client.Is4() {
		return dns.A
	}
	return dns.AAAA
}
