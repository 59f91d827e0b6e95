package soak

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
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
	return []disturbance{
		{"kill the daemon", judge.Tempfail | judge.Delay | judge.Unwritten, 5 * time.Second, false, func(_ *world, h *host, random *rand.Rand) error {
			if err := h.daemon.end(syscall.SIGKILL); err != nil {
				return err
			}
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
			return h.daemon.start()
		}},
		{"restart the daemon", judge.Tempfail | judge.Delay, 5 * time.Second, false, func(_ *world, h *host, _ *rand.Rand) error {
			if err := h.daemon.end(syscall.SIGTERM); err != nil {
				return err
			}
			return h.daemon.start()
		}},
		{"stop the daemon for some seconds", judge.Delay, 0, false, func(_ *world, h *host, random *rand.Rand) error {
			if err := h.daemon.signal(syscall.SIGSTOP); err != nil {
				return err
			}
			time.Sleep(time.Duration(random.IntN(5000)) * time.Millisecond)
			return h.daemon.signal(syscall.SIGCONT)
		}},
		{"reload the daemon many times", 0, 0, false, func(_ *world, h *host, _ *rand.Rand) error {
			for range 50 {
				if err := h.daemon.signal(syscall.SIGHUP); err != nil {
					return err
				}
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		}},
		{"move the keys away", 0, 0, false, func(_ *world, h *host, random *rand.Rand) error {
			dir := filepath.Join(h.dir, "state", "keys")
			if err := os.Rename(dir, dir+".away"); err != nil {
				return err
			}
			time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
			return os.Rename(dir+".away", dir)
		}},
		{"fill the disk of the state", judge.Unwritten, 5 * time.Second, false, func(_ *world, h *host, random *rand.Rand) error {
			filler := filepath.Join(h.dir, "state", "filler")
			file, err := os.Create(filler)
			if err != nil {
				return err
			}
			for err == nil {
				_, err = file.Write(make([]byte, 1<<16))
			}
			if !errors.Is(err, syscall.ENOSPC) {
				return err
			}
			time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
			return errors.Join(file.Close(), os.Remove(filler))
		}},
		{"reload Postfix", judge.Tempfail, 5 * time.Second, false, func(w *world, h *host, _ *rand.Rand) error {
			_, err := h.mta.Run(w.Context(), "postfix", "reload")
			return err
		}},
		{"stop the name server for some seconds", judge.Tempfail | judge.TempError | judge.Delay, 25 * time.Second, true, func(w *world, _ *host, random *rand.Rand) error {
			if err := syscall.Kill(w.dns.PID(), syscall.SIGSTOP); err != nil {
				return err
			}
			time.Sleep(time.Duration(random.IntN(8000)) * time.Millisecond)
			return syscall.Kill(w.dns.PID(), syscall.SIGCONT)
		}},
		{"restart the name server", judge.Tempfail | judge.TempError | judge.Delay, 25 * time.Second, true, func(w *world, _ *host, random *rand.Rand) error {
			w.dns.Halt()
			time.Sleep(time.Duration(random.IntN(5000)) * time.Millisecond)
			return w.dns.Restart(w.Context())
		}},
	}
}

// unwritten is how long before it is killed the daemon may not have written a record.
const unwritten = 3 * time.Second

// disturb causes faults of the list, chosen by the seed, until ctx ends.
func (w *world) disturb(ctx context.Context, seed uint64, j *judge.Judge, mu *sync.Mutex) {
	random := rand.New(rand.NewPCG(seed, 2))
	list := disturbances()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(1000+random.IntN(4000)) * time.Millisecond):
		}
		d := list[random.IntN(len(list))]
		h := w.hosts[random.IntN(len(w.hosts))]
		f := judge.Fault{Name: d.name, Host: h.Name, Effects: d.effects, From: time.Now()}
		if d.effects&judge.Unwritten != 0 {
			f.From = f.From.Add(-unwritten)
		}
		if d.all {
			f.Host = ""
		}
		begin := time.Now()
		err := d.do(w, h, random)
		f.To = time.Now().Add(d.lingers)
		w.Logf("%s %s at %s, %s", f.From.Format(time.TimeOnly), d.name, h.Name, time.Since(begin).Round(time.Millisecond))
		mu.Lock()
		j.Fault(f)
		mu.Unlock()
		if err != nil {
			w.Errorf("%s: %v", d.name, err)
			return
		}
	}
}
