package testmta

import (
	"context"
	"fmt"
	"net"
	"net/textproto"
	"os/exec"
)

// Swaks runs swaks(1) with args, which name the server, and returns its transcript. An error says that swaks was not
// content, which includes any refusal; the transcript is there all the same.
func Swaks(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "swaks", args...)
	cmd.Env = cleanEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("running swaks: %w", err)
	}
	return string(out), nil
}

// Session is a raw SMTP conversation: several messages, BDAT, XCLIENT, pipelining, mistakes.
type Session struct {
	text *textproto.Conn
}

// Dial connects to addr; the greeting is still to be read, with Expect(220). The session's deadline is that of ctx.
func Dial(ctx context.Context, addr string) (*Session, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if limit, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(limit); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return &Session{textproto.NewConn(conn)}, nil
}

// Send writes one line and its CRLF.
func (s *Session) Send(line string) error { return s.Write([]byte(line + "\r\n")) }

// Write writes bytes as they are, a BDAT chunk for example.
func (s *Session) Write(b []byte) error {
	if _, err := s.text.W.Write(b); err != nil {
		return err
	}
	return s.text.W.Flush()
}

// Expect reads one reply and returns its text without the codes, its lines joined by LF. With another code than the one
// wanted the error is a *textproto.Error. As in net/textproto, one or two digits stand for all codes that begin so.
func (s *Session) Expect(code int) (string, error) {
	_, text, err := s.text.ReadResponse(code)
	return text, err
}

// Cmd is Send, then Expect.
func (s *Session) Cmd(code int, line string) (string, error) {
	if err := s.Send(line); err != nil {
		return "", err
	}
	text, err := s.Expect(code)
	if err != nil {
		return text, fmt.Errorf("after %q: %w", line, err)
	}
	return text, nil
}

// Data sends DATA and msg, dot-stuffed and its bare LF made CRLF, and expects code for the whole message.
func (s *Session) Data(code int, msg []byte) (string, error) {
	if _, err := s.Cmd(354, "DATA"); err != nil {
		return "", err
	}
	w := s.text.DotWriter()
	if _, err := w.Write(msg); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return s.Expect(code)
}

// Close hangs up; a polite end is Cmd(221, "QUIT") before.
func (s *Session) Close() error { return s.text.Close() }
