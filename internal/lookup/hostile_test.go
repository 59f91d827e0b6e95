package lookup

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hanging is a source in which the tables of a set never answer.
type hanging map[string]bool

func (h hanging) Lookup(ctx context.Context, table, _ string) (Answer, error) {
	if h[table] {
		<-ctx.Done()
		return Answer{}, ctx.Err()
	}
	return Answer{"1", true}, nil
}

// Three databases that hang do not delay the lookups of a fourth, however many keys are looked up.
func TestDeadTablesLeaveSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(hanging{"t:1": true, "t:2": true, "t:3": true}, CacheOptions{})
		var all sync.WaitGroup
		for i := range 100 {
			for _, table := range []string{"t:1", "t:2", "t:3"} {
				all.Go(func() {
					if _, err := c.Lookup(t.Context(), table, fmt.Sprint(i)); kindOf(err) != Timeout {
						t.Errorf("%s: %v, want a timeout", table, err)
					}
				})
			}
		}
		synctest.Wait()
		begin := time.Now()
		if a, err := c.Lookup(t.Context(), "t:4", "x"); err != nil || !a.Found || time.Since(begin) > 0 {
			t.Errorf("%v, error %v, after %v", a, err, time.Since(begin))
		}
		all.Wait()
		synctest.Wait()
		if len(c.lanes) > 0 {
			t.Errorf("%d tables without a lookup are kept", len(c.lanes))
		}
	})
}

// If the database of one table hangs, a domain in another table is found.
func TestFindPassesDeadTables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(hanging{"t:1": true, "t:2": true}, CacheOptions{})
		find := Tables{c, []string{"t:1", "t:2", "t:3"}, defaultTimeout}.Find
		begin := time.Now()
		if table, found, err := find(t.Context(), []string{"a.example", "example"}); table != "t:3" || !found || err != nil || time.Since(begin) > 2*step {
			t.Errorf("%s, %v, error %v, after %v", table, found, err, time.Since(begin))
		}
		find = Tables{c, []string{"t:1", "t:2"}, defaultTimeout}.Find
		begin = time.Now()
		if table, found, err := find(t.Context(), []string{"b.example"}); table != "t:1" || found || kindOf(err) != Timeout || time.Since(begin) > defaultTimeout {
			t.Errorf("%s, %v, error %v, after %v", table, found, err, time.Since(begin))
		}
		time.Sleep(defaultTimeout) // until the lookups without a caller end
	})
}

// asking is a log that looks up a key for each line.
type asking struct {
	slog.Handler
	cache *Cache
}

func (a asking) Handle(ctx context.Context, _ slog.Record) error {
	_, err := a.cache.Lookup(ctx, "t:other", "x")
	return err
}

// A log that is slow does not stop lookups: no line is written while the cache is locked.
func TestLogDoesNotLockCache(t *testing.T) {
	source := &table{err: &Error{Temporary, domains, "down"}}
	c := NewCache(source, CacheOptions{})
	c.options.Log = slog.New(asking{slog.NewTextHandler(t.Output(), nil), c})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, err := range []error{source.err, nil} {
		source.set(err, 0)
		if _, err := c.Lookup(ctx, domains, "a"); ctx.Err() != nil {
			t.Fatalf("the lookup did not end: %v", err)
		}
	}
}

// A reply that arrives on an idle connection is not the answer to the next key.
func TestUnsolicitedReply(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	sent := make(chan struct{}, 2)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(c)
			if _, err := readNetstring(in, maxRequest); err == nil {
				_, _ = c.Write(netstring("NOTFOUND "))
				time.Sleep(10 * time.Millisecond) // so that the client reads the first reply alone
				_, _ = c.Write(netstring("OK forged"))
			}
			sent <- struct{}{}
		}
	}()
	client := NewClient("unix", ln.Addr().String())
	for _, key := range []string{"a", "b"} {
		if got, err := client.Lookup(t.Context(), domains, key); err != nil || got.Found {
			t.Errorf("%s: %v, error %v; want not found", key, got, err)
		}
		select {
		case <-sent:
		case <-time.After(10 * time.Second):
			t.Fatal("no new connection was opened")
		}
	}
}

// If clients hold all connections without a request, or with the beginning of one, a new client gets its answer.
func TestIdleClients(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		done <- (&Server{Source: hanging{}, Timeout: time.Second, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, ln)
	}()
	var all []net.Conn
	for i := range maxConnections + 20 {
		c, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
		if i%2 == 0 {
			if _, err := c.Write([]byte("20:half a")); err != nil {
				t.Fatal(err)
			}
		}
	}
	reading, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if got, err := NewClient("unix", ln.Addr().String()).Lookup(reading, domains, "a"); err != nil || !got.Found {
		t.Errorf("%v, error %v", got, err)
	}
	_ = all[0].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := all[0].Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the oldest idle connection is open: %v", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
