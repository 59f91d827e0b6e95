package milter

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"signpost/internal/testmilter"
)

// Each panic calls Options.Panicked once. Connections counts the open connections.
func TestCounts(t *testing.T) {
	ln, err := Listen("tcp", "127.0.0.1:0", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	panics := 0
	server := NewServer(Options{
		Begin:    func(context.Context, Session, Envelope) Message { return &recorder{panicAt: "header"} },
		Broken:   func(Session, Envelope) Reply { return Reply{451, "4.3.0", "broken"} },
		Log:      slog.New(slog.DiscardHandler),
		Panicked: func() { panics++ },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- server.Serve(ctx, ln) }()
	m := testmilter.Dial(t, "tcp", ln.Addr().String())
	m.Connect()
	m.Message("a@example.org", "Subject\x00 x\x00", "Subject\x00 y\x00")
	if n := server.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	server.Drain(ctx)
	if n := server.Connections(); n != 0 {
		t.Errorf("%d connections after the drain", n)
	}
	if panics != 1 {
		t.Errorf("%d panics, want 1", panics)
	}
}

// One goroutine serves one connection after the other, because a new one would have to grow its stack. It ends when the server ends.
func TestGoroutineIsKept(t *testing.T) {
	ln, err := Listen("tcp", "127.0.0.1:0", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(Options{
		Begin:  func(context.Context, Session, Envelope) Message { return &recorder{} },
		Broken: func(Session, Envelope) Reply { return Reply{451, "4.3.0", "broken"} },
		Log:    slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- server.Serve(ctx, ln) }()
	// A goroutine takes its slot before it receives, so the slots do not show that it waits.
	await := func(state, want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); goroutines("serveSessions", state) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("goroutines %q have state %s, want %q", goroutines("serveSessions", state), state, want)
			}
		}
	}
	await("[", "") // those of earlier tests have ended
	var before string
	for i := range 3 {
		m := testmilter.Dial(t, "tcp", ln.Addr().String())
		m.Connect()
		m.Message("a@example.org")
		serving := goroutines("serveSessions", "[")
		if i > 0 && serving != before {
			t.Errorf("connection %d has %q, want %q", i, serving, before)
		}
		before = serving
		m.Close()
		await("[chan receive", serving)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	server.Drain(t.Context())
	await("[", "")
}

// goroutines returns the first words, with the number, of each goroutine that runs the function and whose state begins with state.
func goroutines(function, state string) string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var found []string
	for g := range strings.SplitSeq(string(all), "\n\n") {
		if strings.Contains(g, function+"(") && strings.Contains(g, state) {
			number, _, _ := strings.Cut(g, " [")
			found = append(found, number)
		}
	}
	return strings.Join(found, ", ")
}
