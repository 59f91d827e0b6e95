package milter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/testmilter"
)

// recorder is a Message that records its events.
type recorder struct {
	events  []string
	to      []string // recipients
	panicAt string
	edits   Edits
	reply   Reply
}

func (r *recorder) note(format string, args ...any) {
	e := fmt.Sprintf(format, args...)
	r.events = append(r.events, e)
	if r.panicAt != "" && strings.HasPrefix(e, r.panicAt) {
		panic("as asked for")
	}
}

func (r *recorder) Header(name, value string) { r.note("header %s:%s", name, value) }
func (r *recorder) Recipient(p []byte)        { r.to = append(r.to, string(p)) }
func (r *recorder) EndHeaders(id string)      { r.note("eoh %s", id) }
func (r *recorder) Body(p []byte)             { r.note("body %s", p) }
func (r *recorder) Finish(context.Context) (Edits, Reply) {
	r.note("finish")
	return r.edits, r.reply
}

// served is a server on a TCP port, with the events that its messages recorded.
type served struct {
	t    *testing.T
	addr string
	mu   sync.Mutex
	all  []*recorder
	log  *bytes.Buffer
	next func() *recorder
	ctxs []context.Context
	sess []Session
	envs []Envelope
}

func serve(t *testing.T, next func() *recorder) *served {
	t.Helper()
	s := &served{t: t, log: &bytes.Buffer{}, next: next}
	ln, err := Listen("tcp", "127.0.0.1:0", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	server := NewServer(Options{
		Begin: func(ctx context.Context, sess Session, e Envelope) Message {
			s.mu.Lock()
			defer s.mu.Unlock()
			r := s.next()
			s.all, s.ctxs, s.sess, s.envs = append(s.all, r), append(s.ctxs, ctx), append(s.sess, sess), append(s.envs, e)
			return r
		},
		Broken: func(Session, Envelope) Reply { return Reply{451, "4.3.0", "broken"} },
		Log:    slog.New(slog.NewTextHandler(&lockedWriter{w: s.log, mu: &s.mu}, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(ctx, ln); err != nil {
			t.Error(err)
		}
		server.Drain(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

type lockedWriter struct {
	w  io.Writer
	mu *sync.Mutex
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (s *served) logged(want string) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		text := s.log.String()
		s.mu.Unlock()
		if strings.Contains(text, want) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not logged: %q in\n%s", want, text)
		}
	}
}

func (s *served) dial() *testmilter.MTA {
	s.t.Helper()
	return testmilter.Dial(s.t, "tcp", s.addr)
}

// Only the end of a message gets an answer. Every message of a session has the client's address. The context of a message ends with the
// message.
func TestSession(t *testing.T) {
	replies := []Reply{{}, {550, "5.7.1", "100% no\r\nnot \x00 this"}, {}}
	n := 0
	s := serve(t, func() *recorder {
		n++
		return &recorder{reply: replies[n-1], edits: Edits{Hold: "why"}}
	})
	m := s.dial()
	m.Connect()
	for i, want := range []string{"qwhy\x00 c", "y550 5.7.1 100%% no??not ? this\x00", "qwhy\x00 c"} {
		if got := strings.Join(m.Message(fmt.Sprintf("s%d@example.org", i), "Subject\x00 x\x00"), " "); got != want {
			t.Errorf("message %d: %q, want %q", i, got, want)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.all {
		if got := strings.Join(r.events, "|"); got != "header Subject: x|eoh QUEUEID|body text\r\n|finish" {
			t.Errorf("%d: %s", i, got)
		}
		if s.sess[i].Client.String() != "192.0.2.10" || s.sess[i].HELO != "helo.example" || !s.sess[i].SMTP || s.envs[i].Sender != fmt.Sprintf("s%d@example.org", i) {
			t.Errorf("%d: %+v %+v", i, s.sess[i], s.envs[i])
		}
		if s.ctxs[i].Err() == nil {
			t.Errorf("message %d has ended, but its context has not", i)
		}
	}
}

// Deletions are sent before insertions, from the highest index to the lowest (OpenDKIM CVE-2022-48521).
func TestEdits(t *testing.T) {
	s := serve(t, func() *recorder {
		return &recorder{edits: Edits{
			Delete: []Deletion{{"A", 1}, {"A", 3}, {"B", 2}},
			Insert: []Insertion{{0, "X", " 1;\r\n\t2"}, {0, "Y", " 3"}},
			Hold:   "why",
		}}
	})
	m := s.dial()
	m.Connect()
	if _, err := m.Write(letter(4)); err != nil { // as packets: the answers are compared byte by byte
		t.Fatal(err)
	}
	got := fmt.Sprintf("%q", m.Answers())
	want := `["m\x00\x00\x00\x03A\x00\x00" "m\x00\x00\x00\x02B\x00\x00" "m\x00\x00\x00\x01A\x00\x00" "i\x00\x00\x00\x00X\x00 1;\n\t2\x00" "i\x00\x00\x00\x00Y\x00 3\x00" "qwhy\x00" "c"]`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A message that is discarded gets only this answer.
func TestDiscard(t *testing.T) {
	s := serve(t, func() *recorder { return &recorder{edits: Edits{Discard: true, Insert: []Insertion{{0, "X", " 1"}}}} })
	m := s.dial()
	m.Connect()
	if got := m.Message("a@example.org", "Subject\x00 x\x00"); len(got) != 1 || got[0] != "d" {
		t.Errorf("%q", got)
	}
}

// A panic affects only its own message, which gets reply 451 at its end.
func TestPanic(t *testing.T) {
	for _, at := range []string{"header", "eoh", "body", "finish"} {
		n := 0
		s := serve(t, func() *recorder {
			if n++; n == 1 {
				return &recorder{panicAt: at}
			}
			return &recorder{}
		})
		m := s.dial()
		m.Connect()
		if got := m.Message("a@example.org", "Subject\x00 x\x00"); got[0] != "y451 4.3.0 broken\x00" {
			t.Errorf("panic at %s: %q", at, got)
		}
		if got := m.Message("a@example.org", "Subject\x00 x\x00"); got[0] != "c" {
			t.Errorf("the message after a panic at %s: %q", at, got)
		}
		s.logged("as asked for")
	}
}

// A header packet with an extra NUL contains a field that cannot be read completely. Signpost must not send Postfix an answer that
// Postfix does not expect. Signpost also makes no decision about a message if it has not read every field.
func TestNULInHeader(t *testing.T) {
	s := serve(t, func() *recorder { return &recorder{} })
	m := s.dial()
	m.Connect()
	if got := m.Message("a@example.org", "Subject\x00 x\x00y\x00"); got[0] != "y451 4.3.0 broken\x00" {
		t.Errorf("%q", got)
	}
	// The same between two messages.
	m.Send('L', "Subject\x00 x\x00y\x00")
	m.Send('A', "")
	if got := m.Message("a@example.org", "Subject\x00 x\x00"); got[0] != "c" || len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// Nothing of an aborted message is left for the next message.
func TestAbort(t *testing.T) {
	s := serve(t, func() *recorder { return &recorder{} })
	m := s.dial()
	m.Connect()
	m.Send('M', "<x@example.org>\x00")
	m.Send('R', "<bob@example.net>\x00")
	m.Send('L', "Subject\x00 aborted\x00")
	m.Send('A', "")
	m.Message("a@example.org", "Subject\x00 x\x00")
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) != 2 || strings.Join(s.all[1].events, "|") != "header Subject: x|eoh QUEUEID|body text\r\n|finish" || s.ctxs[0].Err() == nil {
		t.Errorf("%+v", s.all[len(s.all)-1])
	}
}

// Port scans, garbage and old protocol versions cause at most one log line, which states the problem. The daemon continues.
func TestInvalidClients(t *testing.T) {
	s := serve(t, func() *recorder { return &recorder{} })
	for sent, want := range map[string]string{
		"GET / HTTP/1.0\r\n\r\n": "not a milter client",
		"\x00\x00\x00\x0dO\x00":  "incomplete",
		"\x00\x00\x00\x0dO\x00\x00\x00\x02\x00\x00\x01\xff\x00\x1f\xff\xff": "milter_protocol = 6",
		"\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x00\x01\x00\x1f\xff\xff": "milter actions",
		"\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x01\xff\x00\x00\x00\x7f": "milter events",
	} {
		m := s.dial()
		if _, err := m.Write([]byte(sent)); err != nil {
			t.Fatal(err)
		}
		_ = m.Conn.(*net.TCPConn).CloseWrite() // the server may have closed the connection already
		_, _ = io.Copy(io.Discard, m)
		s.logged(want)
	}
	silent := s.dial()
	silent.Close()
	m := s.dial()
	m.Connect()
	if got := m.Message("a@example.org"); got[0] != "c" {
		t.Errorf("%q", got)
	}
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	ln, err := Listen("unix", path, 0o660, "no-such-group")
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", fi, err)
	}
	if _, err := Listen("unix", path, 0o660, ""); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a socket in use: %v", err)
	}
	// kill -9 leaves the socket file, on which no process listens.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	if ln, err = Listen("unix", path, 0o600, ""); err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	ln.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix", path, 0o660, ""); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a file: %v", err)
	}
	if _, err := Listen("unix", filepath.Join(t.TempDir(), "none", "s.sock"), 0o660, ""); err == nil || !strings.Contains(err.Error(), "the directory does not exist") {
		t.Errorf("no directory: %v", err)
	}
}

// A Message gets each recipient without the ESMTP parameters that Postfix sends after the address.
func TestRecipients(t *testing.T) {
	r := &recorder{}
	s := session{ctx: t.Context(), conn: &conn{}, options: Options{Begin: func(context.Context, Session, Envelope) Message { return r }}}
	s.start(Envelope{Sender: "a@example.org"})
	for _, data := range []string{"<bob@example.net>\x00", "<carol@example.net>\x00NOTIFY=NEVER\x00"} {
		if _, err := s.event(eventRcpt, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"bob@example.net", "carol@example.net"}; !slices.Equal(r.to, want) {
		t.Errorf("%q, want %q", r.to, want)
	}
}
