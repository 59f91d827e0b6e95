package dns

import (
	"context"
	"errors"
	"time"

	"github.com/miekg/dns"
)

// Outcome is the outcome of a query, for metrics.
type Outcome string

// The outcomes.
const (
	Found     Outcome = "found"
	Nothing   Outcome = "nothing" // the name or the record does not exist
	TempError Outcome = "temperror"
	Exhausted Outcome = "exhausted" // this host lacks resources: no slot was free, or no file descriptor
	Useless   Outcome = "useless"   // the answer exceeds a limit
	Abandoned Outcome = "abandoned" // no caller waited any longer
	Panicked  Outcome = "panic"     // an internal error; a temporary error for the caller
	Cached    Outcome = "cached"    // no query was sent
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome {
	return []Outcome{Found, Nothing, TempError, Exhausted, Useless, Abandoned, Panicked, Cached}
}

// Types returns the values of Asked.Type.
func Types() []string { return []string{"A", "AAAA", "MX", "TXT", "PTR", "other"} }

// Asked is one lookup, answered by a server or from the cache.
type Asked struct {
	Type    string // one of Types
	Outcome Outcome
	Took    time.Duration // 0 from the cache
}

// SetObserver registers f to be called for every query, from many goroutines. Call it before first use.
func (r *Resolver) SetObserver(f func(Asked)) { r.asked = f }

func (r *Resolver) observe(q question, o Outcome, took time.Duration) {
	if r.asked == nil {
		return
	}
	word := "other"
	switch q.qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypeMX, dns.TypeTXT, dns.TypePTR:
		word = dns.TypeToString[q.qtype]
	}
	r.asked(Asked{word, o, took})
}

func outcome(ctx context.Context, a *answer, panicked any) Outcome {
	switch {
	case panicked != nil:
		return Panicked
	case a.err == nil:
		return Found
	case a.err.IsNotFound:
		return Nothing
	case !a.err.IsTemporary:
		return Useless
	case a.lack:
		return Exhausted
	case errors.Is(ctx.Err(), context.Canceled):
		return Abandoned
	}
	return TempError
}
