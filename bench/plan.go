package main

import (
	"context"
	"fmt"
	"time"
)

// report has the results of a complete run.
type report struct {
	cells   []measured
	idle    []idleCost
	postfix []row
}

// measured is a cell with the results of the servers.
type measured struct {
	cell
	rows []row
}

// slowDNS is the delay of an answer from another continent, or from a resolver that must query other servers.
const slowDNS = 20 * time.Millisecond

// plan returns the cells of a complete run. Connections with a single message are measured only with small messages, where the cost of
// a connection matters. The DNS delay affects only verification.
func plan() (all []cell) {
	for _, role := range []string{signing, verifying} {
		for _, size := range []int{4 << 10, 100 << 10, 10 << 20} {
			for _, sessions := range []int{1, 8, 64} {
				all = append(all, cell{role: role, size: size, sessions: sessions, perSession: 10})
			}
		}
		for _, sessions := range []int{1, 8, 64} {
			all = append(all, cell{role: role, size: 4 << 10, sessions: sessions, perSession: 1})
		}
	}
	for _, size := range []int{4 << 10, 100 << 10} {
		for _, sessions := range []int{1, 8, 64} {
			all = append(all, cell{role: verifying, size: size, sessions: sessions, perSession: 10, delay: slowDNS})
		}
	}
	for _, d := range []time.Duration{0, slowDNS} {
		all = append(all, cell{role: verifying, size: 4 << 10, sessions: 1, perSession: 10, delay: d, cold: true})
	}
	return all
}

// measureAll runs the cells and, in a complete run, also the idle connections and Postfix.
func (w *world) measureAll(ctx context.Context, o options, servers []*server) (r report, err error) {
	pool, err := w.pool(verifying, 4<<10, 1, false)
	if err != nil {
		return r, err
	}
	if o.idle {
		fmt.Printf("\n%d idle connections, memory of each: after the negotiation, after one message\n", idleConnections)
		for _, s := range servers {
			cost, err := w.idle(s, pool[0])
			if err != nil {
				return r, err
			}
			fmt.Println(cost)
			r.idle = append(r.idle, cost)
		}
	}
	if o.postfix {
		if r.postfix, err = w.throughPostfix(ctx, o, servers, pool[0]); err != nil {
			return r, err
		}
		fmt.Printf("\nthrough Postfix, %d sessions of smtp-source\n", postfixSessions)
		for _, t := range r.postfix {
			fmt.Printf("%-*s %10.1f messages/s %8.3f ms CPU of the milter, ratio to %s %s\n", nameWidth, t.name, t.perSecond(), milliseconds(t.cpu), noMilter, r.throughputRatio(t).text(twoDecimals))
		}
	}
	for _, c := range o.cells() {
		rows, err := w.compare(ctx, o, servers, c)
		if err != nil {
			return r, err
		}
		fmt.Print(table(c, rows))
		r.cells = append(r.cells, measured{c, rows})
	}
	return r, nil
}
