package dns

import (
	"context"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// rootTimeout limits a query for `. NS`. A recursive resolver has the answer in its cache, or needs one round trip to a root server.
	rootTimeout = 2 * time.Second
	// rootMemory is the time for which the result is reused. Senders cannot cause more than one query in that time. As a consequence, the
	// start and the end of an outage are noticed a few seconds late.
	rootMemory = 3 * time.Second
)

// rootAnswer is the result of a query for `. NS`.
type rootAnswer int

// The results, the worst first.
const (
	rootSilent  rootAnswer = iota // no reply
	rootFails                     // an error, such as SERVFAIL or REFUSED
	rootAnswers                   // NOERROR or NXDOMAIN
)

// rootProbe queries one server for `. NS`. Callers share one query if they call at the same time or shortly afterwards.
type rootProbe struct {
	ask func(ctx context.Context, q *dns.Msg) (*dns.Msg, error)

	mu      sync.Mutex
	running chan struct{} // closed when the query ends; nil if there is no query
	ended   time.Time     // of the last query
	last    rootAnswer
}

// answer returns the result of the query. If ctx ends first, it returns rootSilent.
func (p *rootProbe) answer(ctx context.Context) rootAnswer {
	p.mu.Lock()
	if !p.ended.IsZero() && time.Since(p.ended) < rootMemory {
		defer p.mu.Unlock()
		return p.last
	}
	running := p.running
	if running == nil {
		running = make(chan struct{})
		p.running = running
		go p.query(running)
	}
	p.mu.Unlock()
	select {
	case <-running:
	case <-ctx.Done():
		return rootSilent
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

func (p *rootProbe) query(running chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), rootTimeout)
	defer cancel()
	last := rootSilent
	defer func() {
		_ = recover() // a panic of ask counts as no reply; the lookups that call ask log the panic
		p.mu.Lock()
		p.running, p.ended, p.last = nil, time.Now(), last
		p.mu.Unlock()
		close(running)
	}()
	q := new(dns.Msg).SetQuestion(".", dns.TypeNS)
	q.SetEdns0(udpSize, false)
	switch m, err := p.ask(ctx, q); {
	case err != nil:
	case m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError:
		last = rootAnswers
	default:
		last = rootFails
	}
}

// RootAnswers reports whether any server answers a query for the name servers of the root. If no server answers, the DNS of this host has
// failed, not the DNS of a sender. The query uses neither the cache nor a slot. Its result is reused for a few seconds. RootAnswers takes
// at most rootTimeout, and returns false if ctx ends first.
func (r *Resolver) RootAnswers(ctx context.Context) bool {
	answers := make(chan rootAnswer, len(r.roots))
	for _, p := range r.roots {
		go func() { answers <- p.answer(ctx) }()
	}
	for range r.roots {
		if <-answers == rootAnswers {
			return true
		}
	}
	return false
}

// RootAnswers calls RootAnswers of the Resolver. If the view sends no queries (Known, Recall), it returns true, and Missed reports this.
func (v *View) RootAnswers(ctx context.Context) bool {
	if v.known {
		v.missed = true
		return true
	}
	return v.shared.resolver.RootAnswers(ctx)
}
