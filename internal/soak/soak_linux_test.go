package soak

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/soak/judge"
	"signpost/internal/soak/traffic"
)

const (
	// clients is the number of messages that are sent at the same time.
	clients = 16
	// drain is the time in which the last messages must arrive.
	drain = 2 * time.Minute
)

// TestSoak sends mail for SIGNPOST_SOAK, and prints the table of the judge. Except for delays, all numbers of errors must be zero.
func TestSoak(t *testing.T) {
	period, err := time.ParseDuration(os.Getenv("SIGNPOST_SOAK"))
	if err != nil {
		t.Skip("set SIGNPOST_SOAK to a time such as 1h: make soak")
	}
	seed, err := strconv.ParseUint(os.Getenv("SIGNPOST_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64N(1_000_000)
	}
	t.Logf("seed %d; to repeat it: make soak SOAK=%s SEED=%d", seed, period, seed)
	site := traffic.Site{Now: time.Now}
	for _, name := range []string{"a", "b"} {
		site.Hosts = append(site.Hosts, traffic.Host{Name: name, ID: "mx." + name + ".example", Domains: []string{name + "1.example", name + "2.example"}})
	}
	g, err := traffic.New(seed, site)
	must(t, err)
	w := newWorld(t, g.Zone())
	j := judge.New()
	rate := 70
	if n, err := strconv.Atoi(os.Getenv("SIGNPOST_RATE")); err == nil {
		rate = n
	}
	w.run(t.Context(), seed, g, j, period, rate)
	var b strings.Builder
	problems, err := j.WriteTable(&b)
	must(t, err)
	t.Logf("\n%s", b.String())
	if problems > 0 {
		t.Errorf("%d problems; to repeat: make soak SOAK=%s SEED=%d", problems, period, seed)
	}
}

// run sends messages for a period, at most rate in a second, and then waits until all have arrived.
func (w *world) run(ctx context.Context, seed uint64, g *traffic.Generator, j *judge.Judge, period time.Duration, rate int) {
	w.Helper()
	var mu sync.Mutex // of j
	var faults sync.WaitGroup
	disturbing, calm := context.WithCancel(ctx)
	if os.Getenv("SIGNPOST_CALM") == "" {
		faults.Go(func() { w.disturb(disturbing, seed, j, &mu) })
	}
	var sending sync.WaitGroup
	room := make(chan struct{}, clients)
	end := time.Now().Add(period)
	last, cancel := context.WithDeadline(ctx, end.Add(drain))
	defer cancel()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	sample := time.NewTicker(max(time.Second, period/200))
	defer sample.Stop()
	wanted := 0
	for time.Now().Before(end) {
		select {
		case <-tick.C:
			m := g.Next()
			if !m.Want.Rejected {
				wanted++
			}
			room <- struct{}{}
			sending.Go(func() {
				defer func() { <-room }()
				w.send(last, &m)
				mu.Lock()
				defer mu.Unlock()
				j.Sent(m.Message)
			})
		case <-sample.C:
			mu.Lock()
			wanted -= w.collect(j, &mu)
			for _, h := range w.hosts {
				if s, ok := h.daemon.sample(); ok {
					j.Sampled(s)
				}
			}
			mu.Unlock()
		}
	}
	calm()
	faults.Wait()
	sending.Wait()
	for wanted > 0 && time.Now().Before(end.Add(drain)) {
		mu.Lock()
		wanted -= w.collect(j, &mu)
		mu.Unlock()
		time.Sleep(100 * time.Millisecond)
	}
	w.verify.Wait()
	w.report()
	want := len(w.hosts) * len(traffic.Reported())
	for limit := time.Now().Add(drain); w.reports < want && time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
		mu.Lock()
		w.collect(j, &mu)
		mu.Unlock()
	}
	if w.reports != want {
		w.Errorf("%d reports arrived, want %d", w.reports, want)
	}
}
