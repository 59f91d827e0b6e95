package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-milter"
)

// cell is one combination of parameters for a measurement.
type cell struct {
	role       string
	size       int // bytes of a message, with its header
	sessions   int // concurrent
	perSession int // messages on a connection
	delay      time.Duration
	cold       bool // every message is from a new domain
}

func (c cell) String() string {
	plural := "s"
	if c.sessions == 1 {
		plural = ""
	}
	text := fmt.Sprintf("%s %s, %d session%s of %d", c.role, sizeText(c.size), c.sessions, plural, c.perSession)
	if c.delay > 0 {
		text += fmt.Sprintf(", DNS %v", c.delay)
	}
	if c.cold {
		text += ", new domains"
	}
	return text
}

// tedious reports whether a slow server would need minutes for a cell.
func (c cell) tedious() bool { return c.size > 1<<20 && c.sessions > 8 }

// figure is the result of one server in one round.
type figure struct {
	messages int
	elapsed  time.Duration
	cpu      time.Duration // processor time of the server for each message
	p50, p99 time.Duration
	peak     int64 // bytes
}

// perSecond returns the throughput in messages per second.
func (f figure) perSecond() float64 {
	if f.elapsed == 0 {
		return 0
	}
	return float64(f.messages) / f.elapsed.Seconds()
}

// loader sends a cell's messages to one server.
type loader struct {
	server *server
	cell   cell
	pool   []*mail
	next   atomic.Int64
	limit  int64 // if not 0, a run ends when next has reached this number
}

// run sends messages in all sessions for a while. Each session sends at least one message, and ends after a complete message.
func (l *loader) run(sessions int, d time.Duration) (latencies []time.Duration, err error) {
	until := time.Now().Add(d)
	all := make([][]time.Duration, sessions)
	errs := make([]error, sessions)
	var group sync.WaitGroup
	for i := range sessions {
		group.Go(func() {
			for errs[i] == nil && (len(all[i]) == 0 || !l.over(until)) {
				all[i], errs[i] = l.session(all[i], until)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", l.server.name, l.cell, err)
		}
	}
	return slices.Concat(all...), nil
}

// over reports whether a run has ended.
func (l *loader) over(until time.Time) bool {
	return time.Now().After(until) || l.limit > 0 && l.next.Load() >= l.limit
}

// session opens one connection to each of the server's milters, and sends messages on them.
func (l *loader) session(latencies []time.Duration, until time.Time) ([]time.Duration, error) {
	start := time.Now()
	conns, err := l.connect()
	if err != nil {
		return latencies, err
	}
	defer hangUp(conns)
	if err := l.open(conns); err != nil {
		return latencies, err
	}
	for k := range l.cell.perSession {
		if k > 0 {
			if l.over(until) {
				break
			}
			start = time.Now()
		}
		if err := l.message(conns, int(l.next.Add(1)-1)%len(l.pool), k > 0); err != nil {
			return latencies, err
		}
		latencies = append(latencies, time.Since(start))
	}
	return latencies, nil
}

// connect opens a connection to each of the server's milters.
func (l *loader) connect() (conns []*client, err error) {
	for _, socket := range l.server.sockets {
		c, err := dial(socket)
		if err != nil {
			hangUp(conns)
			return nil, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func hangUp(conns []*client) {
	for _, c := range conns {
		c.close()
	}
}

// open sends the events before the first message.
func (l *loader) open(conns []*client) error {
	for _, c := range conns {
		if err := c.open(l.pool[0].from); err != nil {
			return err
		}
	}
	return nil
}

// message sends the n-th message to the milters one after the other, and checks the answers. Like Postfix, it ends the previous message
// of a connection with ABORT.
func (l *loader) message(conns []*client, n int, again bool) error {
	right := false
	var seen []milter.ModifyAction
	var before answer
	for _, c := range conns {
		if again {
			if err := c.Abort(); err != nil {
				return err
			}
		}
		edits, action, err := c.message(l.pool[n], before.fields)
		if err != nil {
			return err
		}
		if action.Code != milter.ActContinue && action.Code != milter.ActAccept {
			return fmt.Errorf("a good message was answered with %s", said(action))
		}
		seen = append(seen, edits...)
		right = right || slices.ContainsFunc(edits, l.good)
		before.edit(edits)
	}
	if !right {
		return fmt.Errorf("a message has no result, or a wrong one: %.1000q", fmt.Sprint(seen))
	}
	return nil
}

// good reports whether an edit is correct for the message. A server that is fast because it does nothing therefore fails the check.
func (l *loader) good(e milter.ModifyAction) bool {
	if e.Code != milter.ActAddHeader && e.Code != milter.ActInsertHeader {
		return false
	}
	if l.cell.role == signing {
		return e.HeaderName == "DKIM-Signature"
	}
	want := "dkim=pass"
	if l.server.spf {
		want = "dmarc=pass"
	}
	return strings.Contains(e.HeaderValue, want)
}

// coldMessages is the number of messages in a round in which each message has a different domain.
const coldMessages = 60

// measure runs a cell once.
func (l *loader) measure(d time.Duration) (figure, error) {
	if _, err := l.run(1, 0); err != nil { // a warm-up, which is not counted
		return figure{}, err
	}
	if l.cell.cold {
		l.limit, d = l.next.Load()+coldMessages, replyTimeout
	}
	pids := l.server.pids()
	if err := resetPeak(pids); err != nil {
		return figure{}, err
	}
	var latencies []time.Duration
	f, err := timed(pids, func() (n int, err error) {
		latencies, err = l.run(l.cell.sessions, d)
		return len(latencies), err
	})
	if err != nil {
		return figure{}, err
	}
	if f.peak, err = peakMemory(pids); err != nil {
		return figure{}, err
	}
	slices.Sort(latencies)
	f.p50, f.p99 = latencies[len(latencies)/2], latencies[len(latencies)*99/100]
	return f, nil
}
