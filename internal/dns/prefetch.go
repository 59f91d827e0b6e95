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

// Limits on the lookups of one message that may be under way when another is prefetched. Each holds a socket.
const (
	// maxPrefetch is for lookups that are not reserved. An ordinary message makes ten or so; a sender's SPF record may name a
	// hundred hosts.
	maxPrefetch = 20
	// maxReservedPrefetch is for reserved lookups: eight keys, and a few names each of four Author Domains and of the SPF record.
	maxReservedPrefetch = 32
)

// Prefetch starts a lookup that is likely to be needed and does not wait: the lookup that needs it finds the answer, or waits
// for the rest of the time. It counts against the limit of this view, whether it turns out to be needed or not. It does
// nothing if too many lookups of the message are under way. ctx ends the lookup.
func (v *View) Prefetch(ctx context.Context, t Type, name string) {
	full, err := canonical(name)
	if err != nil || v.known || v.full() {
		return
	}
	if _, at, f, began := v.take(ctx, name, question{full, uint16(t)}, false); f != nil && began {
		go v.await(ctx, at, f)
	}
}

// full reports whether no more may be prefetched for now. The evaluation makes the lookup in its turn.
func (v *View) full() bool {
	s := v.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.reserved {
		return s.open.reserved >= maxReservedPrefetch
	}
	return s.open.others >= maxPrefetch
}
