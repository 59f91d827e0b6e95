package testmta

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// logTailBytes is the number of bytes of the log that an error contains.
const logTailBytes = 4096

// Mailbox returns the messages delivered so far, oldest first, one for each recipient. They are unchanged except for LF line ends and
// the Return-Path, X-Original-To and Delivered-To that virtual(8) adds on top.
func (m *MTA) Mailbox() ([]string, error) {
	dir := filepath.Join(m.Dir, "mail", "box", "new")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing delivered yet
	}
	if err != nil {
		return nil, err
	}
	type mail struct {
		info fs.FileInfo
		text string
	}
	mails := make([]mail, len(entries))
	for i, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		mails[i] = mail{info, string(text)}
	}
	slices.SortFunc(mails, func(a, b mail) int {
		return cmp.Or(a.info.ModTime().Compare(b.info.ModTime()), strings.Compare(a.info.Name(), b.info.Name()))
	})
	texts := make([]string, len(mails))
	for i := range mails {
		texts[i] = mails[i].text
	}
	return texts, nil
}

// WaitMail waits until at least n messages have been delivered. If ctx ends first, the error contains the log and the queue.
func (m *MTA) WaitMail(ctx context.Context, n int) ([]string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for {
		mails, err := m.Mailbox()
		if err != nil || len(mails) >= n {
			return mails, err
		}
		if err := m.pause(ctx, fmt.Sprintf("%d messages, %d came", n, len(mails))); err != nil {
			queue, queueErr := m.Run(context.WithoutCancel(ctx), "postqueue", "-p")
			return mails, fmt.Errorf("%w%s\npostqueue -p (%v):\n%s", err, m.logTail(), queueErr, queue)
		}
	}
}

// Log returns the mail log so far, or nothing if there is none yet.
func (m *MTA) Log() string {
	text, err := os.ReadFile(m.logFile())
	if err != nil {
		return ""
	}
	return string(text)
}

// WaitLog waits until the mail log contains substr.
func (m *MTA) WaitLog(ctx context.Context, substr string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for !strings.Contains(m.Log(), substr) {
		if err := m.pause(ctx, fmt.Sprintf("%q in the mail log", substr)); err != nil {
			return fmt.Errorf("%w%s", err, m.logTail())
		}
	}
	return nil
}

func (m *MTA) logFile() string { return filepath.Join(m.Dir, "mail.log") }

func (m *MTA) logTail() string {
	log := m.Log()
	complaints, _ := os.ReadFile(m.complaints()) // the file does not exist if master(8) did not run
	return string(complaints) + "\nmail log:\n" + log[max(0, len(log)-logTailBytes):]
}

// Sendmail submits msg as a local user does, by sendmail(1); an empty from is the null sender.
func (m *MTA) Sendmail(ctx context.Context, from string, rcpts []string, msg []byte) error {
	if from == "" {
		from = "<>"
	}
	args := append([]string{"-C", m.etc(), "-i", "-f", from, "--"}, rcpts...)
	_, err := m.command(ctx, msg, "sendmail", args...)
	return err
}

// Run runs one of Postfix's commands (postqueue, postsuper, postconf, postcat, postfix) on this Postfix and returns the output.
func (m *MTA) Run(ctx context.Context, name string, args ...string) (string, error) {
	return m.command(ctx, nil, name, append([]string{"-c", m.etc()}, args...)...)
}

func (m *MTA) command(ctx context.Context, stdin []byte, name string, args ...string) (string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = cleanEnv()
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("running %s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// cleanEnv returns an environment without the caller's settings (MAIL_CONFIG, SWAKS_OPT_...).
func cleanEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
}

// Swaks runs swaks(1) with args, which must name the server. It returns the transcript, even if it also returns an error. Any reply that
// swaks does not expect is an error.
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

// Session is a raw SMTP session, for several messages, BDAT, XCLIENT, pipelining and protocol errors.
type Session struct {
	text *textproto.Conn
}

// Dial connects to addr. The caller reads the greeting with Expect(220). The session has the deadline of ctx.
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

// Write writes bytes unchanged, for example a BDAT chunk.
func (s *Session) Write(b []byte) error {
	if _, err := s.text.W.Write(b); err != nil {
		return err
	}
	return s.text.W.Flush()
}

// Expect reads one reply. It returns the reply's text without the codes, with LF between lines. If the reply has another code, the error is
// a *textproto.Error. As in net/textproto, one or two digits match all codes that begin with them.
func (s *Session) Expect(code int) (string, error) {
	_, text, err := s.text.ReadResponse(code)
	return text, err
}

// Cmd calls Send, then Expect.
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

// Data sends DATA and msg, dot-stuffed and with CRLF line ends, and expects code for the whole message.
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

// Close closes the connection. To end the session regularly, call Cmd(221, "QUIT") first.
func (s *Session) Close() error { return s.text.Close() }
