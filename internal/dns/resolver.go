// Package dns makes the DNS lookups of mail authentication: a stub resolver with a cache on top of miekg/dns. It queries recursive
// resolvers, which follow delegations and validate DNSSEC.
//
// A [Resolver] is shared by all messages and has the cache. A [View] is for one message. It limits the lookups, and returns the same
// answer to a repeated question. A [Lookup] is the record of one lookup, and [Recall] makes a View of recorded lookups. An [Authority]
// queries the authoritative name servers of a zone.
//
//	resolver := dns.New(dns.Options{Servers: servers, Timeout: 5 * time.Second, Now: time.Now, Log: log})
//	view := resolver.View(client)
//	records, err := view.LookupTXT(ctx, "_dmarc.example.org")
//
// A lookup fails with a *net.DNSError that is not wrapped. IsNotFound means that there is no such record. IsTemporary means that no answer
// was received or that the servers failed. An error with neither means that the answer exceeds a limit. Its Err is a [Status]. [OverLimit]
// and View.Exhausted report two causes on this host.
package dns

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Options configure a Resolver. Servers or Ask, Timeout, Now and Log are required.
type Options struct {
	Servers []netip.AddrPort // recursive resolvers, tried in this order; see ReadServers
	// If Ask is not nil, it answers all queries instead of Servers.
	Ask     func(ctx context.Context, q *dns.Msg) (*dns.Msg, error)
	Timeout time.Duration // the timeout of one query to one server
	// Slots is the maximum number of concurrent lookups, each of which needs a file descriptor. 0 means DefaultSlots.
	Slots int
	// If the preferred server does not answer and another server becomes preferred, the resolver calls FailedOver. It may be nil.
	FailedOver func()
	Now        func() time.Time
	Log        *slog.Logger
}

// Resolver makes lookups for all messages, each of which uses a View. It is safe for concurrent use.
type Resolver struct {
	ask   func(ctx context.Context, q *dns.Msg) (*dns.Msg, error)
	limit time.Duration // the maximum duration of a flight, and also of its wait for a slot
	now   func() time.Time
	log   *slog.Logger
	asked func(Asked)  // see SetObserver; may be nil
	near  bool         // see Near
	roots []*rootProbe // one for each server

	mu       sync.Mutex
	cache    cache[question, *answer]
	policies cache[string, []string] // the DMARC records of earlier answers, by name
	flights  map[question]*flight
	slots    slots
}

// question is a name and a type. The name is in the form that miekg/dns uses: lower case with a final dot.
type question struct {
	name  string
	qtype uint16
}

// New returns a resolver that queries servers over the network.
func New(o Options) *Resolver {
	if o.Ask != nil {
		r := newResolver(o.Ask, o.Timeout, o.Now, o.Log)
		r.slots, r.near = newSlots(o.Slots), true
		return r
	}
	n := newNetwork(o)
	r := newResolver(n.ask, o.Timeout*time.Duration(len(o.Servers)), o.Now, o.Log)
	r.slots, r.roots = newSlots(o.Slots), n.roots
	r.near = !slices.ContainsFunc(o.Servers, func(s netip.AddrPort) bool { return !s.Addr().IsLoopback() })
	return r
}

// Near reports whether all servers are on this machine, so that the AD bit can be trusted: RFC 4035 section 4.9.3 requires a secure channel.
func (r *Resolver) Near() bool { return r.near }

func newResolver(ask func(context.Context, *dns.Msg) (*dns.Msg, error), limit time.Duration, now func() time.Time, log *slog.Logger) *Resolver {
	return &Resolver{
		ask: ask, limit: limit, now: now, log: log,
		roots:    []*rootProbe{{ask: ask}},
		slots:    newSlots(DefaultSlots),
		cache:    newCache[question, *answer](maxCache),
		policies: newCache[string, []string](maxPolicies),
		flights:  map[question]*flight{},
	}
}

// cached returns the answer in the cache, or nil if there is none or it has expired.
func (r *Resolver) cached(q question) *answer {
	now := r.now()
	r.mu.Lock()
	a := r.cache.get(q, now)
	r.use(a, now)
	r.mu.Unlock()
	if a != nil {
		r.observe(q, Cached, 0)
	}
	return a
}

// maxHops is the maximum number of aliases that this package itself follows. Recursive resolvers usually follow them.
const maxHops = 8

// resolve queries the servers. If a server does not follow an alias, resolve follows it.
func (r *Resolver) resolve(ctx context.Context, q question) *answer {
	at, ttl := q.name, maxTTL
	for range maxHops {
		m := new(dns.Msg).SetQuestion(at, q.qtype)
		m.SetEdns0(udpSize, false)
		m.AuthenticatedData = true // RFC 6840 section 5.7: requests the AD bit, but no signatures
		reply, err := r.ask(ctx, m)
		if err != nil {
			return failed(q, queryErrorOf(err).status)
		}
		a, target := read(q, at, reply)
		ttl = min(ttl, a.ttl)
		if target == "" {
			a.ttl = ttl
			a.absent = a.absent && at == q.name // if the queried name has an alias, that name exists
			return a
		}
		at = target
	}
	return failed(q, TooManyAliases)
}

// failed returns an answer that has only an error. It is not cached.
func failed(q question, s Status) *answer {
	return &answer{err: &net.DNSError{Err: string(s), Name: q.name, IsTemporary: s.temporary()}, lack: s.lack()}
}
