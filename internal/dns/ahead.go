package dns

import (
	"context"
	"runtime/debug"

	"github.com/miekg/dns"
)

// Type is what sort of record is asked for ahead.
type Type uint16

// The types that mail authentication asks for.
const (
	TXT  = Type(dns.TypeTXT)
	MX   = Type(dns.TypeMX)
	A    = Type(dns.TypeA)
	AAAA = Type(dns.TypeAAAA)
)

// maxAhead is how many questions of one message may be under way when another is to be asked ahead. An ordinary message has
// ten or so; a stranger's SPF record may name a hundred hosts, and each question holds a socket.
const maxAhead = 20

// Ahead asks for what is likely to be needed and does not wait: the look-up that needs it finds the answer, or waits for
// the rest of the way. It counts where it is asked ahead, whether it turns out to be needed or not. ctx ends the asking.
func (v *View) Ahead(ctx context.Context, t Type, name string) {
	full, err := canonical(name)
	if err != nil || v.known || v.shared.full() {
		return
	}
	a, at, done := v.take(name, question{full, uint16(t)})
	if a != nil || done != nil {
		return
	}
	go func() {
		defer func() {
			if p := recover(); p != nil {
				v.shared.resolver.log.Error("internal error", "event", "DNS", "name", full, "panic", p, "stack", string(debug.Stack()))
			}
		}()
		v.fetch(ctx, at)
	}()
}

// full says that no more is asked ahead for now; the evaluation asks in its turn.
func (s *shared) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy >= maxAhead
}
