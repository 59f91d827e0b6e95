package dns

import (
	"context"

	"github.com/miekg/dns"
)

// Type is a record type.
type Type uint16

// The types that mail authentication looks up.
const (
	TXT  = Type(dns.TypeTXT)
	MX   = Type(dns.TypeMX)
	A    = Type(dns.TypeA)
	AAAA = Type(dns.TypeAAAA)
)

// Limits on the concurrent lookups of one message. If they are reached, no more lookups are prefetched. Each lookup needs a socket.
const (
	// maxPrefetch is the limit for lookups that are not reserved. An ordinary message makes about ten such lookups; an SPF record may name
	// a hundred hosts.
	maxPrefetch = 20
	// maxReservedPrefetch is the limit for reserved lookups: eight keys, and a few names for each of four Author Domains and for SPF.
	maxReservedPrefetch = 32
)

// Prefetch starts a lookup that will probably be needed, and does not wait for the answer. A later lookup of the same name uses its answer.
// The prefetch counts against the limit of this view, even if its answer is not used. Prefetch does nothing if too many lookups of the
// message are in progress. ctx ends the lookup.
func (v *View) Prefetch(ctx context.Context, t Type, name string) {
	full, err := canonical(name)
	if err != nil || v.known || v.full() {
		return
	}
	if _, at, f, began := v.take(ctx, name, question{full, uint16(t)}, false); f != nil && began {
		go v.await(ctx, at, f)
	}
}

// full reports whether the limit on prefetched lookups is reached at present.
func (v *View) full() bool {
	s := v.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.reserved {
		return s.open.reserved >= maxReservedPrefetch
	}
	return s.open.others >= maxPrefetch
}
