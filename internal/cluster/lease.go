package cluster

import (
	"context"
	"errors"
	"time"

	"signpost/internal/cluster/control"
)

const (
	// leaseTime is how long a host holds the lease without renewing it.
	leaseTime = 60 * time.Second
	// leadRetry is the time between two attempts to take over the lease.
	leadRetry = time.Second
	// wantedFirst is how long a free lease is left to the host that wants it.
	wantedFirst = 30 * time.Second
)

// leaseState is the lease as this host knows it.
type leaseState struct {
	holder string
	epoch  int64
	until  time.Time // if this host holds it
}

// leaseRow is the row of sp_lease.
type leaseRow struct {
	holder string
	epoch  int64
	until  int64 // the time of the database, in ms
	wanted string
	mac    string
	now    int64 // the time of the database
}

// lease reads the row. ok is false if there is none. The error is errForged if it does not verify.
func (s session) lease(ctx context.Context, k *SiteKeys, site string) (r leaseRow, ok bool, err error) {
	ok, err = s.one(ctx, "SELECT holder, epoch, until, wanted, mac, "+s.now+" FROM sp_lease WHERE name = ?", []any{leaseName}, &r.holder, &r.epoch, &r.until, &r.wanted, &r.mac, &r.now)
	if ok && !k.verify(r.mac, func(key siteKey) string { return key.leaseMAC(site, r.holder, r.epoch) }) {
		return r, true, errForged
	}
	return r, ok, err
}

func (r leaseRow) free() bool { return r.until <= r.now }

// leave reports whether a free lease is left to another host, which wants it.
func (r leaseRow) leave(to string) bool {
	return r.wanted != "" && r.wanted != to && r.now-r.until < wantedFirst.Milliseconds()
}

// left returns how long this host still holds the lease. The time passes with the monotonic clock, so that a step of the wall clock does not
// prolong the lease, and with the wall clock, because the monotonic clock stops while a machine is suspended. The caller holds h.mu.
func (h *Host) left() time.Duration {
	now := h.Now()
	return min(h.lease.until.Sub(now), h.lease.until.Round(0).Sub(now.Round(0)))
}

// Lease returns the state of the lease.
func (h *Host) Lease(context.Context) (control.Lease, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := control.Lease{Holder: h.lease.holder, Epoch: h.lease.epoch}
	if left := h.left(); left > 0 {
		l.Mine, l.LeftMS = true, left.Milliseconds()
	}
	return l, nil
}

// errNoLease is the reason why the lease was not taken: another host holds it.
var errNoLease = errors.New("another host holds the lease")

// renew renews the lease, takes it if it is free, or releases it if another host wants it. If want is set, this host takes a free lease
// before other hosts do, and asks the holder to release it. After an error, the remaining time of the lease is unchanged, and never
// longer.
func (h *Host) renew(ctx context.Context, want bool) error {
	s, st := h.DB.session(), h.state
	begin := h.Now()
	r, ok, err := s.lease(ctx, h.keys, st.Site)
	switch {
	case errors.Is(err, errForged), ok && r.epoch < st.Epoch:
		reason := refusedForged
		if err == nil {
			reason = refusedOlder
		}
		h.refuse("sp_lease", rowID{leaseName}, r.epoch, reason)
		h.setLease(leaseState{})
		return nil
	case err != nil:
		return err
	case !ok:
		return stop(NotInitialized, "run signpost cluster init on this host", "the database has no row of the lease")
	}
	st.accept("sp_lease", rowID{leaseName})
	h.mu.Lock()
	now := h.lease
	h.mu.Unlock()
	held := r.holder == h.Name && now.holder == h.Name && now.epoch == r.epoch
	switch {
	case held && r.wanted != "" && r.wanted != h.Name && !want:
		h.setLease(leaseState{epoch: r.epoch}) // before the row changes
		n, err := s.exec(ctx, "UPDATE sp_lease SET holder = '', until = "+s.now+", mac = ? WHERE name = ? AND epoch = ? AND holder = ?", h.sealKey().leaseMAC(st.Site, "", r.epoch), leaseName, r.epoch, h.Name)
		if err == nil && n == 1 {
			h.Log.Info("cluster lease released", "to", r.wanted, "epoch", r.epoch)
		}
		return err
	case held:
		n, err := s.exec(ctx, "UPDATE sp_lease SET until = "+s.now+" + ? WHERE name = ? AND epoch = ? AND holder = ?", leaseTime.Milliseconds(), leaseName, r.epoch, h.Name)
		if err == nil && n == 1 {
			h.setLease(leaseState{h.Name, r.epoch, begin.Add(leaseTime)})
		} else if err == nil {
			h.setLease(leaseState{epoch: r.epoch})
		}
		return err
	case (r.free() || r.holder == h.Name) && (want || !r.leave(h.Name)):
		next := r.epoch + 1
		n, err := s.exec(ctx, "UPDATE sp_lease SET holder = ?, epoch = ?, until = "+s.now+" + ?, wanted = '', mac = ? WHERE name = ? AND epoch = ? AND (until <= "+s.now+" OR holder = ?)",
			h.Name, next, leaseTime.Milliseconds(), h.sealKey().leaseMAC(st.Site, h.Name, next), leaseName, r.epoch, h.Name)
		if err != nil || n == 0 {
			return err
		}
		st.Epoch = next
		if err := h.file.save(st); err != nil {
			return err
		}
		h.setLease(leaseState{h.Name, next, begin.Add(leaseTime)})
		h.Log.Info("cluster lease taken", "epoch", next)
		return nil
	}
	holder := r.holder
	if r.free() {
		holder = ""
	}
	st.Epoch = r.epoch
	h.setLease(leaseState{holder: holder, epoch: r.epoch})
	if want && r.wanted != h.Name {
		_, err = s.exec(ctx, "UPDATE sp_lease SET wanted = ? WHERE name = ? AND epoch = ?", h.Name, leaseName, r.epoch)
	}
	return err
}

func (h *Host) setLease(l leaseState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lease.holder == h.Name && l.holder != h.Name && h.left() > 0 && l.holder != "" {
		h.Log.Warn("cluster lease lost", "to", l.holder, "epoch", l.epoch)
	}
	h.lease = l
}

// Lead takes the lease over and synchronizes this host. It waits for the present holder until ctx is done. The error is then a *Stop with
// the reason NotLeader.
func (h *Host) Lead(ctx context.Context) (control.Lease, error) {
	for {
		l, err := h.tryLead(ctx)
		if !errors.Is(err, errNoLease) {
			return l, err
		}
		select {
		case <-ctx.Done():
			who := "another host"
			if l.Holder != "" {
				who = "host " + l.Holder
			}
			return l, stop(NotLeader, "run the command again, or on that host", "%s holds the lease and did not release it in time", who)
		case <-time.After(leadRetry):
		}
	}
}

func (h *Host) tryLead(ctx context.Context) (l control.Lease, err error) {
	end, err := h.begin(ctx)
	if err != nil {
		return l, errNoLease
	}
	defer end()
	if err := h.ready(); err != nil {
		return l, err
	}
	if err := h.renew(ctx, true); err != nil {
		if ctx.Err() != nil {
			err = errNoLease
		}
		return l, err
	}
	if l, err = h.Lease(ctx); err != nil || !l.Mine {
		return l, errNoLease
	}
	if err := h.sync(ctx); err != nil {
		return l, err
	}
	return h.Lease(ctx)
}
