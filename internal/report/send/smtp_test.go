package send

import (
	"errors"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signpost/internal/spool"
)

func spoolDir(t *testing.T) spool.Dir { return spool.Dir{Path: t.TempDir(), Limits: spool.Bounces()} }

// server is an SMTP server that accepts or refuses messages.
type server struct {
	ln net.Listener

	mu       sync.Mutex
	dsn      bool
	refuse   map[string]string // a command that begins with the key gets the value as its reply
	accepted func()            // called before the reply to a message; may be nil
	commands []string
	messages []string
}

func newServer(t *testing.T) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{ln: ln, dsn: true, refuse: map[string]string{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { ln.Close(); running.Wait() })
	return s
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	c := textproto.NewConn(conn)
	_ = c.PrintfLine("220 mx.b.test")
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.commands = append(s.commands, line)
		answer := "250 ok"
		for prefix, reply := range s.refuse {
			if strings.HasPrefix(line, prefix) {
				answer = reply
			}
		}
		if strings.HasPrefix(line, "EHLO") && s.dsn {
			answer = "250-mx.b.test\r\n250 DSN"
		}
		s.mu.Unlock()
		if line == "DATA" && answer == "250 ok" {
			_ = c.PrintfLine("354 go on")
			text, err := c.ReadDotBytes()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.messages = append(s.messages, string(text))
			if s.accepted != nil {
				s.accepted()
			}
			s.mu.Unlock()
		}
		_ = c.PrintfLine("%s", answer)
		if line == "QUIT" {
			return
		}
	}
}

func (s *server) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

func TestSend(t *testing.T) {
	for _, dsn := range []bool{true, false} {
		s := newServer(t)
		s.dsn = dsn
		c, err := Server{Addr: s.ln.Addr().String(), Name: "mx.b.test"}.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Send("r-abc@reports.b.test", "d@a.test", []byte("Subject: x\r\n\r\n.dot\r\n")); err != nil {
			t.Fatal(err)
		}
		c.Close()
		want := []string{"EHLO mx.b.test", "MAIL FROM:<r-abc@reports.b.test> RET=HDRS", "RCPT TO:<d@a.test> NOTIFY=FAILURE", "DATA", "QUIT"}
		if !dsn {
			want[1], want[2] = "MAIL FROM:<r-abc@reports.b.test>", "RCPT TO:<d@a.test>"
		}
		if got := s.heard(); !slices.Equal(got, want) || !slices.Equal(s.messages, []string{"Subject: x\n\n.dot\n"}) {
			t.Errorf("commands %q, messages %q", got, s.messages)
		}
	}
}

// A reply 5xx is final. After any other error, the report is sent again. The next message uses the same connection.
func TestRefused(t *testing.T) {
	for command, replies := range map[string][2]string{"MAIL": {"550 5.7.1 no", "451 4.3.0 later"}, "RCPT": {"550 5.1.1 unknown", "450 4.2.0 later"}, "DATA": {"554 5.7.1 no", "451 4.7.1 later"}} {
		for i, reply := range replies {
			s := newServer(t)
			s.refuse[command] = reply
			c, err := Server{Addr: s.ln.Addr().String(), Name: "mx.b.test"}.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = c.Send("r-abc@reports.b.test", "d@a.test", []byte("x\r\n"))
			var refused *RefusedError
			if final := errors.As(err, &refused); err == nil || final != (i == 0) {
				t.Errorf("%s %s: %v", command, reply, err)
			}
			s.mu.Lock()
			delete(s.refuse, command)
			s.mu.Unlock()
			if err := c.Send("r-abc@reports.b.test", "d@a.test", []byte("x\r\n")); err != nil {
				t.Errorf("%s: the next message: %v", command, err)
			}
			c.Close()
		}
	}
}

// A slow server has the time that RFC 5321 section 4.5.3.2 grants for each step. Otherwise it would get the same report again.
func TestSlowServer(t *testing.T) {
	for _, c := range []struct {
		step string
		most time.Duration
	}{{"greeting", 5 * time.Minute}, {"EHLO", 5 * time.Minute}, {"MAIL", 5 * time.Minute}, {"RCPT", 5 * time.Minute}, {"DATA", 2 * time.Minute}, {"block", 3 * time.Minute}, {"end", 10 * time.Minute}} {
		for delay, want := range map[time.Duration]bool{c.most - time.Second: true, c.most + time.Second: false} {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				var server sync.WaitGroup
				server.Go(func() { slow(theirs, c.step, delay) })
				connection, err := Server{Addr: "mx.b.test:25", Name: "mx.a.test"}.greet(ours)
				if err == nil {
					err = connection.Send("r-x@reports.a.test", "d@b.test", []byte(strings.Repeat("line\r\n", blockSize/6+1)))
					connection.Close()
				}
				if timeout := net.Error(nil); (err == nil) != want || err != nil && (!errors.As(err, &timeout) || !timeout.Timeout()) {
					t.Errorf("%s after %v: %v", c.step, delay, err)
				}
				theirs.Close()
				server.Wait()
			})
		}
	}
}

// slow accepts one message. It waits at one step.
func slow(conn net.Conn, step string, delay time.Duration) {
	c := textproto.NewConn(conn)
	pause := func(at string) {
		if at == step {
			time.Sleep(delay)
		}
	}
	pause("greeting")
	_ = c.PrintfLine("220 mx.b.test")
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		pause(line[:4])
		if line == "DATA" {
			_ = c.PrintfLine("354 go on")
			pause("block")
			if _, err := c.ReadDotBytes(); err != nil {
				return
			}
			pause("end")
		}
		_ = c.PrintfLine("250 ok")
	}
}
