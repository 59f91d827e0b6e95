package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// fake returns a resolver whose network is the function ask. The resolver uses the clock of the synctest bubble.
func fake(ask func(ctx context.Context, q *dns.Msg) (*dns.Msg, error)) *Resolver {
	return newResolver(ask, time.Minute, time.Now, slog.New(slog.DiscardHandler))
}

func zone(t *testing.T, text string) *Zone {
	t.Helper()
	z, err := ParseZone(strings.NewReader(text), "zone")
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// Answers are cached for their TTL and no longer. Negative answers are cached for the minimum of the SOA, but at most 15 minutes. Answers
// with TTL 0 and errors are kept only for the message that looked them up.
func TestCacheTimes(t *testing.T) {
	z := zone(t, "minute. 60 IN TXT x\nzero. 0 IN TXT x\nyears. 200000000 IN TXT x\nnegative. 4000000000 IN TXT x\nmost. 2147483647 IN TXT x\ntop. 2147483648 IN TXT x\n"+
		"short. 10 IN CNAME minute.\n")
	for _, c := range []struct {
		name string
		kept time.Duration
	}{
		{"minute", time.Minute}, {"zero", 0}, {"years", 24 * time.Hour}, {"negative", 0}, {"most", 24 * time.Hour}, {"top", 0}, {"short", 10 * time.Second},
		{"absent", 15 * time.Minute}, {"servfail", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			r := fake(func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
				asked++
				if q.Question[0].Name == "servfail." {
					return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure), nil
				}
				return z.Answer(q), nil
			})
			v := r.View(netip.Addr{})
			for range 3 {
				_, _ = v.LookupTXT(t.Context(), c.name)
			}
			if asked != 1 {
				t.Errorf("%s: one message sent %d queries", c.name, asked)
			}
			if c.kept > 0 {
				time.Sleep(c.kept - time.Nanosecond)
				if _, _ = r.View(netip.Addr{}).LookupTXT(t.Context(), c.name); asked != 1 {
					t.Errorf("%s: not kept for %v", c.name, c.kept)
				}
			}
			time.Sleep(time.Nanosecond)
			if _, _ = r.View(netip.Addr{}).LookupTXT(t.Context(), c.name); asked != 2 {
				t.Errorf("%s: still kept after %v", c.name, c.kept)
			}
		})
	}
}

// The cache never exceeds its limit. The least recently used answers are dropped first.
func TestCacheSize(t *testing.T) {
	r := fake(nil)
	z := zone(t, "")
	r.ask = func(_ context.Context, q *dns.Msg) (*dns.Msg, error) { return z.Answer(q), nil }
	r.cache.max = 10_000
	v := r.View(netip.Addr{})
	for i := range 1000 {
		_, _ = v.LookupTXT(t.Context(), fmt.Sprintf("n%d.example", i))
		_, _ = r.View(netip.Addr{}).LookupTXT(t.Context(), "n0.example")
	}
	if r.cache.size > 10_000 || r.cache.size < 5000 || len(r.cache.entries) != r.cache.order.Len() {
		t.Errorf("%d bytes in %d entries", r.cache.size, len(r.cache.entries))
	}
	asked := false
	r.ask = func(_ context.Context, q *dns.Msg) (*dns.Msg, error) { asked = true; return z.Answer(q), nil }
	if _, _ = r.View(netip.Addr{}).LookupTXT(t.Context(), "n0.example"); asked {
		t.Error("the answer in constant use was dropped")
	}
}

// Many callers with the same question share one query. Each caller leaves when its own context ends. When the last caller leaves, the query
// ends.
func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, cancelled atomic.Int32
		answer := make(chan struct{})
		z := zone(t, "a. 60 IN TXT x")
		r := fake(func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
			asked.Add(1)
			select {
			case <-answer:
				return z.Answer(q), nil
			case <-ctx.Done():
				cancelled.Add(1)
				return nil, ctx.Err()
			}
		})
		impatient, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var left, served atomic.Int32
		for i := range 100 {
			all.Go(func() {
				ctx := t.Context()
				if i%2 == 0 {
					ctx = impatient
				}
				if txt, err := r.View(netip.Addr{}).LookupTXT(ctx, "a"); err != nil {
					left.Add(1)
				} else if len(txt) == 1 {
					served.Add(1)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		if left.Load() != 50 || cancelled.Load() != 0 {
			t.Errorf("%d left, %d queries cancelled", left.Load(), cancelled.Load())
		}
		close(answer)
		all.Wait()
		if asked.Load() != 1 || served.Load() != 50 {
			t.Errorf("%d queries, %d served", asked.Load(), served.Load())
		}
		// All callers leave, so the query ends. The next lookup sends a new one.
		answer = make(chan struct{})
		alone, leave := context.WithCancel(t.Context())
		all.Go(func() { _, _ = r.View(netip.Addr{}).LookupTXT(alone, "b") })
		synctest.Wait()
		leave()
		all.Wait()
		synctest.Wait()
		if cancelled.Load() != 1 || len(r.flights) != 0 {
			t.Errorf("%d cancelled, %d in flight", cancelled.Load(), len(r.flights))
		}
	})
}

// The limit counts the questions of a message, whether or not the answer is cached. A question that the message already asked does not
// count again.
func TestBudget(t *testing.T) {
	z := zone(t, "a. 60 IN TXT a\nb. 60 IN TXT b\nc. 60 IN TXT c")
	r := z.Resolver(time.Now, slog.New(slog.DiscardHandler))
	for range 2 { // the second answer is from the cache
		v := r.View(netip.Addr{})
		limited := v.Limit(2)
		for _, name := range []string{"a", "a", "b", "b"} {
			if _, err := limited.LookupTXT(t.Context(), name); err != nil {
				t.Error(name, err)
			}
		}
		if _, err := limited.LookupTXT(t.Context(), "c"); err == nil || !err.(interface{ Temporary() bool }).Temporary() {
			t.Error(err)
		}
		if _, err := v.LookupTXT(t.Context(), "c"); err != nil {
			t.Error("the view without a limit failed:", err)
		}
		if _, err := limited.LookupTXT(t.Context(), "c"); err != nil {
			t.Error("the message has this answer already:", err)
		}
		if n, _ := v.Spent(); n != 3 {
			t.Errorf("%d queries", n)
		}
	}
}

// A panic causes a temporary error and a log line. The daemon continues.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	r := newResolver(func(context.Context, *dns.Msg) (*dns.Msg, error) { panic("defect") }, time.Minute, time.Now,
		slog.New(slog.NewTextHandler(&log, nil)))
	_, err := r.View(netip.Addr{}).LookupTXT(t.Context(), "a")
	if err == nil || !strings.Contains(log.String(), "defect") {
		t.Error(err, log.String())
	}
}

// An error of the network is temporary.
func TestNetworkError(t *testing.T) {
	r := fake(func(context.Context, *dns.Msg) (*dns.Msg, error) { return nil, errors.New("unplugged") })
	_, err := r.View(netip.Addr{}).LookupTXT(t.Context(), "a")
	if err == nil || !strings.Contains(err.Error(), "unreachable") || !err.(interface{ Temporary() bool }).Temporary() {
		t.Error(err)
	}
}

// The AD bit is stored with an answer, also in the cache.
func TestAuthentic(t *testing.T) {
	z := zone(t, "a. 60 IN TXT a")
	r := fake(func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
		m := z.Answer(q)
		m.AuthenticatedData = q.AuthenticatedData
		return m, nil
	})
	for range 2 {
		v := r.View(netip.Addr{})
		_, _ = v.LookupTXT(t.Context(), "a")
		if all := v.Answered().Lookups(); len(all) != 1 || !all[0].Authentic {
			t.Error(all)
		}
	}
}

// The code does not panic, whatever the question and the answer are. Each answer has records or an error.
func FuzzAnswer(f *testing.F) {
	m := new(dns.Msg).SetQuestion("a.example.", dns.TypeTXT)
	rr, _ := dns.NewRR("a.example. 60 IN TXT \"x\"")
	m.Answer = append(m.Answer, rr)
	wire, _ := m.Pack()
	f.Add("a.example", wire)
	f.Add("a\\..example", wire)
	f.Fuzz(func(t *testing.T, name string, wire []byte) {
		reply := new(dns.Msg)
		if reply.Unpack(wire) != nil {
			return
		}
		for _, qtype := range []uint16{dns.TypeTXT, dns.TypeA, dns.TypeMX, dns.TypePTR} {
			full, err := canonical(name)
			if err != nil {
				return
			}
			a, target := read(question{full, qtype}, full, reply)
			if a.err == nil && target == "" && len(a.text)+len(a.addrs)+len(a.mx)+len(a.names) == 0 {
				t.Fatalf("neither records nor an error: %v", reply)
			}
			_, _ = a.shortened()
		}
	})
}
