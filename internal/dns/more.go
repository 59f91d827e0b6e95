package dns

import (
	"context"

	"github.com/miekg/dns"
)

// TLSA is what a host's certificate has to be: RFC 6698 section 2.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      string // hexadecimal, lower case
}

// LookupTLSA gives the TLSA records of a name; whether they count depends on authentic: RFC 6698 section 4.
func (v *View) LookupTLSA(ctx context.Context, name string) (all []TLSA, authentic bool, err error) {
	a := v.lookup(ctx, name, dns.TypeTLSA)
	return a.tlsa, a.authentic, a.error()
}

// LookupCNAME gives where a name's alias leads, with its final dot.
func (v *View) LookupCNAME(ctx context.Context, name string) (string, error) {
	a := v.lookup(ctx, name, dns.TypeCNAME)
	if len(a.names) == 0 {
		return "", a.error()
	}
	return a.names[0], a.error()
}

// Authentic says that the resolver vouches for an answer by DNSSEC, also for one that there is nothing. What was asked
// before is not asked again.
func (v *View) Authentic(ctx context.Context, t Type, name string) bool {
	return v.lookup(ctx, name, uint16(t)).authentic
}
