package soak

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"signpost/internal/soak/judge"
)

// disturbance is a fault of the fixed list. do causes it, waits, and removes it.
type disturbance struct {
	name    string
	effects judge.Effect
	lingers time.Duration // the time after its end in which its effects may be seen
	all     bool          // it affects all hosts
	do      func(w *world, h *host, random *rand.Rand) error
}

// disturbances returns the fixed list.
func disturbances() []disturbance {
	return slices.Concat(programFaults(), diskFaults(), serverFaults(), keyChanges())
}

// short waits for up to a number of seconds.
func short(random *rand.Rand, seconds int) {
	time.Sleep(time.Duration(random.IntN(1000*seconds)) * time.Millisecond)
}

// unwritten is how long before it is killed the daemon may not have written a record.
const unwritten = 3 * time.Second

// disturb causes faults of the list, chosen by the seed, until ctx ends. Each round has all faults in another order, at either host.
func (w *world) disturb(ctx context.Context, seed uint64, j *judge.Judge, mu *sync.Mutex) {
	random := rand.New(rand.NewPCG(seed, 2))
	list := disturbances()
	if only := os.Getenv("SIGNPOST_FAULT"); only != "" {
		list = slices.DeleteFunc(list, func(d disturbance) bool { return !strings.Contains(d.name, only) })
	}
	if len(list) == 0 {
		return
	}
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(500+random.IntN(3000)) * time.Millisecond):
		}
		if n%len(list) == 0 {
			random.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
		}
		d := list[n%len(list)]
		h := w.hosts[random.IntN(len(w.hosts))]
		begin := time.Now()
		f := judge.Fault{Name: d.name, Host: h.Name, Effects: d.effects, From: begin}
		if d.effects&judge.Unwritten != 0 {
			f.From = begin.Add(-unwritten)
		}
		if d.all {
			f.Host = ""
		}
		err := d.do(w, h, random)
		f.To = time.Now().Add(d.lingers)
		w.Logf("%s %s at %s, %s", begin.Format(time.TimeOnly), d.name, h.Name, time.Since(begin).Round(time.Millisecond))
		mu.Lock()
		j.Fault(f)
		mu.Unlock()
		if err != nil {
			w.Errorf("%s at %s: %v", d.name, h.Name, err)
			return
		}
	}
}
