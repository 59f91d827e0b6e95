package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// View does the lookups of one message. A question has the same answer for the whole message, even with TTL 0, so that all checks use the
// same records. A View counts and limits the questions. It is safe for concurrent use.
type View struct {
	shared   *shared
	budget   *int      // remaining questions; guarded by shared.mu; nil: no limit
	end      time.Time // the deadline of all lookups; zero: only the contexts of the lookups have deadlines
	reserved bool      // see Reserved
	known    bool      // no queries are sent
	missed   bool      // set if known is true and a lookup would have needed a query
}

// View returns a view for a message. client is the SMTP client. If there are too few slots, clients with many lookups in progress must
// wait. If client is not a valid address, its lookups do not wait for this reason.
func (r *Resolver) View(client netip.Addr) *View {
	return &View{shared: &shared{resolver: r, client: client, asked: make([]asked, 0, usualQuestions)}}
}

// Reserved returns the view for lookups that could affect alignment. A quarter of the slots is reserved for them, and they have their own
// limit for prefetches. If the same lookup is already in progress and not reserved, it becomes reserved.
func (v *View) Reserved() *View {
	reserved := *v
	reserved.reserved = true
	return &reserved
}

// Exhausted reports whether a reserved lookup of this message failed because this host lacks resources. Either there was no file
// descriptor, port or memory for its socket, or no slot was free.
func (v *View) Exhausted() bool {
	v.shared.mu.Lock()
	defer v.shared.mu.Unlock()
	return v.shared.exhausted
}

// Limit returns the view with a limit: the message can have at most n additional different questions. Lookups over the limit fail with a
// temporary error, for which OverLimit returns true. Questions that the cache answers also count, so that a result does not depend on
// earlier messages.
func (v *View) Limit(n int) *View {
	limited := *v
	limited.budget = &n
	return &limited
}

// Until returns the view with a deadline for its lookups. Unlike a context with a deadline, it needs no timer for a cached answer.
func (v *View) Until(end time.Time) *View {
	until := *v
	until.end = end
	return &until
}

// Known returns the view restricted to the answers that the message already has and to the cache. Any other lookup returns a temporary
// error at once, and Missed reports this. Only one goroutine may use the result.
func (v *View) Known() *View {
	known := *v
	known.known, known.missed = true, false
	return &known
}

// Asks reports whether the view sends queries. The views of Known and Recall do not.
func (v *View) Asks() bool { return !v.known }

// Missed reports whether a question had no known answer. See Known and Recall.
func (v *View) Missed() bool { return v.missed }

// Answered contains the answered questions of a message. They are converted to Lookups later, because the conversion takes longer than a
// lookup in the cache.
type Answered struct{ all []asked }

// Answered returns all answered questions so far.
func (v *View) Answered() Answered {
	v.shared.mu.Lock()
	defer v.shared.mu.Unlock()
	return Answered{slices.DeleteFunc(slices.Clone(v.shared.asked), func(a asked) bool { return a.answer == nil })}
}

// Lookups returns the lookups with complete answers.
func (a Answered) Lookups() []Lookup {
	all := make([]Lookup, 0, len(a.all))
	for _, a := range a.all {
		all = append(all, a.lookup(a.answer.records(), 0))
	}
	return all
}

// Shortened returns the lookups with shortened answers. Lookup.Shorten describes what is omitted.
func (a Answered) Shortened() []Lookup {
	all := make([]Lookup, 0, len(a.all))
	for _, a := range a.all {
		all = append(all, a.lookup(a.answer.shortened()))
	}
	return all
}

// Open reports whether a lookup of the message is in progress.
func (v *View) Open() bool {
	v.shared.mu.Lock()
	defer v.shared.mu.Unlock()
	return v.shared.open != (openCount{})
}

// Spent returns the number of questions, and the total time during which at least one query was in progress.
func (v *View) Spent() (queries int, open time.Duration) {
	s := v.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	open = s.spent
	if s.open != (openCount{}) {
		open += time.Since(s.since)
	}
	return len(s.asked), open
}

// overLimit marks the errors of lookups that a view's Limit prevented. Those errors wrap it.
type overLimit struct{}

func (overLimit) Error() string { return string(Limit) }

func tooMany(q question) *answer {
	return &answer{err: &net.DNSError{UnwrapErr: overLimit{}, Err: string(Limit), Name: q.name, IsTemporary: true}}
}

// OverLimit reports whether err belongs to a lookup that was not made because the message had reached its limit of queries.
func OverLimit(err error) bool { return errors.Is(err, overLimit{}) }

func (a *answer) error() error {
	if a.err == nil {
		return nil
	}
	e := *a.err // a copy, because a caller may change it
	return &e
}

// LookupTXT returns the TXT records of a name. The strings of each record are joined.
func (v *View) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a := v.lookup(ctx, name, dns.TypeTXT)
	return a.text, a.error()
}

// LookupMX returns the MX records of a name.
func (v *View) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a := v.lookup(ctx, name, dns.TypeMX)
	return a.mx, a.error()
}

// LookupA returns the IPv4 addresses of a name.
func (v *View) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	a := v.lookup(ctx, name, dns.TypeA)
	return a.addrs, a.error()
}

// LookupAAAA returns the IPv6 addresses of a name.
func (v *View) LookupAAAA(ctx context.Context, name string) ([]netip.Addr, error) {
	a := v.lookup(ctx, name, dns.TypeAAAA)
	return a.addrs, a.error()
}

// LookupAddr returns the names of an address, unverified.
func (v *View) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: string(InvalidName), Name: addr, IsNotFound: true}
	}
	a := v.lookup(ctx, name, dns.TypePTR)
	return a.names, a.error()
}

// Exists reports whether a name exists. A name exists if it has records of any type or if there are names below it: RFC 8020.
func (v *View) Exists(ctx context.Context, name string) (bool, error) {
	a := v.lookup(ctx, name, dns.TypeTXT)
	if a.err != nil && !a.err.IsNotFound {
		return false, a.error()
	}
	return !a.absent, nil
}

// TLSA is a TLSA record: RFC 6698 section 2.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      string // hexadecimal, lower case
}

// LookupTLSA returns the TLSA records of a name, and whether they are authentic. Records that are not authentic must not be used: RFC
// 6698 section 4.
func (v *View) LookupTLSA(ctx context.Context, name string) (all []TLSA, authentic bool, err error) {
	a := v.lookup(ctx, name, dns.TypeTLSA)
	return a.tlsa, a.authentic, a.error()
}

// LookupCNAME returns the target of a name's alias, with its final dot.
func (v *View) LookupCNAME(ctx context.Context, name string) (string, error) {
	a := v.lookup(ctx, name, dns.TypeCNAME)
	if len(a.names) == 0 {
		return "", a.error()
	}
	return a.names[0], a.error()
}

// Authentic reports whether the resolver validated the answer to a question by DNSSEC. Negative answers can also be validated. It sends
// no query if the message already has the answer.
func (v *View) Authentic(ctx context.Context, t Type, name string) bool {
	return v.lookup(ctx, name, uint16(t)).authentic
}
