package milter

import (
	"context"
	"log/slog"
	"testing"

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
