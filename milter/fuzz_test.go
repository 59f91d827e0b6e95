package milter

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/testmilter"
)

// heard has the events of the messages of a server, in order. The pieces of a body are joined.
type heard struct {
	mu  sync.Mutex
	all strings.Builder
}

func (h *heard) note(format string, args ...any) {
	h.mu.Lock()
	fmt.Fprintf(&h.all, format, args...)
	h.mu.Unlock()
}

func (h *heard) Header(name, value string) { h.note("\nheader %q %q ", name, value) }
func (h *heard) Recipient(p []byte)        { h.note("\nrcpt %q ", p) }
func (h *heard) EndHeaders(id string)      { h.note("\neoh %q ", id) }
func (h *heard) Body(p []byte)             { h.note("%x", p) }
func (h *heard) Finish(context.Context) (Edits, Reply) {
	h.note("\nfinish ")
	return Edits{Insert: someFields}, Reply{}
}

// FuzzPieces checks that the events and the answers do not depend on how the bytes of a connection are split, whatever the bytes are. No
// event panics.
func FuzzPieces(f *testing.F) {
	var h heard
	var log strings.Builder
	path := filepath.Join(f.TempDir(), "s")
	ln, err := Listen("unix", path, 0o600, "")
	if err != nil {
		f.Fatal(err)
	}
	server := NewServer(Options{
		Begin: func(_ context.Context, s Session, e Envelope) Message {
			h.note("\nbegin %+v %+v", s, e)
			return &h
		},
		Broken: func(s Session, e Envelope) Reply {
			h.note("\nbroken %+v %+v", s, e)
			return Reply{451, "4.3.0", "broken"}
		},
		Panicked: func() { h.note("panic") },
		Log:      slog.New(slog.NewTextHandler(&lockedWriter{w: &log, mu: &h.mu}, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Serve(ctx, ln) }()
	f.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.Error(err)
		}
	})
	var message []byte
	for _, p := range []string{"DC{client_addr}\x00192.0.2.1\x00j\x00mx.example\x00", "Cc.example\x004\x00\x19192.0.2.10\x00", "Hhelo\x00", "DM{auth_authen}\x00ann\x00", "M<a@example.org>\x00",
		"R<b@example.net>\x00", "LFrom\x00 a@example.org\x00", "LX\x00\x00", "N", "Bone\r\n", "DE" + "i\x00Q\x00", "Etwo\r\n", "A", "Q"} {
		message = append(message, testmilter.Packet(p[0], p[1:])...)
	}
	f.Add(message, uint16(1))
	f.Add(message[:len(message)-30], uint16(700))
	f.Add([]byte("\x00\x0f\xff\xffB"+strings.Repeat("x", 9000)), uint16(4097))
	f.Fuzz(func(t *testing.T, data []byte, step uint16) {
		talk := func(step int) string {
			h.mu.Lock()
			h.all.Reset()
			h.mu.Unlock()
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			wire := append(testmilter.Packet('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff"), data...)
			for rest := wire; len(rest) > 0; {
				n := min(step, len(rest))
				if _, err := c.Write(rest[:n]); err != nil {
					break // the server has closed the connection
				}
				rest = rest[n:]
			}
			_ = c.(*net.UnixConn).CloseWrite() // the same
			answers, err := io.ReadAll(c)
			if err != nil && !strings.Contains(err.Error(), "reset") {
				t.Fatal("the server neither answers nor closes the connection:", err)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			return fmt.Sprintf("%s\nanswers %q", &h.all, answers)
		}
		whole, pieces := talk(1<<20), talk(1+int(step))
		if whole != pieces {
			t.Errorf("at once:%s\nin steps of %d bytes:%s", whole, 1+int(step), pieces)
		}
		if strings.Contains(whole, "panic") {
			t.Error(whole)
		}
	})
}
