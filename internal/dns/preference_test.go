package dns

import (
	"bytes"
	"context"
	"errors"
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

// fakeServers returns a network of servers whose answers to `. NS` are set by the test: an Rcode, or -1 for no reply.
func fakeServers(rcodes ...int) (n *network, set func(server, rcode int), log *bytes.Buffer, failovers *int) {
	log, failovers = &bytes.Buffer{}, new(int)
	o := Options{Log: slog.New(slog.NewTextHandler(log, nil)), FailedOver: func() { *failovers++ }}
	now := make([]atomic.Int32, len(rcodes))
	for i, rcode := range rcodes {
		o.Servers = append(o.Servers, netip.AddrPortFrom(clientAddr(i+1), 53))
		now[i].Store(int32(rcode))
	}
	n = newNetwork(o)
	for i := range n.roots {
		n.roots[i].ask = func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
			rcode := now[i].Load()
			if rcode < 0 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return new(dns.Msg).SetRcode(q, int(rcode)), nil
		}
	}
	return n, func(server, rcode int) { now[server].Store(int32(rcode)) }, log, failovers
}

// Only `. NS` changes the preference. The next server with a better result becomes preferred, with one ERROR line. When the first server
// answers again, it becomes preferred again.
func TestPreference(t *testing.T) {
	const none = -1
	for _, c := range []struct {
		what   string
		rcodes []int
		want   int
		errors int // lines
	}{
		{"it answers", []int{dns.RcodeSuccess, dns.RcodeSuccess}, 0, 0},
		{"it answers NXDOMAIN", []int{dns.RcodeNameError, dns.RcodeSuccess}, 0, 0},
		{"SERVFAIL", []int{dns.RcodeServerFailure, dns.RcodeSuccess}, 1, 1},
		{"REFUSED", []int{dns.RcodeRefused, dns.RcodeSuccess}, 1, 1},
		{"no reply", []int{none, dns.RcodeSuccess}, 1, 1},
		{"no reply, nor from the next one", []int{none, none, dns.RcodeSuccess}, 2, 1},
		{"no reply, the next one refuses", []int{none, dns.RcodeRefused}, 1, 1},
		{"no server answers", []int{none, none}, 0, 1},
		{"all servers fail", []int{dns.RcodeServerFailure, dns.RcodeServerFailure}, 0, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, set, log, failovers := fakeServers(c.rcodes...)
				for range 10 { // lookups that failed at the preferred server
					n.preference.suspect(0)
					time.Sleep(rootTimeout + rootMemory)
					synctest.Wait()
				}
				moved := 0
				if c.want != 0 {
					moved = 1
				}
				if got := n.preference.get(); got != c.want || *failovers != moved || strings.Count(log.String(), "level=ERROR") != c.errors {
					t.Errorf("server %d is preferred, want %d; %d failovers\n%s", got, c.want, *failovers, log)
				}
				for i := range c.rcodes {
					set(i, dns.RcodeSuccess)
				}
				time.Sleep(returnInterval)
				n.preference.get()
				time.Sleep(rootTimeout + rootMemory)
				synctest.Wait()
				if got := n.preference.get(); got != 0 || *failovers != moved {
					t.Errorf("server %d is preferred although the first one answers again", got)
				}
			})
		})
	}
}

// RootAnswers sends one query for all callers at the same time and shortly afterwards. It needs no slot. An error of the server is not an
// answer.
func TestRootAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var rcode atomic.Int32
		r := New(Options{Timeout: 5 * time.Second, Slots: 4, Now: time.Now, Log: slog.New(slog.DiscardHandler),
			Ask: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
				if q.Question[0].Name != "." || q.Question[0].Qtype != dns.TypeNS {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				asked.Add(1)
				if rcode.Load() < 0 {
					return nil, errors.New("unplugged")
				}
				return new(dns.Msg).SetRcode(q, int(rcode.Load())), nil
			}})
		for i := range 100 { // until no slot is free
			r.View(clientAddr(i)).Reserved().Prefetch(t.Context(), TXT, "dead.example")
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if !r.View(clientAddr(1)).RootAnswers(t.Context()) {
					t.Error("RootAnswers returns false although a server answers")
				}
			})
		}
		all.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("%d queries", n)
		}
		for code, want := range map[int32]bool{dns.RcodeSuccess: true, dns.RcodeNameError: true, dns.RcodeServerFailure: false, dns.RcodeRefused: false, -1: false} {
			time.Sleep(rootMemory)
			rcode.Store(code)
			if got := r.RootAnswers(t.Context()); got != want {
				t.Errorf("rcode %d: %v", code, got)
			}
		}
		known := r.View(clientAddr(1)).Known()
		if !known.RootAnswers(t.Context()) || !known.Missed() {
			t.Error("a view that sends no queries reports an answer")
		}
	})
}
