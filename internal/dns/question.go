package dns

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// shared is the common state of all views of a message.
type shared struct {
	resolver *Resolver
	client   netip.Addr

	mu        sync.Mutex
	asked     []asked   // a list is sufficient: an ordinary message has three to ten questions, and the maximum is 205
	open      openCount // lookups in progress
	since     time.Time // when open became non-zero
	spent     time.Duration
	exhausted bool // see Exhausted
}

// openCount counts the reserved and the other lookups in progress.
type openCount struct{ reserved, others int }

// usualQuestions is the initial capacity of shared.asked.
const usualQuestions = 4

// asked is one question of a message. It is converted to a Lookup only when needed, because the conversion takes longer than a cached
// lookup.
type asked struct {
	question
	name     string  // as the caller wrote it
	answer   *answer // nil: in progress
	flight   *flight // nil unless in progress
	waiters  int32   // the number of goroutines of the message that wait for the flight
	reserved bool
	vain     bool // the next caller must repeat the lookup, because all callers stopped waiting or no slot was free
	cached   bool
	took     time.Duration
}

func (v *View) lookup(ctx context.Context, name string, qtype uint16) *answer {
	full, err := canonical(name)
	q := question{full, qtype}
	if err != nil {
		// RFC 7208 section 4.8: a name that cannot be looked up counts as one that does not exist.
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

// take returns the answer to a question if the message or the cache has it. Otherwise it returns the flight that will have the answer,
// and whether that flight began here. If wait is true and take returns a flight, the caller must call await.
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

// retries reports whether v repeats a lookup that got no slot. It does so if v is reserved and the earlier lookup was not.
func (v *View) retries(known *asked) bool {
	return v.reserved && !known.reserved && known.answer.lack
}

// promote makes a lookup in progress reserved.
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

// over reports whether the deadline of a lookup has passed.
func (v *View) over(ctx context.Context) bool {
	return ctx.Err() != nil || !v.end.IsZero() && !time.Now().Before(v.end)
}

func (v *View) miss(q question) *answer {
	v.missed = true
	return failed(q, NotLookedUp)
}

// await waits until ctx ends for the answer to a question. at is the index of the question that take returned.
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
	if mine.flight == nil { // another goroutine stored the answer
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
