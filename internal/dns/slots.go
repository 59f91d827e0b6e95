package dns

import (
	"math"
	"net/netip"
	"slices"
	"time"
)

const (
	// DefaultSlots is the default of Options.Slots, the maximum number of concurrent lookups: ten for each of the hundred smtpd processes
	// of a busy server.
	DefaultSlots = 1000
	// MinSlots is the minimum number of slots. Fewer slots could not be divided into reserved and other slots.
	MinSlots = 4
	// reservedShare determines how many slots only reserved lookups may use: one of every reservedShare slots.
	reservedShare = 4
	// waitingPerSlot is the maximum number of waiting lookups for each slot. A waiting lookup needs a few hundred bytes and the goroutine
	// of its caller. If more lookups were waiting, the last one would probably not get a slot before its timeout.
	waitingPerSlot = 4
	// yieldAfter is the time for which a lookup keeps its slot while another client without a slot waits. Resolvers answer most queries
	// within this time. A lookup that takes longer will probably fail. It loses its slot and is repeated later.
	yieldAfter = time.Second
	// clientBits4 and clientBits6 are prefix lengths. All addresses with the same prefix count as one client. An IPv6 host usually has a
	// whole /64.
	clientBits4, clientBits6 = 32, 64
)

// asker identifies the client for which a lookup is made, and the kind of slot.
type asker struct {
	client   netip.Addr // see clientOf; if the address is invalid, the lookup is not limited to a share
	reserved bool
}

// clientOf returns the address that represents all addresses of one client.
func clientOf(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	bits := clientBits6
	if addr.Is4() {
		bits = clientBits4
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Addr{}
	}
	return prefix.Addr()
}

// slots decides which flights may run, so that unreachable names in the mail of some clients do not delay other clients. A client never
// has more lookups in progress than there are free slots. A free slot is assigned to the waiting client with the fewest lookups in
// progress. A client without any lookups in progress does not wait for the timeouts of others: see yields. Resolver.mu guards slots.
type slots struct {
	all        int // slots
	others     int // slots for lookups that are not reserved
	busy       int // lookups in progress
	busyOthers int // lookups in progress that are not reserved
	waiting    int
	clients    map[netip.Addr]*client // all clients that have lookups in progress or waiting
	queue      []*client              // all clients that have waiting lookups; the client that has waited longest is first
}

// client contains the lookups of one client.
type client struct {
	addr    netip.Addr
	busy    []*flight // in progress, the oldest first
	waiting []*flight // the longest waiting first
}

func newSlots(n int) slots {
	if n <= 0 {
		n = DefaultSlots
	}
	n = max(n, MinSlots)
	return slots{all: n, others: n - n/reservedShare, clients: map[netip.Addr]*client{}}
}

func (s *slots) client(addr netip.Addr) *client {
	c := s.clients[addr]
	if c == nil {
		c = &client{addr: addr}
		s.clients[addr] = c
	}
	return c
}

// left returns the number of free slots, either for reserved lookups or for other lookups.
func (s *slots) left(reserved bool) int {
	if reserved {
		return s.all - s.busy
	}
	return min(s.all-s.busy, s.others-s.busyOthers)
}

// admits reports whether a lookup of c may start now.
func (s *slots) admits(c *client, reserved bool) bool { return s.left(reserved) > c.load() }

// load returns the number of lookups of c in progress. It is 0 for lookups without a client, such as key checks, because no share applies
// to them.
func (c *client) load() int {
	if !c.addr.IsValid() {
		return 0
	}
	return len(c.busy)
}

// start assigns a slot to f.
func (s *slots) start(f *flight) {
	c := s.client(f.asker.client)
	f.state, f.started = underWay, time.Now()
	c.busy = append(c.busy, f)
	s.busy++
	if !f.asker.reserved {
		s.busyOthers++
	}
}

// end frees the slot of f. Call next afterwards.
func (s *slots) end(f *flight) {
	c := s.clients[f.asker.client]
	f.state = ended
	c.busy = slices.DeleteFunc(c.busy, func(b *flight) bool { return b == f })
	s.busy--
	if !f.asker.reserved {
		s.busyOthers--
	}
	s.forget(c)
}

// forget removes a client that has no lookups.
func (s *slots) forget(c *client) {
	if len(c.busy) == 0 && len(c.waiting) == 0 {
		delete(s.clients, c.addr)
	}
}

// wait adds f to the queue. If the queue is full, it removes one flight and returns it. That flight belongs to the client with the most
// lookups, and may be f itself.
func (s *slots) wait(f *flight) (dropped *flight) {
	c := s.client(f.asker.client)
	if len(c.waiting) == 0 {
		s.queue = append(s.queue, c)
	}
	c.waiting = append(c.waiting, f)
	s.waiting++
	f.state = waiting
	if s.waiting <= waitingPerSlot*s.all {
		return nil
	}
	most := slices.MaxFunc(s.queue, func(a, b *client) int { return len(a.busy) + len(a.waiting) - len(b.busy) - len(b.waiting) })
	dropped = most.waiting[len(most.waiting)-1]
	for _, w := range slices.Backward(most.waiting) {
		if !w.asker.reserved {
			dropped = w
			break
		}
	}
	s.leave(dropped)
	return dropped
}

// leave removes f from the queue.
func (s *slots) leave(f *flight) {
	c := s.clients[f.asker.client]
	c.waiting = slices.DeleteFunc(c.waiting, func(w *flight) bool { return w == f })
	s.waiting--
	f.state = ended
	if len(c.waiting) == 0 {
		s.queue = slices.DeleteFunc(s.queue, func(w *client) bool { return w == c })
	}
	s.forget(c)
}

// better returns the asker for a flight with two askers: the client with fewer lookups in progress. It is reserved if one of the askers
// is reserved.
func (s *slots) better(a, b asker) asker {
	if s.load(b.client) < s.load(a.client) {
		a.client = b.client
	}
	a.reserved = a.reserved || b.reserved
	return a
}

func (s *slots) load(addr netip.Addr) int {
	if c := s.clients[addr]; c != nil {
		return c.load()
	}
	return 0
}

// next starts the next flight that may start, and returns it. If no flight may start, it returns nil.
func (s *slots) next() *flight {
	var first *flight
	fewest := math.MaxInt
	for _, c := range s.queue {
		if c.load() >= fewest {
			continue
		}
		if f := s.startable(c); f != nil {
			first, fewest = f, c.load()
		}
	}
	if first != nil {
		s.leave(first)
		s.start(first)
	}
	return first
}

// yields returns the lookup that must lose its slot so that the waiting lookup f can start, or nil. It returns the oldest lookup of the
// client with the most lookups. That lookup must be older than yieldAfter. After the change, its client must still have at least as many
// lookups in progress as the client of f.
func (s *slots) yields(f *flight) *flight {
	own := s.clients[f.asker.client].load()
	if own > s.left(f.asker.reserved) {
		return nil // even with one more free slot, f could not start
	}
	each := f.asker.reserved || s.busyOthers < s.others // if each is false, f can only use the slot of a lookup that is not reserved
	var found *flight
	most := own + 1
	for _, c := range s.clients {
		if c.load() <= most {
			continue
		}
		for _, b := range c.busy {
			if time.Since(b.started) < yieldAfter {
				break
			}
			if each || !b.asker.reserved {
				found, most = b, c.load()
				break
			}
		}
	}
	return found
}

// startable returns the waiting lookup of c that may start now, or nil. It prefers a reserved lookup.
func (s *slots) startable(c *client) *flight {
	for _, reserved := range []bool{true, false} {
		if !s.admits(c, reserved) {
			continue
		}
		for _, f := range c.waiting {
			if f.asker.reserved == reserved {
				return f
			}
		}
	}
	return nil
}
