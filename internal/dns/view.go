package dns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// View is how one message asks: what it was told once it is told again, TTL 0 or not, so that its parts are judged by the
// same records; and what it may ask is counted. It is safe for concurrent use.
type View struct {
	shared *shared
	budget *int      // guarded by shared.mu; nil: no bound of its own
	end    time.Time // no look-up waits longer; zero: as long as its context lets it
	known  bool      // nobody is asked
	missed bool      // known: somebody would have to be
}

type shared struct {
	resolver *Resolver

	mu    sync.Mutex
	asked []asked   // looked through from the top: an ordinary message asks three to ten questions, the worst one 205
	busy  int       // questions that a server was asked and that are under way
	since time.Time // when busy left 0
	spent time.Duration
}

// usualQuestions is how many have room from the start.
const usualQuestions = 4

// asked is one question of a message. It becomes a Lookup only where somebody wants to read it: the daemon asks far more
// than it shows, and answers are long.
type asked struct {
	question
	name   string        // as it was asked for
	answer *answer       // nil: under way
	done   chan struct{} // under way: closed with the answer
	vain   bool          // who asked gave up: whoever needs it asks again
	cached bool
	took   time.Duration
}

// Lookup is one question of a message and its answer, for a person who reads along.
type Lookup struct {
	Name      string        `json:"name"`
	Type      string        `json:"type"`
	Answer    string        `json:"answer"`
	Authentic bool          `json:"authentic,omitempty"` // the resolver says that DNSSEC proves it
	Cached    bool          `json:"cached,omitempty"`
	Took      time.Duration `json:"took"` // nanoseconds; 0 from the cache
}

// View gives a message its view.
func (r *Resolver) View() *View {
	return &View{shared: &shared{resolver: r, asked: make([]asked, 0, usualQuestions)}}
}

// Limit is the same view with room for n more different questions. Beyond them every answer is a temporary error. Whether
// an answer was in the cache makes no difference, so that a verdict does not depend on what others asked before.
func (v *View) Limit(n int) *View {
	limited := *v
	limited.budget = &n
	return &limited
}

// Until is the same view, whose look-ups wait until end at the longest. A cached answer costs no timer so.
func (v *View) Until(end time.Time) *View {
	until := *v
	until.end = end
	return &until
}

// Known is the same view for one goroutine, with what the message was told and what the cache has: for anything else it
// gives a temporary error at once, and Missed says so. What needs no more than this needs nobody to wait for it.
func (v *View) Known() *View {
	known := *v
	known.known, known.missed = true, false
	return &known
}

// Asks is false for Known.
func (v *View) Asks() bool { return !v.known }

// Missed says that Known did not suffice.
func (v *View) Missed() bool { return v.missed }

// Lookups are all questions so far that were answered.
func (v *View) Lookups() []Lookup { return v.Answered().Lookups() }

// Answered are the questions of a message that were answered, for who reads them later: to write them out takes longer than
// to ask them.
type Answered struct{ all []asked }

// Answered are all so far.
func (v *View) Answered() Answered {
	v.shared.mu.Lock()
	defer v.shared.mu.Unlock()
	return Answered{slices.DeleteFunc(slices.Clone(v.shared.asked), func(a asked) bool { return a.answer == nil })}
}

// Lookups writes them out.
func (a Answered) Lookups() (all []Lookup) {
	for _, a := range a.all {
		all = append(all, Lookup{Name: a.name, Type: dns.TypeToString[a.qtype], Answer: a.answer.write(), Authentic: a.answer.authentic, Cached: a.cached, Took: a.took})
	}
	return all
}

// Size is how many octets of text they hold.
func (a Answered) Size() (n int) {
	for _, a := range a.all {
		for _, text := range a.answer.text {
			n += len(text)
		}
	}
	return n
}

// Spent is how many questions there were, and how long at least one was open that a server was asked.
func (v *View) Spent() (queries int, open time.Duration) {
	s := v.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	open = s.spent
	if s.busy > 0 {
		open += time.Since(s.since)
	}
	return len(s.asked), open
}

func (v *View) lookup(ctx context.Context, name string, qtype uint16) *answer {
	full, err := canonical(name)
	q := question{full, qtype}
	if err != nil {
		// RFC 7208 section 4.8: a name that cannot be looked up is one that does not exist.
		return &answer{absent: true, err: &net.DNSError{Err: err.Error(), Name: name, IsNotFound: true}}
	}
	for {
		a, at, done := v.take(name, q)
		switch {
		case a != nil:
			return a
		case done == nil:
			return v.fetch(ctx, at)
		}
		// Another part of the message is asking.
		ctx, cancel := v.patience(ctx)
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
			cancel()
			return failed(q, "the time for it was up", true)
		}
	}
}

// take gives the answer to a question where there is one. Otherwise somebody is asking until done is closed, or the
// question has now a place, and the caller is to fetch its answer.
func (v *View) take(name string, q question) (a *answer, at int, done chan struct{}) {
	s := v.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.asked {
		known := &s.asked[i]
		switch {
		case known.qtype != q.qtype || known.vain || known.question != q:
		case known.answer == nil && v.known:
			return v.miss(q), 0, nil
		default:
			return known.answer, 0, known.done
		}
	}
	if v.budget != nil && *v.budget == 0 {
		return failed(q, "the message has asked for too much", true), 0, nil
	}
	if a = s.resolver.cached(q); a == nil && v.known {
		return v.miss(q), 0, nil
	}
	if v.budget != nil {
		*v.budget--
	}
	mine := asked{question: q, name: name, answer: a, cached: a != nil}
	if a == nil {
		mine.done = make(chan struct{})
		if s.busy == 0 {
			s.since = time.Now()
		}
		s.busy++
	}
	s.asked = append(s.asked, mine)
	return a, len(s.asked) - 1, nil
}

func (v *View) miss(q question) *answer {
	v.missed = true
	return failed(q, "nobody has asked yet", true)
}

// fetch has the resolver answer the question at a place that take gave.
func (v *View) fetch(ctx context.Context, at int) *answer {
	s := v.shared
	s.mu.Lock()
	q := s.asked[at].question
	s.mu.Unlock()
	ctx, cancel := v.patience(ctx)
	defer cancel()
	start := time.Now()
	a, cached := s.resolver.lookup(ctx, q)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy--; s.busy == 0 {
		s.spent += time.Since(s.since)
	}
	mine := &s.asked[at]
	mine.answer, mine.cached, mine.took, mine.vain = a, cached, time.Since(start), ctx.Err() != nil
	close(mine.done)
	mine.done = nil
	return a
}

func (v *View) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if v.end.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, v.end)
}

func (a *answer) error() error {
	if a.err == nil {
		return nil
	}
	e := *a.err // each caller may change its own
	return &e
}

// LookupTXT gives the TXT records of a name, the strings of each joined.
func (v *View) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a := v.lookup(ctx, name, dns.TypeTXT)
	return a.text, a.error()
}

// LookupMX gives the MX records of a name.
func (v *View) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a := v.lookup(ctx, name, dns.TypeMX)
	return a.mx, a.error()
}

// LookupA gives the IPv4 addresses of a name.
func (v *View) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	a := v.lookup(ctx, name, dns.TypeA)
	return a.addrs, a.error()
}

// LookupAAAA gives the IPv6 addresses of a name.
func (v *View) LookupAAAA(ctx context.Context, name string) ([]netip.Addr, error) {
	a := v.lookup(ctx, name, dns.TypeAAAA)
	return a.addrs, a.error()
}

// LookupAddr gives the names of an address, unverified.
func (v *View) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "not an address", Name: addr, IsNotFound: true}
	}
	a := v.lookup(ctx, name, dns.TypePTR)
	return a.names, a.error()
}

// Exists says whether there is such a name, with records of any type or with names below it: RFC 8020.
func (v *View) Exists(ctx context.Context, name string) (bool, error) {
	a := v.lookup(ctx, name, dns.TypeTXT)
	if a.err != nil && !a.err.IsNotFound {
		return false, a.error()
	}
	return !a.absent, nil
}
