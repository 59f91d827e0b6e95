package dns

import (
	"context"
	"runtime/debug"
	"time"
)

// flight is a lookup in progress. All callers with the same question share it. It has its own timeout. A caller leaves when its own
// context ends. When the last caller leaves, the flight ends.
type flight struct {
	question question
	began    time.Time
	done     chan struct{}
	answer   *answer // set before done is closed

	// Guarded by Resolver.mu.
	asker   asker // the client whose share of the slots the flight uses
	joined  asker // replaces asker if the flight must wait again; see better
	state   flightState
	callers int
	expires time.Time          // the time at which the wait for a slot ends
	timer   *time.Timer        // set in state waiting: calls the method waited
	started time.Time          // set in state underWay: the time at which the query began
	cancel  context.CancelFunc // set in state underWay: ends the query
	query   int                // the number of queries of this flight; a flight that lost its slot sends another query later
}

type flightState int

const (
	waiting  flightState = iota // for a slot
	underWay                    // it has a slot
	ended
)

// begin returns the answer from the cache, or the flight that will have the answer. The caller must wait until the channel done of the
// flight is closed, or call leave.
func (r *Resolver) begin(q question, by asker) (*answer, *flight) {
	now := r.now()
	r.mu.Lock()
	a := r.cache.get(q, now)
	if a != nil {
		r.use(a, now)
		r.mu.Unlock()
		r.observe(q, Cached, 0)
		return a, nil
	}
	defer r.mu.Unlock()
	f := r.flights[q]
	if f != nil {
		r.join(f, by)
		return nil, f
	}
	by.client = clientOf(by.client)
	f = &flight{question: q, began: time.Now(), done: make(chan struct{}), asker: by, joined: by, callers: 1}
	r.flights[q] = f
	if c := r.slots.client(by.client); r.slots.admits(c, by.reserved) {
		r.slots.start(f)
		r.launch(f)
		return nil, f
	}
	if dropped := r.slots.wait(f); dropped != nil {
		r.giveUp(dropped)
	}
	if f.state == waiting {
		f.expires = time.Now().Add(r.limit)
		r.makeRoom(f)
	}
	return nil, f
}

// makeRoom tries to free a slot for a waiting flight, now and at intervals. Call it with mu held.
func (r *Resolver) makeRoom(f *flight) {
	for f.state == waiting { // a freed slot may be assigned to another client that has no lookup under way
		y := r.slots.yields(f)
		if y == nil {
			break
		}
		r.yield(y)
		r.startNext()
	}
	if f.state == waiting {
		f.timer = time.AfterFunc(min(yieldAfter, r.limit), func() { r.waited(f) })
	}
}

// waited is called at intervals while a flight waits. It tries again to free a slot, or fails the flight after its timeout.
func (r *Resolver) waited(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case f.state != waiting:
	case time.Now().Before(f.expires):
		r.makeRoom(f)
	default:
		r.slots.leave(f)
		r.giveUp(f)
	}
}

// yield takes the slot from a flight. The flight then waits for a slot again. Call it with mu held.
func (r *Resolver) yield(f *flight) {
	f.cancel()
	f.query++
	if f.expires.IsZero() {
		f.expires = time.Now().Add(r.limit)
	}
	r.slots.end(f)
	f.asker = f.joined
	if dropped := r.slots.wait(f); dropped != nil {
		r.giveUp(dropped)
	}
	if f.state == waiting {
		f.timer = time.AfterFunc(yieldAfter, func() { r.waited(f) })
	}
}

// join adds a caller to those that wait for f. Call it with mu held.
func (r *Resolver) join(f *flight, by asker) {
	f.callers++
	by.client = clientOf(by.client)
	f.joined = r.slots.better(f.joined, by)
	r.requeue(f)
}

// requeue moves a waiting flight to the queue of the asker in its field joined. Call it with mu held.
func (r *Resolver) requeue(f *flight) {
	if f.state == waiting && f.asker != f.joined {
		r.slots.leave(f)
		f.asker = f.joined
		r.slots.wait(f) // the queue has room, because f has just left it
		r.startNext()
	}
}

// startNext starts all flights that may start now. Call it with mu held.
func (r *Resolver) startNext() {
	for f := r.slots.next(); f != nil; f = r.slots.next() {
		if f.timer != nil {
			f.timer.Stop()
		}
		r.launch(f)
	}
}

// launch starts the query of a flight that has a slot. Call it with mu held.
func (r *Resolver) launch(f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), r.limit)
	f.cancel = cancel
	f.query++
	go r.fly(ctx, f, f.query)
}

// giveUp fails a flight that left the queue without a slot. Call it with mu held.
func (r *Resolver) giveUp(f *flight) {
	if f.timer != nil {
		f.timer.Stop()
	}
	if r.flights[f.question] == f {
		delete(r.flights, f.question)
	}
	f.answer = failed(f.question, NoSlot)
	close(f.done)
	r.observe(f.question, Exhausted, r.limit)
}

// promote makes a flight reserved.
func (r *Resolver) promote(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.joined.reserved = true
	r.requeue(f)
}

// gaveUp returns the answer for a caller that no longer waits for f.
func (r *Resolver) gaveUp(f *flight) *answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.state == waiting {
		return failed(f.question, NoSlot)
	}
	return failed(f.question, Timeout)
}

// leave removes a caller from a flight, and ends the flight if there are no other callers.
func (r *Resolver) leave(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.callers--; f.callers > 0 || f.state == ended {
		return
	}
	delete(r.flights, f.question)
	if f.state == waiting {
		r.slots.leave(f)
		f.timer.Stop()
		return
	}
	f.cancel()
}

// fly queries the servers. Then it stores the answer and frees the slot, even after a panic. It does nothing if the flight has lost its
// slot in the meantime.
func (r *Resolver) fly(ctx context.Context, f *flight, query int) {
	start := time.Now()
	q := f.question
	var a *answer
	defer func() {
		v := recover()
		if v != nil {
			r.log.Error("internal error", "event", "DNS", "name", q.name, "panic", v, "stack", string(debug.Stack()))
			a = failed(q, InternalError)
		}
		r.observe(q, outcome(ctx, a, v), time.Since(start))
		r.mu.Lock()
		defer r.mu.Unlock()
		if f.query != query {
			return
		}
		f.cancel()
		if r.flights[q] == f {
			delete(r.flights, q)
		}
		now := r.now()
		r.learn(q, a, now)
		if a.ttl > 0 {
			r.cache.put(q, a, now.Add(a.ttl), len(q.name)+a.bytes())
		}
		f.answer = a
		close(f.done)
		r.slots.end(f)
		r.startNext()
	}()
	a = r.resolve(ctx, q)
}
