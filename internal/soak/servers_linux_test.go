package soak

import (
	"math/rand/v2"
	"syscall"
	"time"

	"signpost/internal/soak/judge"
	"signpost/internal/testbind"
)

// The effects of DNS without answers, and how long they stay: caches have the failures for some seconds.
const (
	withoutDNS = judge.Tempfail | judge.TempError | judge.Delay
	afterDNS   = 25 * time.Second
)

// serverFaults disturb the servers that Signpost needs.
func serverFaults() []disturbance {
	return []disturbance{
		{"reload Postfix", judge.Tempfail, 5 * time.Second, false, func(w *world, h *host, _ *rand.Rand) error {
			_, err := h.mta.Run(w.Context(), "postfix", "reload")
			return err
		}},
		{"restart Postfix", judge.Tempfail | judge.Delay, 5 * time.Second, false, func(w *world, h *host, random *rand.Rand) error {
			return h.mta.Restart(w.Context(), time.Duration(random.IntN(3000))*time.Millisecond)
		}},
		{"stop unbound for some seconds", withoutDNS, afterDNS, true, func(w *world, _ *host, random *rand.Rand) error {
			return pause(random, w.dns.unbound, 8)
		}},
		{"kill unbound", withoutDNS, afterDNS, true, func(w *world, _ *host, random *rand.Rand) error {
			return restart(random, w.dns.unbound, syscall.SIGKILL)
		}},
		{"slow DNS", withoutDNS, afterDNS, true, func(w *world, _ *host, random *rand.Rand) error { return w.dns.disturb(random, slowMode) }},
		{"lying DNS", withoutDNS, afterDNS, true, func(w *world, _ *host, random *rand.Rand) error { return w.dns.disturb(random, lyingMode) }},
		{"stop the primary name server for some seconds", withoutDNS, afterDNS, true, func(w *world, _ *host, random *rand.Rand) error {
			return freeze(random, w.dns.primary)
		}},
		{"stop the secondary name server for some seconds", withoutDNS, afterDNS, true, func(w *world, _ *host, random *rand.Rand) error {
			return freeze(random, w.dns.secondary)
		}},
		{"restart the primary name server", withoutDNS, afterDNS, true, func(w *world, _ *host, random *rand.Rand) error {
			w.dns.primary.Halt()
			short(random, 5)
			return w.dns.primary.Restart(w.Context())
		}},
		// The table server keeps the answers, so only new names need MariaDB.
		{"stop MariaDB", 0, 0, true, func(w *world, _ *host, random *rand.Rand) error {
			w.db.domains.Stop()
			short(random, 5)
			w.db.domains.Start()
			return nil
		}},
		{"MariaDB does not answer", 0, 0, true, func(w *world, _ *host, random *rand.Rand) error {
			w.db.domains.Pause()
			short(random, 8)
			w.db.domains.Continue()
			return nil
		}},
		{"stop PostgreSQL", 0, 0, true, func(w *world, _ *host, random *rand.Rand) error {
			w.db.cluster.Stop()
			short(random, 20)
			w.db.cluster.Start()
			return nil
		}},
		{"fail over to the standby of PostgreSQL", 0, 0, true, func(w *world, _ *host, random *rand.Rand) error {
			standby := w.db.cluster.Standby()
			short(random, 3)
			w.db.cluster.Stop()
			short(random, 5)
			standby.Promote()
			w.db.proxy.Switch(standby)
			w.db.cluster = standby
			return nil
		}},
		{"PostgreSQL does not answer", 0, 0, true, func(w *world, _ *host, random *rand.Rand) error {
			w.db.proxy.BlackHole(true)
			short(random, 20)
			w.db.proxy.BlackHole(false)
			w.db.proxy.Cut()
			return nil
		}},
	}
}

// disturb makes the proxy change answers for some seconds.
func (n *nameServers) disturb(random *rand.Rand, m proxyMode) error {
	n.proxy.set(m)
	short(random, 10)
	n.proxy.set(honestMode)
	return nil
}

func freeze(random *rand.Rand, s *testbind.Server) error {
	if err := syscall.Kill(s.PID(), syscall.SIGSTOP); err != nil {
		return err
	}
	short(random, 8)
	return syscall.Kill(s.PID(), syscall.SIGCONT)
}

// keyChanges are no faults: rotations have no effect at all, and a revocation has the effect that it must have.
func keyChanges() []disturbance {
	return []disturbance{
		{"rotate keys", 0, 0, true, func(w *world, _ *host, random *rand.Rand) error { return w.rotate(random) }},
		{"revoke a key", judge.Revoked, 2 * time.Minute, true, func(w *world, h *host, random *rand.Rand) error {
			return w.revoke(h, random)
		}},
	}
}
