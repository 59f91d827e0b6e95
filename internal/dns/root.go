package dns

import (
	"context"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// rootTimeout bounds a query for `. NS`. Every recursive resolver has it in its cache, or needs one round trip to a root
	// server.
	rootTimeout = 2 * time.Second
	// rootMemory is how long its outcome is reused. It limits the queries to one in that time, whatever a sender makes us look
	// up. The start and the end of an outage are noticed a few seconds late.
	rootMemory = 3 * time.Second
)

// rootAnswer is what a server does when it is asked `. NS`.
type rootAnswer int

// From the worst to the best.
const (
	rootSilent  rootAnswer = iota // it does not reply
	rootFails                     // it replies with an error, such as SERVFAIL or REFUSED
	rootAnswers                   // NOERROR or NXDOMAIN
)

// rootProbe queries one server for `. NS`. Callers at the same time and shortly afterwards share one query.
type rootProbe struct {
	ask func(ctx context.Context, q *dns.Msg) (*dns.Msg, error)

	mu      sync.Mutex
	running chan struct{} // closed when the query ends; nil: there is none
	ended   time.Time     // of the last query
	last    rootAnswer
}

// answer returns what the server does. If ctx ends before it is known, it is rootSilent.
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
		_ = recover() // a defect of ask is logged by each lookup; here it means that there is no answer
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

// RootAnswers reports whether any server answers a query for the name servers of the root. If none does, our own DNS is at
// fault rather than that of a sender. The query bypasses the cache and needs no slot; its outcome is used again for a few
// seconds. RootAnswers takes at most rootTimeout, and returns false if ctx ends first.
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

// RootAnswers calls RootAnswers of the Resolver. A view that sends no queries (Known, Recall) returns true, and Missed reports it.
func (v *View) RootAnswers(ctx context.Context) bool {
	if v.known {
		v.missed = true
		return true
	}
	return v.shared.resolver.RootAnswers(ctx)
}
