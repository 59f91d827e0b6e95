package testmta

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func launched(t *testing.T, o Options) *MTA {
	if testing.Short() {
		t.Skip("starts Postfix")
	}
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("Postfix's master needs root")
	}
	began := time.Now()
	m, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %v", time.Since(began))
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func waitMail(t *testing.T, m *MTA, n int) []string {
	t.Helper()
	mails, err := m.WaitMail(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return mails
}

func swaks(t *testing.T, args ...string) string {
	t.Helper()
	out, err := Swaks(t.Context(), args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// cmds sends lines. Each begins with the code of the expected reply: "250 MAIL FROM:<...>".
func cmds(t *testing.T, s *Session, lines ...string) {
	t.Helper()
	for _, line := range lines {
		var code int
		if _, err := fmt.Sscan(line[:3], &code); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Cmd(code, line[4:]); err != nil {
			t.Fatal(err)
		}
	}
}

func dialed(t *testing.T, addr string) *Session {
	t.Helper()
	s, err := Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Expect(220); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSMTP(t *testing.T) {
	t.Parallel()
	m := launched(t, Options{Domains: []string{"example.org"}})
	swaks(t, "--server", m.SMTP, "--xclient", "ADDR=192.0.2.10 NAME=mail.sender.example", "--helo", "mail.sender.example",
		"--from", "a@sender.example", "--to", "b@example.org", "--data", "Subject: one\\nX-Odd:no space\\n\\nFrom here\\n>From there\\n\\n\\n")
	mail := waitMail(t, m, 1)[0]
	for _, want := range []string{"Return-Path: <a@sender.example>\n", "(mail.sender.example [192.0.2.10])", "\nX-Odd:no space\n"} {
		if !strings.Contains(mail, want) {
			t.Errorf("mail lacks %q:\n%s", want, mail)
		}
	}
	// swaks adds a line end to its data.
	if !strings.HasSuffix(mail, "\n\nFrom here\n>From there\n\n\n\n") {
		t.Errorf("the body has changed: %q", mail)
	}
}

func TestRelay(t *testing.T) {
	t.Parallel()
	m := launched(t, Options{Domains: []string{"example.org"}})
	out, err := Swaks(t.Context(), "--server", m.SMTP, "--xclient", "ADDR=192.0.2.10 NAME=[UNAVAILABLE]", "--helo", "x.example",
		"--from", "a@sender.example", "--to", "b@foreign.example")
	if err == nil || !strings.Contains(out, "554 5.7.1 <b@foreign.example>: Relay access denied") {
		t.Errorf("an unauthenticated client could relay: %v\n%s", err, out)
	}
	swaks(t, "--server", m.SMTP, "--xclient", "ADDR=192.0.2.10 NAME=x.example LOGIN=ann@example.org", "--helo", "x.example",
		"--from", "ann@example.org", "--to", "b@foreign.example")
	swaks(t, "--server", m.Submission, "--auth", "PLAIN", "--auth-user", "eve@example.org", "--auth-password", "any",
		"--xclient", "ADDR=192.0.2.10 NAME=x.example", "--helo", "x.example", "--from", "eve@example.org", "--to", "b@foreign.example")
	for _, mail := range waitMail(t, m, 2) {
		if !strings.Contains(mail, "5.4.4") || !strings.Contains(mail, "Return-Path: <>\n") {
			t.Errorf("not the expected bounce:\n%s", mail)
		}
	}
}

func TestUnknownMailboxBounces(t *testing.T) {
	t.Parallel()
	m := launched(t, Options{Domains: []string{"example.org"}, Unknown: []string{"nobody@example.org"}})
	swaks(t, "--server", m.SMTP, "--xclient", "ADDR=192.0.2.10 NAME=x.example", "--helo", "x.example",
		"--from", "ann@example.org", "--to", "nobody@example.org")
	mail := waitMail(t, m, 1)[0]
	if !strings.Contains(mail, "5.1.1") || !strings.Contains(mail, "Return-Path: <>\n") || !strings.Contains(mail, "X-Original-To: ann@example.org\n") {
		t.Errorf("not the expected bounce:\n%s", mail)
	}
}

func TestSendmail(t *testing.T) {
	t.Parallel()
	m := launched(t, Options{Domains: []string{"example.org"}})
	for _, from := range []string{"ann@example.org", ""} {
		if err := m.Sendmail(t.Context(), from, []string{"b@example.org"}, []byte("Subject: local\n\n.\nhello\n")); err != nil {
			t.Fatal(err)
		}
	}
	for _, mail := range waitMail(t, m, 2) {
		if !strings.Contains(mail, "Subject: local\n") || !strings.HasSuffix(mail, "\n\n.\nhello\n") {
			t.Error(mail)
		}
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	m := launched(t, Options{Domains: []string{"example.org"}})
	s := dialed(t, m.SMTP)
	cmds(t, s, "250 EHLO x.example", "250 MAIL FROM:<a@x.example>", "250 RCPT TO:<b@example.org>")
	if _, err := s.Data(250, []byte("Subject: data\r\n\r\n.dot\r\n")); err != nil {
		t.Fatal(err)
	}
	cmds(t, s, "250 MAIL FROM:<a@x.example>", "250 RCPT TO:<b@example.org>")
	chunk := "Subject: bdat\r\n\r\nbody\r\n"
	if err := s.Write(fmt.Appendf(nil, "BDAT %d LAST\r\n%s", len(chunk), chunk)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expect(250); err != nil {
		t.Fatal(err)
	}
	cmds(t, s, "220 XCLIENT ADDR=IPV6:2001:db8::1 NAME=[UNAVAILABLE]", "250 EHLO y.example", "250 MAIL FROM:<ü@x.example> SMTPUTF8")
	cmds(t, s, "221 QUIT")
	all := strings.Join(waitMail(t, m, 2), "")
	for _, want := range []string{"\nSubject: data\n", "\n\n.dot\n", "\nSubject: bdat\n", "\n\nbody\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("mail lacks %q:\n%s", want, all)
		}
	}
}

// An unreachable milter causes a temporary failure, but only in the services that use it.
func TestMilters(t *testing.T) {
	t.Parallel()
	m := launched(t, Options{Domains: []string{"example.org"}, Milters: "unix:" + t.TempDir() + "/none.sock"})
	for _, addr := range []string{m.SMTP, m.Submission, m.Reinject} {
		out, err := Swaks(t.Context(), "--server", addr, "--from", "a@x.example", "--to", "b@example.org")
		if err == nil || !strings.Contains(out, " 451 4.7.1 Service unavailable") {
			t.Errorf("without a milter: %v\n%s", err, out)
		}
	}
	if err := m.Sendmail(t.Context(), "a@x.example", []string{"b@example.org"}, []byte("Subject: none\n\n")); err != nil {
		t.Fatal(err)
	}
	waitMail(t, m, 1)
	if err := m.WaitLog(t.Context(), "none.sock"); err != nil {
		t.Error(err)
	}
}

// The Postfix commands show, change and release held mail.
func TestRun(t *testing.T) {
	t.Parallel()
	m := launched(t, Options{Domains: []string{"example.org"}, MainCF: map[string]string{
		"smtpd_recipient_restrictions": "check_recipient_access static:{HOLD for a test}"}})
	swaks(t, "--server", m.SMTP, "--from", "a@x.example", "--to", "b@example.org")
	list, err := m.Run(t.Context(), "postqueue", "-j")
	if err != nil || !strings.Contains(list, `"queue_name": "hold"`) {
		t.Fatal(list, err)
	}
	if out, err := m.Run(t.Context(), "postsuper", "-H", "ALL"); err != nil {
		t.Fatal(out, err)
	}
	if out, err := m.Run(t.Context(), "postqueue", "-f"); err != nil {
		t.Fatal(out, err)
	}
	waitMail(t, m, 1)
	if out, err := m.Run(t.Context(), "postfix", "reload"); err != nil {
		t.Fatal(out, err)
	}
	if err := m.WaitLog(t.Context(), "reload -- version"); err != nil {
		t.Error(err)
	}
	if out, err := m.Run(t.Context(), "postcat", "-q", "0"); err == nil {
		t.Errorf("no such queue file, but: %s", out)
	}
}

func TestWaitMailSaysWhy(t *testing.T) {
	t.Parallel()
	m := launched(t, Options{Domains: []string{"example.org"}})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := m.WaitMail(ctx, 1)
	if err == nil || !strings.Contains(err.Error(), "1 messages, 0 came") || !strings.Contains(err.Error(), "daemon started") ||
		!strings.Contains(err.Error(), "Mail queue is empty") {
		t.Error(err)
	}
}

// Several instances can run at the same time. After Stop, no process runs, no port is open, and a directory of the caller is kept.
func TestManyAndStop(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for range 3 {
		// t.TempDir has a parent that user postfix cannot traverse.
		parent, err := os.MkdirTemp("", "testmta-given")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(parent) })
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(parent, "mta")
		m := launched(t, Options{Domains: []string{"example.org"}, Dir: dir})
		all.Go(func() {
			swaks(t, "--server", m.SMTP, "--from", "a@x.example", "--to", "b@example.org")
			waitMail(t, m, 1)
			if err := m.Stop(); err != nil {
				t.Error(err)
			}
			if err := syscall.Kill(-m.master.Pid, 0); err != syscall.ESRCH {
				t.Errorf("a process is left: %v", err)
			}
			if c, err := net.Dial("tcp", m.SMTP); err == nil {
				_ = c.Close()
				t.Error("still listening")
			}
			if _, err := os.Stat(dir); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// If Postfix cannot start, Start returns an error without waiting for a timeout.
func TestStartFails(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts Postfix")
	}
	if os.Geteuid() != 0 {
		t.Skip("Postfix's master needs root")
	}
	_, err := Start(t.Context(), Options{MainCF: map[string]string{"mail_owner": "no-such-user"}})
	if err == nil || !strings.Contains(err.Error(), "Postfix has ended") {
		t.Error(err)
	}
}

func TestBigMail(t *testing.T) {
	t.Parallel()
	m := launched(t, Options{Domains: []string{"example.org"}})
	body := bytes.Repeat([]byte(strings.Repeat("x", 5000)+"\r\n"), 4000)
	s := dialed(t, m.SMTP)
	cmds(t, s, "250 EHLO x.example", "250 MAIL FROM:<a@x.example>", "250 RCPT TO:<b@example.org>")
	if _, err := s.Data(250, append([]byte("Subject: big\r\n\r\n"), body...)); err != nil {
		t.Fatal(err)
	}
	if mail := waitMail(t, m, 1)[0]; !strings.HasSuffix(mail, "\n\n"+strings.ReplaceAll(string(body), "\r\n", "\n")) {
		t.Errorf("the body has changed, it has %d bytes", len(mail))
	}
}
