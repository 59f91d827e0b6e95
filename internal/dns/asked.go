package dns

import (
	"context"
	"errors"
	"time"

	"github.com/miekg/dns"
)

// Outcome is what became of a question, for who counts.
type Outcome string

// The outcomes.
const (
	Found     Outcome = "found"
	Nothing   Outcome = "nothing" // there is no such name or record
	TempError Outcome = "temperror"
	Exhausted Outcome = "exhausted" // no slot or no file descriptor: a lack of our own resources
	Useless   Outcome = "useless"   // an answer beyond the bounds
	Abandoned Outcome = "abandoned" // nobody waited for it any more
	Panicked  Outcome = "panic"     // a defect of ours; a temporary error for who asked
	Cached    Outcome = "cached"    // nobody was asked
)

// Outcomes are all there are.
func Outcomes() []Outcome {
	return []Outcome{Found, Nothing, TempError, Exhausted, Useless, Abandoned, Panicked, Cached}
}

// Types are the words for what is asked for.
func Types() []string { return []string{"A", "AAAA", "MX", "TXT", "PTR", "other"} }

// Asked is one question to the servers, or to the cache.
type Asked struct {
	Type    string // of Types
	Outcome Outcome
	Took    time.Duration // 0 from the cache
}

// Tell has f told of each question. It is called before the first one, and f from many goroutines.
func (r *Resolver) Tell(f func(Asked)) { r.tell = f }

func (r *Resolver) fromCache(q question) {
	if r.tell != nil {
		r.tell(Asked{Type: typeWord(q.qtype), Outcome: Cached})
	}
}

func typeWord(qtype uint16) string {
	switch qtype {
	case dns.TypeA:
		return "A"
	case dns.TypeAAAA:
		return "AAAA"
	case dns.TypeMX:
		return "MX"
	case dns.TypeTXT:
		return "TXT"
	case dns.TypePTR:
		return "PTR"
	}
	return "other"
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
