// Command bench measures Signpost with and without its journal, OpenDKIM, OpenDMARC, rspamd and dkimpy-milter alternately, in one run on
// one machine. All have the same client, which uses the milter protocol like Postfix. `make bench` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// insideName is argv[0] of the copy of this program that runs in the namespaces.
const insideName = "signpost-bench-inside"

// clientMemory is the memory in bytes that this program may use before it collects garbage. The messages of a cell have 40 MiB in
// total.
const clientMemory = 512 << 20

func main() {
	// Child processes are killed when the thread that started them ends. Therefore this thread must not end.
	runtime.LockOSThread()
	if os.Args[0] != insideName {
		code, err := reenter()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(code)
	}
	// The library's client allocates a buffer for each packet. The collection of these buffers must not use the processors that the
	// servers need.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(clientMemory)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "signpost-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := settle(dir); err != nil {
		return err
	}
	w, err := newWorld(dir)
	if err != nil {
		return err
	}
	defer w.dns.Stop()
	servers, err := w.startAll(ctx, o)
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	if err != nil {
		return err
	}
	for _, s := range servers {
		if err := w.check(s); err != nil {
			return err
		}
		fmt.Printf("%s: processes %v, answers checked\n", s.name, s.pids())
	}
	if o.hold > 0 {
		return w.hold(ctx, o, servers[0])
	}
	r, err := w.measureAll(ctx, o, servers)
	if err != nil {
		return err
	}
	fmt.Print(r.summary())
	if !o.write {
		return nil
	}
	f, err := findFacts()
	if err != nil {
		return err
	}
	return r.write(f)
}

// holdInterval is the time between two lines of -hold. The load pauses at each line, until the server has finished its work.
const holdInterval = 5 * time.Second

// hold sends the load of the first cell to one server, for a profiler.
func (w *world) hold(ctx context.Context, o options, s *server) error {
	c := o.cells()[0]
	w.delay(c.delay)
	pool, err := w.pool(c.role, c.size, poolSize(c, 1), c.cold)
	if err != nil {
		return err
	}
	l := &loader{server: s, cell: c, pool: pool}
	fmt.Printf("%s: %s for %v, processes %v\n", s.name, c, o.hold, s.pids())
	for until := time.Now().Add(o.hold); time.Now().Before(until) && ctx.Err() == nil; {
		f, err := l.measure(min(o.hold, holdInterval))
		if err != nil {
			return err
		}
		fmt.Printf("%8.0f messages/s %8.3f ms CPU\n", f.perSecond(), milliseconds(f.cpu))
	}
	return nil
}

// poolSize returns the number of different messages. They have at most 40 MiB in total.
func poolSize(c cell, rounds int) int {
	if c.cold {
		return rounds * (coldMessages + c.sessions)
	}
	return min(max(40<<20/c.size, 2), 200)
}

// compare measures a cell with one server after the other, in several rounds.
func (w *world) compare(ctx context.Context, o options, servers []*server, c cell) ([]row, error) {
	w.delay(c.delay)
	pool, err := w.pool(c.role, c.size, poolSize(c, o.rounds), c.cold)
	if err != nil {
		return nil, err
	}
	var loaders []*loader
	rounds := o.rounds
	if o.whole && (judged(c) || ofJournal(c)) {
		rounds *= 2
	}
	for _, s := range servers {
		if s.measuredIn(c, o.whole) {
			loaders = append(loaders, &loader{server: s, cell: c, pool: pool})
		}
	}
	figures := make([][]figure, len(loaders)+1)
	for round := range rounds {
		for k := range loaders {
			i := k
			if round%2 == 1 {
				i = len(loaders) - 1 - k // alternates the order, so that no server always runs after the same other server
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			f, err := loaders[i].measure(o.time)
			if err != nil {
				return nil, err
			}
			figures[i] = append(figures[i], f)
		}
		cpu, err := bare(w.key, c.role, c.size, o.time/4)
		if err != nil {
			return nil, err
		}
		figures[len(loaders)] = append(figures[len(loaders)], figure{cpu: cpu})
	}
	var rows []row
	for i, l := range loaders {
		rows = append(rows, newRow(l.server.name, figures[i]))
	}
	return append(rows, newRow(bareName, figures[len(loaders)])), nil
}
