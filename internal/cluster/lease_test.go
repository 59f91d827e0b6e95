package cluster_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"signpost/internal/cluster"
)

// one checks that exactly one of the hosts holds the lease.
func (s *site) one(what string, want *host, all ...*host) {
	s.t.Helper()
	for _, h := range all {
		if h.leads() != (h == want) {
			l, err := h.Lease(s.t.Context())
			s.t.Errorf("%s: host %s has %+v, %v", what, h.name, l, err)
		}
	}
}

// One host holds the lease, and keeps it. Another host takes it over after the holder has read what it wants. At no time do two hosts hold it.
func testLease(t *testing.T, s *site) {
	a, b := s.host("a"), s.host("b")
	if _, err := a.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		sync2(a, b)
		s.one("first", a, a, b)
	}
	l, err := a.Lease(t.Context())
	if err != nil || l.LeftMS < 50_000 || l.LeftMS > 60_000 || l.Epoch == 0 {
		t.Errorf("%+v, %v", l, err)
	}
	if other, err := b.Lease(t.Context()); err != nil || other.Holder != "a" || other.Epoch != l.Epoch || other.LeftMS != 0 {
		t.Errorf("%+v, %v", other, err)
	}
	// The holder does not answer.
	short, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	_, err = b.Lead(short)
	stopped(t, err, cluster.NotLeader)
	s.one("in vain", a, a, b)
	// The holder releases the lease at its next poll, after its changes were written.
	a.create("a.example", "s1")
	sync2(a)
	s.one("released", nil, a, b)
	sync2(a) // it does not take the lease again, because b wants it
	s.one("wanted", nil, a, b)
	taken, err := b.Lead(t.Context())
	if err != nil || !taken.Mine || taken.Epoch <= l.Epoch {
		t.Fatalf("%+v, %v", taken, err)
	}
	s.one("taken over", b, a, b)
	b.expect("changes of the former holder", "a.example", "s1", "generated pem")
	sync2(a, b, a)
	s.one("kept", b, a, b)
	if l, err := b.Lead(t.Context()); err != nil || l.Epoch != taken.Epoch {
		t.Errorf("the holder took the lease again: %+v, %v", l, err)
	}
	// Takers at the same moment.
	s.sql("UPDATE sp_lease SET until = 0")
	var group sync.WaitGroup
	hosts := []*host{a, s.joined("c"), s.joined("d")}
	s.sql("UPDATE sp_lease SET until = 0, wanted = ''")
	for _, h := range hosts {
		group.Go(func() {
			if err := h.Sync(t.Context()); err != nil {
				t.Errorf("host %s: %v", h.name, err)
			}
		})
	}
	group.Wait()
	n := 0
	for _, h := range hosts {
		if h.leads() {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d hosts took the lease", n)
	}
}

// After the lease has expired, another host takes it. The former holder, when it wakes up, does not hold it, and overwrites nothing.
func testLeaseExpires(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.create("a.example", "s1")
	sync2(a, b)
	s.one("begin", a, a, b)
	a.activate("a.example", "s1") // a stops before it writes this
	sync2(b)
	s.one("not expired", a, a, b)
	s.sql("UPDATE sp_lease SET until = 0")
	sync2(b)
	if !b.leads() {
		t.Fatal("b did not take the expired lease")
	}
	b.retire("a.example", "s1")
	sync2(b, a)
	s.one("the old leader wakes", b, a, b)
	a.expect("the old leader wakes", "a.example", "s1", "retiring pem")
	sync2(a, b)
	b.expect("the old leader wakes", "a.example", "s1", "retiring pem")
	// A new process of the holder takes the lease at once, with a new epoch.
	before, err := b.Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.start(b, s.server.URL(s.database))
	sync2(b, a)
	s.one("restarted", b, a, b)
	if after, err := b.Lease(t.Context()); err != nil || after.Epoch != before.Epoch+1 {
		t.Errorf("%+v, %v; before %+v", after, err, before)
	}
	// An older epoch was put back: no host trusts the row.
	s.sql("UPDATE sp_lease SET epoch = epoch - 1, until = 0")
	sync2(a, b)
	s.one("older epoch", nil, a, b)
}
