// Package dns asks the local resolvers for what mail authentication needs, and remembers the answers: a stub resolver with
// a cache on top of miekg/dns. It never walks the tree from the root; a recursive resolver near by does that, and
// validates DNSSEC.
//
// Errors are exact: each look-up fails with a bare *net.DNSError, IsNotFound where there is no such record, IsTemporary
// where nobody could say, and neither where the answer is no use.
package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Options are what a Resolver needs.
type Options struct {
	Servers []netip.AddrPort // recursive resolvers, tried in this order; see ReadServers
	// Ask, if there is one, answers instead of Servers.
	Ask     func(ctx context.Context, q *dns.Msg) (*dns.Msg, error)
	Timeout time.Duration // of one query at one server
	Now     func() time.Time
	Log     *slog.Logger
}

// maxFlights is how many queries may be under way at a time, each with a socket of its own; more wait. Ten for each of a
// busy server's hundred smtpd processes.
const maxFlights = 1000

// Resolver is safe for concurrent use. Messages ask it through a View each.
type Resolver struct {
	ask   func(ctx context.Context, q *dns.Msg) (*dns.Msg, error)
	limit time.Duration // of a flight
	now   func() time.Time
	log   *slog.Logger
	slots chan struct{}
	tell  func(Asked) // nil: nobody wants to know
	near  bool        // see Near

	mu      sync.Mutex
	cache   cache
	flights map[question]*flight
}

// question is a name in lower case with its final dot, as miekg/dns writes names, and a type.
type question struct {
	name  string
	qtype uint16
}

// New gives a resolver that asks servers over the network.
func New(o Options) *Resolver {
	if o.Ask != nil {
		r := newResolver(o.Ask, o.Timeout, o.Now, o.Log)
		r.near = true
		return r
	}
	n := &network{servers: o.Servers, timeout: o.Timeout}
	r := newResolver(n.ask, o.Timeout*time.Duration(len(o.Servers)), o.Now, o.Log)
	r.near = !slices.ContainsFunc(o.Servers, func(s netip.AddrPort) bool { return !s.Addr().IsLoopback() })
	return r
}

// Near says that all servers are on this machine, so that nobody between could have set the AD bit: RFC 4035 section 4.9.3
// has that believed by a secure channel alone.
func (r *Resolver) Near() bool { return r.near }

func newResolver(ask func(context.Context, *dns.Msg) (*dns.Msg, error), limit time.Duration, now func() time.Time, log *slog.Logger) *Resolver {
	return &Resolver{
		ask: ask, limit: limit, now: now, log: log,
		slots:   make(chan struct{}, maxFlights),
		cache:   newCache(),
		flights: map[question]*flight{},
	}
}

// flight is one question under way. It has a time-out of its own, because its callers come and go: each leaves when its
// own context ends, and the last one takes the flight with it.
type flight struct {
	cancel  context.CancelFunc
	done    chan struct{}
	answer  *answer // to be read after done
	callers int     // guarded by Resolver.mu
}

// cached gives nil where nothing valid is kept.
func (r *Resolver) cached(q question) *answer {
	now := r.now()
	r.mu.Lock()
	a := r.cache.get(q, now)
	r.mu.Unlock()
	if a != nil {
		r.fromCache(q)
	}
	return a
}

// lookup gives an answer, never nil, and whether it came from the cache.
func (r *Resolver) lookup(ctx context.Context, q question) (a *answer, cached bool) {
	r.mu.Lock()
	if a := r.cache.get(q, r.now()); a != nil {
		r.mu.Unlock()
		r.fromCache(q)
		return a, true
	}
	if ctx.Err() != nil { // who waited for another to ask, and has no time left, asks for nobody
		r.mu.Unlock()
		return failed(q, "the time for it was up", true), false
	}
	f := r.flights[q]
	if f == nil {
		flying, cancel := context.WithTimeout(context.Background(), r.limit)
		f = &flight{cancel: cancel, done: make(chan struct{})}
		r.flights[q] = f
		go r.fly(flying, q, f)
	}
	f.callers++
	r.mu.Unlock()

	select {
	case <-f.done:
		return f.answer, false
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f.callers--
	if f.callers == 0 && r.flights[q] == f {
		f.cancel()
		delete(r.flights, q)
	}
	return failed(q, "the time for it was up", true), false
}

// fly asks, whatever happens on the way gives an answer, and keeps what may be kept.
func (r *Resolver) fly(ctx context.Context, q question, f *flight) {
	start := time.Now()
	defer f.cancel()
	defer func() {
		v := recover()
		if v != nil {
			r.log.Error("internal error", "event", "DNS", "name", q.name, "panic", v, "stack", string(debug.Stack()))
			f.answer = failed(q, "internal error", true)
		}
		if r.tell != nil {
			r.tell(Asked{typeWord(q.qtype), outcome(ctx, f.answer, v), time.Since(start)})
		}
		r.mu.Lock()
		if r.flights[q] == f {
			delete(r.flights, q)
		}
		if f.answer.ttl > 0 {
			r.cache.put(q, f.answer, r.now())
		}
		r.mu.Unlock()
		close(f.done)
	}()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
		f.answer = r.resolve(ctx, q)
	case <-ctx.Done():
		f.answer = failed(q, "too many queries at a time", true)
	}
}

// maxHops is how many aliases are followed that the server did not follow itself. Recursive resolvers do.
const maxHops = 8

func (r *Resolver) resolve(ctx context.Context, q question) *answer {
	at, ttl := q.name, maxTTL
	for range maxHops {
		m := new(dns.Msg).SetQuestion(at, q.qtype)
		m.SetEdns0(udpSize, false)
		m.AuthenticatedData = true // RFC 6840 section 5.7: asks for the bit without asking for the signatures
		reply, err := r.ask(ctx, m)
		if err != nil {
			return failed(q, err.Error(), true)
		}
		a, target := read(q, at, reply)
		ttl = min(ttl, a.ttl)
		if target == "" {
			a.ttl = ttl
			a.absent = a.absent && at == q.name // an alias is something: the name is there
			return a
		}
		at = target
	}
	return failed(q, fmt.Sprintf("more than %d aliases", maxHops), true)
}

// failed is an answer that is no answer. It is not kept.
func failed(q question, why string, temporary bool) *answer {
	return &answer{err: &net.DNSError{Err: why, Name: q.name, IsTemporary: temporary}}
}
