package soak

import (
	"context"
	"fmt"
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
	// clients is the number of SMTP sessions at the same time.
	clients = 24
	// usualRate is the number of messages in a second: 250,000 in an hour.
	usualRate = 70
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
	replay := fmt.Sprintf("seed %d; to repeat it: make soak SOAK=%s SEED=%d", seed, period, seed)
	t.Log(replay)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(replay)
		}
	})
	site := traffic.Site{Now: time.Now, NoKey: noKey}
	for _, name := range hostNames() {
		site.Hosts = append(site.Hosts, hostOf(name))
	}
	g, err := traffic.New(seed, site)
	must(t, err)
	w := newWorld(t, g.Zone())
	j := judge.New(w.ours()...)
	rate := usualRate
	if n, err := strconv.Atoi(os.Getenv("SIGNPOST_RATE")); err == nil {
		rate = n
	}
	w.sendMail(t.Context(), seed, g, j, period, rate)
	w.finishReports(j)
	var b strings.Builder
	problems, err := j.WriteTable(&b)
	must(t, err)
	t.Logf("\n%s", b.String())
	if problems > 0 {
		t.Errorf("%d problems", problems)
	}
}

// sendMail sends messages for a period, at most rate in a second, and then waits until all have arrived.
func (w *world) sendMail(ctx context.Context, seed uint64, g *traffic.Generator, j *judge.Judge, period time.Duration, rate int) {
	w.Helper()
	var mu sync.Mutex // of j and w.post
	var background sync.WaitGroup
	disturbing, calm := context.WithCancel(ctx)
	if os.Getenv("SIGNPOST_CALM") == "" {
		background.Go(func() { w.disturb(disturbing, seed, j, &mu) })
	}
	background.Go(func() { w.cron(disturbing) })
	var sending sync.WaitGroup
	room := make(chan struct{}, clients)
	end := time.Now().Add(period)
	last, cancel := context.WithDeadline(ctx, end.Add(drain))
	defer cancel()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	reading := time.NewTicker(time.Second)
	defer reading.Stop()
	sample := time.NewTicker(max(time.Second, period/200))
	defer sample.Stop()
	wanted := 0
	collect := func() {
		mu.Lock()
		defer mu.Unlock()
		wanted -= w.collect(j, &mu)
	}
	for time.Now().Before(end) {
		select {
		case <-tick.C:
			m := g.Next()
			if !m.Want.Rejected {
				wanted++
			}
			room <- struct{}{}
			sending.Go(func() {
				w.send(last, &m, room)
				mu.Lock()
				defer mu.Unlock()
				j.Sent(m.Message)
			})
		case <-reading.C:
			collect()
		case <-sample.C:
			mu.Lock()
			w.sampleSizes(j)
			mu.Unlock()
		}
	}
	calm()
	background.Wait()
	sending.Wait()
	for wanted > 0 && time.Now().Before(end.Add(drain)) {
		collect()
		time.Sleep(100 * time.Millisecond)
	}
	w.post.work.Wait()
	for len(w.post.samples) > 0 {
		collect()
		w.post.work.Wait()
	}
}

func (w *world) sampleSizes(j *judge.Judge) {
	for _, h := range w.hosts {
		for _, p := range h.processes() {
			if s, ok := p.sample(); ok {
				j.Sampled(s)
			}
		}
	}
}
