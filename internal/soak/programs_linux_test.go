package soak

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"signpost/internal/soak/judge"
)

// afterTables is how long processes of Postfix keep the failure of a lookup.
const afterTables = 30 * time.Second

// programFaults disturb the programs of Signpost.
func programFaults() []disturbance {
	return []disturbance{
		{"kill the daemon", judge.Tempfail | judge.Delay | judge.Unwritten, 5 * time.Second, false, func(_ *world, h *host, random *rand.Rand) error {
			return restart(random, h.daemon, syscall.SIGKILL)
		}},
		{"restart the daemon", judge.Tempfail | judge.Delay, 5 * time.Second, false, func(_ *world, h *host, random *rand.Rand) error {
			return restart(random, h.daemon, syscall.SIGTERM)
		}},
		{"kill the table server", judge.Tempfail | judge.Delay, afterTables, false, func(_ *world, h *host, random *rand.Rand) error {
			return restart(random, h.tables, syscall.SIGKILL)
		}},
		{"kill signpost-cluster", 0, 0, false, func(_ *world, h *host, random *rand.Rand) error {
			return restart(random, h.cluster, syscall.SIGKILL)
		}},
		{"stop the daemon for some seconds", judge.Tempfail | judge.Delay, 2 * time.Second, false, func(_ *world, h *host, random *rand.Rand) error {
			return pause(random, h.daemon, 5)
		}},
		{"stop the table server for some seconds", judge.Tempfail | judge.Delay, afterTables, false, func(_ *world, h *host, random *rand.Rand) error {
			return pause(random, h.tables, 8)
		}},
		{"stop signpost-cluster for some seconds", 0, 0, false, func(_ *world, h *host, random *rand.Rand) error {
			return pause(random, h.cluster, 20)
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
		{"use up the descriptors of the daemon", judge.Tempfail | judge.TempError | judge.Delay | judge.Unwritten | judge.Unkept, 10 * time.Second, false, exhaust},
		{"kill dkimkey rotate", 0, 0, false, func(w *world, h *host, random *rand.Rand) error { return w.killed(h, random, "dkimkey", "rotate") }},
		{"kill signpost reports read", 0, 0, false, func(w *world, h *host, random *rand.Rand) error {
			return w.killed(h, random, "signpost", "reports", "read")
		}},
		{"upgrade all programs", judge.Tempfail | judge.Delay, afterTables, true, (*world).upgrade},
	}
}

// restart ends a program with a signal, and starts it again after up to three seconds.
func restart(random *rand.Rand, p *process, signal syscall.Signal) error {
	if err := p.end(signal); err != nil {
		return err
	}
	short(random, 3)
	return p.start()
}

// killed starts a job and kills it within a short time. The next run continues.
func (w *world) killed(h *host, random *rand.Rand, program string, args ...string) error {
	cmd := exec.Command(filepath.Join(w.programs, program), append(args, "-c", h.config)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
	return nil
}

func pause(random *rand.Rand, p *process, seconds int) error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	short(random, seconds)
	return p.signal(syscall.SIGCONT)
}

// exhaust limits the descriptors of the daemon to a few more than it has open.
func exhaust(_ *world, h *host, random *rand.Rand) error {
	pid := h.daemon.pid()
	s, ok := h.daemon.sample()
	if !ok {
		return errors.New("the daemon does not run")
	}
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		return err
	}
	few := unix.Rlimit{Cur: uint64(s.Descriptors + random.IntN(4)), Max: before.Max}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		return err
	}
	short(random, 5)
	return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil)
}

// upgrade replaces the installed programs while they run, and then restarts them, as a package does. The next upgrade installs the first ones again.
func (w *world) upgrade(_ *host, random *rand.Rand) error {
	entries, err := os.ReadDir(w.upgrades)
	if err != nil {
		return err
	}
	for _, e := range entries {
		installed, next := filepath.Join(w.programs, e.Name()), filepath.Join(w.upgrades, e.Name())
		before := installed + ".before"
		if err := errors.Join(copyFile(installed, before), copyFile(next, installed+".new"), os.Rename(installed+".new", installed), os.Rename(before, next)); err != nil {
			return err
		}
	}
	for _, h := range w.hosts {
		for _, p := range h.processes() {
			if err := p.end(syscall.SIGTERM); err != nil {
				return err
			}
			if err := p.start(); err != nil {
				return err
			}
		}
		short(random, 2)
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
