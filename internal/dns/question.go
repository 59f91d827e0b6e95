package dns

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// shared is what all views of a message have in common.
type shared struct {
	resolver *Resolver
	client   netip.Addr

	mu        sync.Mutex
	asked     []asked   // searched from the start: an ordinary message asks three to ten questions, the worst one 205
	open      openCount // questions that a server was asked and that are under way
	since     time.Time // when both left 0
	spent     time.Duration
	exhausted bool // see Exhausted
}

// openCount counts the reserved lookups that are under way, and the others.
type openCount struct{ reserved, others int }

// usualQuestions is how many have room from the start.
const usualQuestions = 4

// asked is one question of a message. It becomes a Lookup only if it is shown: the daemon asks far more than it shows, and
// answers are long.
type asked struct {
	question
	name     string  // as it was asked for
	answer   *answer // nil: under way
	flight   *flight // under way
	waiters  int32   // under way: parts of the message that wait for it
	reserved bool
	vain     bool // all callers gave up, or there was no slot: the next caller asks again
	cached   bool
	took     time.Duration
}

func (v *View) lookup(ctx context.Context, name string, qtype uint16) *answer {
	full, err := canonical(name)
	q := question{full, qtype}
	if err != nil {
		// RFC 7208 section 4.8: a name that cannot be looked up is one that does not exist.
		return &answer{absent: true, err: &net.DNSError{Err: string(InvalidName), Name: name, IsNotFound: true}}
	}
	a, at, f, _ := v.take(ctx, name, q, true)
	if f != nil {
		a = v.await(ctx, at, f)
	}
	if a.lack && v.reserved {
		v.shared.mu.Lock()
		v.shared.exhausted = true
		v.shared.mu.Unlock()
	}
	return a
}

// take returns the answer to a question if there is one already. Otherwise it returns the flight that will have it, and
// whether that flight began here. If wait is true, the caller must call await for a flight.
func (v *View) take(ctx context.Context, name string, q question, wait bool) (a *answer, at int, f *flight, began bool) {
	s := v.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.asked {
		known := &s.asked[i]
		switch {
		case known.qtype != q.qtype || known.vain || known.question != q:
			continue
		case v.known && (known.answer == nil || v.retries(known)):
			return v.miss(q), 0, nil, false
		case known.answer == nil:
			if wait {
				known.waiters++
			}
			if v.reserved {
				s.promote(known)
			}
			return nil, i, known.flight, false
		case v.retries(known):
			known.vain = true
			continue
		}
		return known.answer, 0, nil, false
	}
	if v.budget != nil && *v.budget == 0 {
		return tooMany(q), 0, nil, false
	}
	mine := asked{question: q, name: name, reserved: v.reserved, answer: s.resolver.cached(q)}
	mine.cached = mine.answer != nil
	switch {
	case mine.cached:
	case v.known:
		return v.miss(q), 0, nil, false
	case v.over(ctx):
		mine.answer, mine.vain = failed(q, Timeout), true
	default:
		mine.answer, mine.flight = s.resolver.begin(q, asker{s.client, v.reserved})
	}
	if v.budget != nil {
		*v.budget--
	}
	if mine.flight != nil {
		mine.waiters = 1
		if s.open == (openCount{}) {
			s.since = time.Now()
		}
		*s.open.of(v.reserved)++
	}
	s.asked = append(s.asked, mine)
	return mine.answer, len(s.asked) - 1, mine.flight, true
}

// retries reports whether a question that got no slot is asked again: a reserved lookup may still get one.
func (v *View) retries(known *asked) bool {
	return v.reserved && !known.reserved && known.answer.lack
}

// promote makes a question that is under way a reserved one.
func (s *shared) promote(known *asked) {
	if known.reserved {
		return
	}
	known.reserved = true
	s.open.others--
	s.open.reserved++
	s.resolver.promote(known.flight)
}

func (o *openCount) of(reserved bool) *int {
	if reserved {
		return &o.reserved
	}
	return &o.others
}

// over reports whether a lookup has no time left.
func (v *View) over(ctx context.Context) bool {
	return ctx.Err() != nil || !v.end.IsZero() && !time.Now().Before(v.end)
}

func (v *View) miss(q question) *answer {
	v.missed = true
	return failed(q, NotLookedUp)
}

// await waits for the answer to the question at a place that take returned, until ctx ends.
func (v *View) await(ctx context.Context, at int, f *flight) *answer {
	s := v.shared
	if !v.end.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, v.end)
		defer cancel()
	}
	var a *answer
	select {
	case <-f.done:
		a = f.answer
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := &s.asked[at]
	if mine.flight == nil { // another part of the message was faster
		return mine.answer
	}
	if mine.waiters--; a == nil {
		a = s.resolver.gaveUp(f)
		if mine.waiters > 0 {
			return a
		}
		s.resolver.leave(f)
		mine.vain = true
	}
	mine.answer, mine.flight, mine.took = a, nil, time.Since(f.began)
	*s.open.of(mine.reserved)--
	if s.open == (openCount{}) {
		s.spent += time.Since(s.since)
	}
	return a
}
