package milter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signpost/internal/testmilter"
)

// silent is a Message that ignores all events.
type silent struct{}

func (silent) Header(string, string)                 {}
func (silent) Recipient([]byte)                      {}
func (silent) EndHeaders(string)                     {}
func (silent) Body([]byte)                           {}
func (silent) Finish(context.Context) (Edits, Reply) { return Edits{Insert: someFields}, Reply{} }

var someFields = []Insertion{{0, "Authentication-Results", " mx.example;\r\n\tspf=pass smtp.mailfrom=example.org"}}

// countedConn counts the writes to a connection.
type countedConn struct {
	*net.UnixConn
	writes *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.UnixConn.Write(p)
}

type countedListener struct {
	*net.UnixListener
	writes atomic.Int64
}

func (l *countedListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	return countedConn{c, &l.writes}, err
}

// player is a server whose messages are silent. Its listener counts the writes to all connections.
type player struct {
	t  testing.TB
	ln *countedListener
}

func play(t testing.TB) *player {
	t.Helper()
	ln, err := Listen("unix", t.TempDir()+"/s.sock", 0o600, "")
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t, &countedListener{UnixListener: ln.(*net.UnixListener)}}
	server := NewServer(Options{
		Begin:  func(context.Context, Session, Envelope) Message { return silent{} },
		Broken: func(Session, Envelope) Reply { return Reply{451, "4.3.0", "broken"} },
		Log:    slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(ctx, p.ln); err != nil {
			t.Error(err)
		}
		server.Drain(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return p
}

func (p *player) dial() *testmilter.MTA {
	p.t.Helper()
	m := testmilter.Dial(p.t, "unix", p.ln.Addr().String())
	m.Connect()
	return m
}

// letter returns an ordinary message as Postfix sends it: 20 fields and a body of size bytes.
func letter(size int) []byte {
	var b bytes.Buffer
	add := func(code byte, data string) { b.Write(testmilter.Packet(code, data)) }
	add('D', "M{auth_type}\x00\x00")
	add('M', "<ann@example.org>\x00")
	add('R', "<bob@example.net>\x00")
	for i := range 20 {
		add('L', fmt.Sprintf("X-Field-%d\x00 some words of usual length, for the sake of it\x00", i))
	}
	add('D', "Ni\x00QUEUEID\x00")
	add('N', "")
	for size > 0 {
		n := min(size, 65535)
		add('B', strings.Repeat("x", n))
		size -= n
	}
	add('D', "Ei\x00QUEUEID\x00")
	add('E', "")
	return b.Bytes()
}

// An answer and its edits are one write, because each write costs Postfix and Signpost a system call.
func TestOneWritePerAnswer(t *testing.T) {
	p := play(t)
	m := p.dial()
	if n := p.ln.writes.Load(); n != 1 {
		t.Errorf("%d writes for the negotiation, want 1", n)
	}
	for range 3 {
		before := p.ln.writes.Load()
		if got := m.Message("ann@example.org", "Subject\x00 x\x00"); len(got) != 2 || got[1] != "c" {
			t.Errorf("%q", got)
		}
		if n := p.ln.writes.Load() - before; n != 1 {
			t.Errorf("%d writes for a message, want 1", n)
		}
	}
}

// A message of 20 fields takes one allocation for each field and a few more. The body causes no allocation, whatever its size.
func TestAllocations(t *testing.T) {
	const fields, own = 20, 16
	for _, size := range []int{0, 4 << 10, 4 << 20} {
		p := play(t)
		m := p.dial()
		wire, answer := letter(size), make([]byte, 1<<10)
		n := testing.AllocsPerRun(50, func() {
			if _, err := m.Write(wire); err != nil {
				t.Fatal(err)
			}
			if n, err := io.ReadAtLeast(m, answer, 5); err != nil || answer[n-1] != 'c' {
				t.Fatalf("%q %v", answer[:n], err)
			}
		})
		if n > fields+own {
			t.Errorf("%d bytes of body: %v allocations, want %d at most", size, n, fields+own)
		}
	}
}

// The events do not depend on how the bytes of their packets are split.
func TestPiecemeal(t *testing.T) {
	long := strings.Repeat("long ", 30<<10)
	var wire bytes.Buffer
	for _, p := range []string{"M<a@example.org>\x00", "R<b@example.net>\x00", "LX-Long\x00 " + long + "\x00", "LX-Empty\x00\x00", "Di\x00\x00", "DNi\x00QUEUEID\x00", "N",
		"B" + strings.Repeat("y", 70<<10), "B", "Elast"} {
		wire.Write(testmilter.Packet(p[0], p[1:]))
	}
	want := "header X-Long: " + long + "|header X-Empty:|eoh QUEUEID|" + strings.Repeat("y", 70<<10) + "last|finish"
	for _, step := range []int{1 << 20, 64 << 10, 4096, 1021} {
		s := serve(t, func() *recorder { return &recorder{} })
		m := s.dial()
		m.Connect()
		for range 2 {
			for rest := wire.Bytes(); len(rest) > 0; {
				n := min(step, len(rest))
				if _, err := m.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if got := m.Answers(); len(got) != 1 || got[0] != "c" {
				t.Fatalf("%q", got)
			}
		}
		s.mu.Lock()
		for _, r := range s.all {
			var got strings.Builder
			for i, e := range r.events {
				body, isBody := strings.CutPrefix(e, "body ")
				if i > 0 && (!isBody || !strings.HasPrefix(r.events[i-1], "body ")) {
					got.WriteString("|")
				}
				got.WriteString(body)
			}
			if got.String() != want {
				t.Errorf("in steps of %d bytes: %.200q", step, got.String())
			}
		}
		s.mu.Unlock()
	}
}

// Macros apply only to the next event, which may be a piece of a body. So a login in the macros before such an event does not apply to
// the next message.
func TestMacrosAreForOneEvent(t *testing.T) {
	s := serve(t, func() *recorder { return &recorder{} })
	for _, event := range []string{"Btext", "N", "LSubject\x00 x\x00", "R<b@example.net>\x00"} {
		m := s.dial()
		m.Connect()
		m.Send('D', event[:1]+"{auth_authen}\x00mallory\x00")
		m.Send(event[0], event[1:])
		m.Message("a@example.org")
		m.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.envs {
		if e.Login != "" {
			t.Errorf("the login %q of another event was used", e.Login)
		}
	}
}

// Postfix keeps idle connections open between two messages. An idle connection has no buffer. It takes less than 30 KiB of memory,
// including the test's end of the connection.
func TestIdleConnections(t *testing.T) {
	p := play(t)
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	const connections = 300
	wire := letter(100 << 10)
	before := memory()
	all := make([]*testmilter.MTA, connections)
	for i := range all {
		all[i] = p.dial()
		if _, err := all[i].Write(wire); err != nil {
			t.Fatal(err)
		}
		all[i].Answers()
	}
	// The last answer may arrive before the goroutine of its connection waits again.
	const most = 30 << 10
	var each uint64
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if each = (max(memory(), before) - before) / connections; each < most {
			break
		}
	}
	t.Logf("%d bytes per connection", each)
	if each >= most {
		t.Errorf("%d bytes per connection, want less than %d", each, most)
	}
	runtime.KeepAlive(all)
}

func BenchmarkMessage(b *testing.B) {
	for _, size := range []int{4 << 10, 10 << 20} {
		for _, fresh := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dKiB/fresh=%v", size>>10, fresh), func(b *testing.B) {
				p := play(b)
				m := p.dial()
				wire, answer := letter(size), make([]byte, 1<<10)
				b.ReportAllocs()
				b.SetBytes(int64(len(wire)))
				for b.Loop() {
					if fresh {
						m.Close()
						m = p.dial()
					}
					if _, err := m.Write(wire); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadAtLeast(m, answer, 5); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// Identify distinguishes Signpost from other milters and from servers that are not milters.
func TestIdentify(t *testing.T) {
	identify := func(address string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return Identify(ctx, "unix", address)
	}
	p := play(t)
	if err := identify(p.ln.Addr().String()); err != nil {
		t.Error(err)
	}
	for greeting, want := range map[string]string{
		"220 mail.example ESMTP\r\n": "does not answer as a milter",
		string(testmilter.Packet('O', "\x00\x00\x00\x06\x00\x00\x00\x11\x00\x00\x00\x00"+strings.Repeat(" ", 200))): "another milter",
	} {
		ln, err := net.Listen("unix", t.TempDir()+"/s")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := ln.Accept(); err == nil {
				_, _ = io.WriteString(c, greeting)
				c.Close()
			}
		}()
		if err := identify(ln.Addr().String()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", greeting, err)
		}
		ln.Close()
	}
	// OpenDKIM's answer is shorter than Signpost's, and its connection stays open.
	short, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer short.Close()
	go func() {
		if c, err := short.Accept(); err == nil {
			_, _ = c.Write(testmilter.Packet('O', "\x00\x00\x00\x06\x00\x00\x01\x3f\x00\x00\x00\x00"))
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	if err := identify(short.Addr().String()); !errors.Is(err, ErrAnother) {
		t.Errorf("a short answer: %v", err)
	}
	if err := identify(t.TempDir() + "/none"); err == nil {
		t.Error("no error for a socket that does not exist")
	}
}
