package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// clientAddr is the address of a client in 192.0.2.0/24.
func clientAddr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }

// half returns a resolver whose servers never answer for names that begin with "dead". The servers answer at once for all other names.
func half(slots int) *Resolver {
	return New(Options{Timeout: 5 * time.Second, Slots: slots, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Ask: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
			if strings.HasPrefix(q.Question[0].Name, "dead") {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			m := new(dns.Msg).SetReply(q)
			m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"x"}}}
			return m, nil
		}})
}

// The mail of some clients contains names that cannot be looked up. The lookups of these names do not delay the lookups of another client,
// even if there are more of them than slots.
func TestDeadNamesDelayOnlyTheirClient(t *testing.T) {
	const sessions, dead = 75, 20
	for _, c := range []struct {
		what   string
		client func(session int) netip.Addr
		within time.Duration
	}{
		{"one client", func(int) netip.Addr { return clientAddr(1) }, 0},
		{"one IPv6 host with many addresses", func(n int) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(n)})
		}, 0},
		{"many clients", clientAddr, yieldAfter},
	} {
		for _, reserved := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reserved %v", c.what, reserved), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := half(0)
					for s := range sessions {
						v := r.View(c.client(s))
						if reserved {
							v = v.Reserved()
						}
						for i := range dead {
							v.Prefetch(t.Context(), TXT, fmt.Sprintf("dead%d.s%d.example", i, s))
						}
					}
					synctest.Wait()
					honest := r.View(clientAddr(200))
					begin := time.Now()
					for i := range dead {
						for _, v := range []*View{honest, honest.Reserved()} {
							if _, err := v.LookupTXT(t.Context(), fmt.Sprintf("n%d.honest.example", i)); err != nil || time.Since(begin) > c.within {
								t.Fatalf("lookup %d ended after %v: %v", i, time.Since(begin), err)
							}
						}
					}
					if honest.Exhausted() {
						t.Error("exhausted")
					}
					time.Sleep(time.Minute)
					synctest.Wait()
					if s := &r.slots; s.busy != 0 || s.busyOthers != 0 || s.waiting != 0 || len(s.clients) != 0 || len(s.queue) != 0 || len(r.flights) != 0 {
						t.Errorf("left behind: %+v, %d flights", r.slots, len(r.flights))
					}
				})
			})
		}
	}
}

// If no slot is free, the next free slot is assigned to the client with the fewest lookups in progress, even if others have waited
// longer. Among the lookups of one client, the reserved lookups come first.
func TestFewestLookupsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := half(8) // two of them reserved
		var order []string
		var mu sync.Mutex
		inner := r.ask
		r.ask = func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
			mu.Lock()
			order = append(order, q.Question[0].Name)
			mu.Unlock()
			return inner(ctx, q)
		}
		started := func() string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			all := strings.Join(order, " ")
			order = nil
			return all
		}
		var leave []context.CancelFunc
		for i := range 6 { // the six slots that are not reserved
			busy, cancel := context.WithCancel(t.Context())
			leave = append(leave, cancel)
			r.View(clientAddr(i)).Prefetch(busy, TXT, fmt.Sprintf("dead-busy%d", i))
		}
		started()
		a, b := r.View(clientAddr(0)), r.View(clientAddr(9))
		for _, name := range []string{"dead-a1", "dead-a2"} {
			a.Prefetch(t.Context(), TXT, name)
			synctest.Wait()
		}
		b.Prefetch(t.Context(), TXT, "dead-b1")
		if got := started(); got != "" {
			t.Fatalf("started without a slot: %s", got)
		}
		// Reserved lookups use slots that other lookups cannot use.
		r.View(clientAddr(8)).Reserved().Prefetch(t.Context(), TXT, "dead-r")
		if got := started(); got != "dead-r." {
			t.Fatalf("started %q", got)
		}
		// If a waiting question is repeated as a reserved lookup, it starts at once.
		b.Reserved().Prefetch(t.Context(), TXT, "dead-b1")
		if got := started(); got != "dead-b1." {
			t.Fatalf("started %q", got)
		}
		b.Prefetch(t.Context(), TXT, "dead-b2")
		r.View(clientAddr(10)).Prefetch(t.Context(), TXT, "dead-c")
		started()
		for i, want := range []string{"dead-c.", "", "dead-a1."} { // clients 0 and 9 have one lookup each, and one free slot serves only one
			leave[i+1]()
			if got := started(); got != want {
				t.Errorf("slot %d: started %q, want %q", i, got, want)
			}
		}
	})
}

// Two clients may ask the same question. The question then does not wait in the queue of the first client, even if that client has many
// lookups. This applies before the lookup has a slot, and also after the lookup lost its slot.
func TestSharedQuestion(t *testing.T) {
	for _, early := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := half(8)
			asked := map[string]int{}
			var mu sync.Mutex
			inner := r.ask
			r.ask = func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
				mu.Lock()
				asked[q.Question[0].Name]++
				mu.Unlock()
				return inner(ctx, q)
			}
			count := func() int {
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				return asked["dead-x."]
			}
			busy := r.View(clientAddr(1))
			others := []*View{busy, busy, r.View(clientAddr(4)), r.View(clientAddr(4)), r.View(clientAddr(5))}
			if early {
				busy.Prefetch(t.Context(), TXT, "dead-x")
			}
			for i, v := range others {
				v.Prefetch(t.Context(), TXT, fmt.Sprintf("dead%d", i))
			}
			if !early {
				busy.Prefetch(t.Context(), TXT, "dead-y")
				busy.Prefetch(t.Context(), TXT, "dead-x")
			}
			before := count()
			r.View(clientAddr(2)).Prefetch(t.Context(), TXT, "dead-x")
			time.Sleep(yieldAfter)
			// After each of these lookups, the sixth slot is free again. The client that was the first to ask for dead-x may not use this
			// slot.
			for i := range 2 {
				if _, err := r.View(clientAddr(3)).LookupTXT(t.Context(), fmt.Sprintf("well%d.example", i)); err != nil {
					t.Error(err)
				}
			}
			if n := count(); n != before+1 {
				t.Errorf("early %v: %d queries, before %d", early, n, before)
			}
		})
	}
}

// If a reserved lookup gets no slot, the cause is a lack of resources on this host. A DNS failure is not a lack of resources.
func TestExhausted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := half(4)
		for i := range 4 {
			for j := range 2 {
				r.View(clientAddr(i)).Reserved().Prefetch(t.Context(), TXT, fmt.Sprintf("dead%d.c%d", j, i))
			}
		}
		synctest.Wait()
		v := r.View(clientAddr(9))
		short := v.Until(time.Now().Add(time.Second))
		if _, err := short.LookupTXT(t.Context(), "well.example"); kindOf(err) != "temporary" || v.Exhausted() {
			t.Errorf("%v; Exhausted is %v after a lookup that is not reserved", err, v.Exhausted())
		}
		short = v.Until(time.Now().Add(time.Second))
		if _, err := short.Reserved().LookupTXT(t.Context(), "well.example"); kindOf(err) != "temporary" || !v.Exhausted() || statusOfError(nil, err) != NoSlot {
			t.Errorf("%v, exhausted %v", err, v.Exhausted())
		}
		time.Sleep(time.Minute)
		v = r.View(clientAddr(9)).Reserved()
		if _, err := v.LookupTXT(t.Context(), "dead.example"); kindOf(err) != "temporary" || v.Exhausted() || statusOfError(nil, err) != Timeout {
			t.Errorf("%v; Exhausted is %v after a failure of the sender's DNS", err, v.Exhausted())
		}
	})
}

// kindOf returns the kind of a lookup's error. The SPF library treats every error except a *net.DNSError as permanent.
func kindOf(err error) string {
	var e *net.DNSError
	switch {
	case err == nil:
		return "ok"
	case !errors.As(err, &e):
		return fmt.Sprintf("a %T", err)
	case e.IsNotFound:
		return "not found"
	case e.IsTemporary:
		return "temporary"
	}
	return "permanent"
}

// If a socket for UDP or TCP is not available, the cause is a lack of resources on this host, whatever error the operating system
// returns.
func TestLackOfResources(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{syscall.EMFILE, true}, {syscall.ENFILE, true}, {syscall.ENOBUFS, true}, {syscall.ENOMEM, true}, {syscall.EADDRNOTAVAIL, true}, {syscall.EAGAIN, true},
		{syscall.ECONNREFUSED, false}, {syscall.ENETUNREACH, false}, {os.ErrDeadlineExceeded, false}, {context.DeadlineExceeded, false},
	} {
		r := fake(func(context.Context, *dns.Msg) (*dns.Msg, error) {
			return nil, &net.OpError{Op: "dial", Net: "udp", Err: os.NewSyscallError("socket", c.err)}
		})
		v := r.View(clientAddr(1)).Reserved()
		if _, err := v.LookupTXT(t.Context(), "a.example"); kindOf(err) != "temporary" || v.Exhausted() != c.want {
			t.Errorf("%v: %v, exhausted %v", c.err, err, v.Exhausted())
		}
	}
}

// The length of the queue is limited. If it is full, a lookup of the client with the most lookups is dropped. The reserved lookups of that
// client are dropped last.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 8
		r := half(n)
		var refused int
		r.SetObserver(func(a Asked) {
			if a.Outcome == Exhausted {
				refused++
			}
		})
		ctx, leave := context.WithCancel(t.Context())
		for i := range 50 {
			for j := range maxPrefetch {
				r.View(clientAddr(1)).Prefetch(ctx, TXT, fmt.Sprintf("dead%d.n%d", i, j))
			}
		}
		r.View(clientAddr(1)).Reserved().Prefetch(ctx, TXT, "dead-reserved")
		r.View(clientAddr(2)).Prefetch(ctx, TXT, "dead-other")
		synctest.Wait()
		r.mu.Lock()
		waits := r.slots.waiting
		reserved, other := r.flights[question{"dead-reserved.", dns.TypeTXT}], r.flights[question{"dead-other.", dns.TypeTXT}]
		r.mu.Unlock()
		if most := waitingPerSlot * n; waits > most || refused < 50*maxPrefetch-most-n {
			t.Errorf("%d wait, at most %d; %d refused", waits, most, refused)
		}
		if reserved == nil || other == nil {
			t.Error("a lookup of another client, or a reserved one, was refused")
		}
		leave()
		synctest.Wait()
		if s := &r.slots; s.busy != 0 || s.waiting != 0 || len(s.clients) != 0 {
			t.Errorf("left behind: %+v", s)
		}
	})
}

// Reserved lookups have their own prefetch limit.
func TestReservedPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := half(0)
		v := r.View(clientAddr(1))
		for i := range 100 {
			v.Prefetch(t.Context(), TXT, fmt.Sprintf("dead%d.sender.example", i))
		}
		begin := time.Now()
		reserved := v.Reserved()
		reserved.Prefetch(t.Context(), TXT, "_dmarc.victim.example")
		synctest.Wait()
		if txt, err := reserved.LookupTXT(t.Context(), "_dmarc.victim.example"); err != nil || len(txt) != 1 || time.Since(begin) != 0 {
			t.Errorf("%q %v after %v", txt, err, time.Since(begin))
		}
		for i := range 100 {
			reserved.Prefetch(t.Context(), TXT, fmt.Sprintf("dead%d.victim.example", i))
		}
		synctest.Wait()
		if got := v.shared.open; got != (openCount{maxReservedPrefetch, maxPrefetch}) {
			t.Errorf("%+v under way", got)
		}
	})
}
