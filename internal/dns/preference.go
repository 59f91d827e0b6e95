package dns

import (
	"context"
	"sync"
	"time"
)

// returnInterval is the time between checks of the earlier servers while a later one is preferred.
const returnInterval = 30 * time.Second

// preference selects the server that is queried first. A failed lookup is retried at the next server and does not change the preference.
// Otherwise a sender could change it by breaking its own DNS. The preference changes only if the preferred server does not answer `. NS`
// either, and another server has a better result. When the first server of the configuration answers again, it becomes preferred again.
type preference struct {
	n *network

	mu       sync.Mutex
	first    int
	checking bool      // a check is in progress
	returned time.Time // when an earlier server was last checked
	down     bool      // no server answered `. NS` at the last check
}

// get returns the index of the preferred server.
func (p *preference) get() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first > 0 && !p.checking && time.Since(p.returned) >= returnInterval {
		p.checking, p.returned = true, time.Now()
		go p.tryReturn(p.first)
	}
	return p.first
}

// suspect starts a check of the preferred server in the background. first is the server at which a lookup failed. If that server is no
// longer the preferred one, suspect does nothing.
func (p *preference) suspect(first int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == first && !p.checking {
		p.checking = true
		go p.check(first)
	}
}

// check queries `. NS` at the server first. If the preferred server does not answer, the next server with a better result becomes
// preferred.
func (p *preference) check(first int) {
	best, to := rootSilent, first
	defer p.end(func() { p.move(first, to, best) })
	if best = p.n.roots[first].answer(context.Background()); best == rootAnswers {
		return
	}
	others := len(p.n.servers)
	answers := make([]rootAnswer, others)
	var asking sync.WaitGroup
	for i := range others {
		asking.Go(func() { answers[i] = p.n.roots[i].answer(context.Background()) })
	}
	asking.Wait()
	for i := 1; i < others; i++ {
		at := (first + i) % others
		if answers[at] > best {
			best, to = answers[at], at
		}
	}
}

// move makes the server with index to the preferred server, and logs the change. If to is equal to first, it keeps the preferred server,
// and logs if no server answers. Call it with mu held.
func (p *preference) move(first, to int, best rootAnswer) {
	log, server := p.n.log, p.n.servers[first]
	switch {
	case to != first:
		p.first, p.down, p.returned = to, false, time.Now()
		log.Error("the name server does not answer, another one is preferred", "server", server, "query", ". NS", "preferred", p.n.servers[to])
		if p.n.failedOver != nil {
			p.n.failedOver()
		}
	case best == rootAnswers:
		p.down = false
	case !p.down:
		p.down = true
		log.Error("no name server answers", "server", server, "query", ". NS")
	}
}

// tryReturn queries the earlier servers in order. The first one that answers becomes the preferred server.
func (p *preference) tryReturn(first int) {
	to := first
	defer p.end(func() {
		if to != first {
			p.first = to
			p.n.log.Info("the name server answers again and is preferred", "server", p.n.servers[to])
		}
	})
	for i := range first {
		if p.n.roots[i].answer(context.Background()) == rootAnswers {
			to = i
			return
		}
	}
}

func (p *preference) end(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checking = false
	f()
}
