package main

import (
	"fmt"
)

// idleConnections is the number of idle connections. It is larger than the number of processes that any Postfix runs.
const idleConnections = 1000

// idleCost is the memory of an idle connection, in bytes.
type idleCost struct {
	name         string
	fresh, spent int64 // after the negotiation; after one message
}

// idle opens the connections. Postfix buffers its packets before the first message. If a client sends no message, a milter therefore
// receives only the negotiation.
func (w *world) idle(s *server, m *mail) (idleCost, error) {
	cost := idleCost{name: s.name}
	l := &loader{server: s, cell: cell{role: verifying, perSession: 1}, pool: []*mail{m}}
	if _, err := l.run(8, 0); err != nil {
		return cost, err
	}
	pids := s.pids()
	before, err := residentMemory(pids)
	if err != nil {
		return cost, err
	}
	var conns [][]*client
	defer func() {
		for _, c := range conns {
			hangUp(c)
		}
	}()
	for range idleConnections {
		c, err := l.connect()
		if err != nil {
			return cost, err
		}
		conns = append(conns, c)
	}
	fresh, err := residentMemory(pids)
	if err != nil {
		return cost, err
	}
	for _, c := range conns {
		if err := l.open(c); err != nil {
			return cost, err
		}
		if err := l.message(c, 0, false); err != nil {
			return cost, err
		}
	}
	spent, err := residentMemory(pids)
	cost.fresh, cost.spent = (fresh-before)/idleConnections, (spent-before)/idleConnections
	return cost, err
}

func (c idleCost) String() string {
	return fmt.Sprintf("%-*s %8.1f KiB %8.1f KiB", nameWidth, c.name, float64(c.fresh)/1024, float64(c.spent)/1024)
}
