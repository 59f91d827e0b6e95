package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/testmta"
)

// dial opens a raw session from an address, with or without a login.
func (w *world) dial(addr, xclient string) *testmta.Session {
	w.t.Helper()
	s, err := testmta.Dial(w.context(), addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.Close() })
	if _, err := s.Expect(220); err != nil {
		w.t.Fatal(err)
	}
	w.cmd(s, 250, "EHLO client.example")
	if xclient != "" {
		w.cmd(s, 220, "XCLIENT "+xclient)
		w.cmd(s, 250, "EHLO client.example")
	}
	return s
}

func (w *world) cmd(s *testmta.Session, code int, line string) {
	w.t.Helper()
	if _, err := s.Cmd(code, line); err != nil {
		w.t.Fatalf("%s: %v", line, err)
	}
}

// send sends a message in an open session and checks the reply code.
func (w *world) send(s *testmta.Session, code int, author string) {
	w.t.Helper()
	w.cmd(s, 250, "MAIL FROM:<ann@example.org>")
	w.cmd(s, 250, "RCPT TO:<bob@example.net>")
	if _, err := s.Data(code, []byte("From: "+author+"\r\nSubject: x\r\n\r\ntext\r\n")); err != nil {
		w.t.Fatalf("%s: %v", author, err)
	}
	w.arrived(code)
}

// arrived waits for the accepted messages. Their order may change, because Postfix delivers two at a time.
func (w *world) arrived(code int) {
	w.t.Helper()
	if code == 250 {
		w.accepted++
		w.mail(w.accepted)
	}
}

// A message that is rejected, aborted, or from another author does not affect the next message in its session.
func TestSeveralMessagesInASession(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.dial(w.SMTP, "ADDR=203.0.113.9 NAME=pc.stranger.example LOGIN=ann")
	w.send(s, 250, "ann@example.org")
	w.send(s, 550, "ann@example.org, eve@example.net")
	w.send(s, 250, "Ann <ann@example.org>")
	w.cmd(s, 250, "MAIL FROM:<eve@example.com>")
	w.cmd(s, 250, "RSET")
	w.send(s, 250, "ann@example.com")
	w.send(s, 250, "ann@example.org")
	for i, want := range []string{"example.org", "example.org", "", "example.org"} {
		mail := w.mail(i + 1)
		if want == "" {
			w.unsigned(mail)
		} else {
			w.signed(mail, want)
		}
	}
	// The address of the client is known for the last message too. Many milter libraries lose it.
	w.until("5 messages are logged with their client", func() bool {
		return strings.Count(w.daemon.log.String(), "client=203.0.113.9") == 5
	})
	if strings.Contains(w.daemon.log.String(), "client=unknown") || strings.Contains(w.daemon.log.String(), "client=127.0.0.1") {
		t.Error("a message lost its client")
	}
}

// A login ends with its session: a new XCLIENT replaces all attributes.
func TestLoginDoesNotStay(t *testing.T) {
	w := newWorld(t, setup{mta: testmta.Options{MainCF: map[string]string{"smtpd_authorized_xclient_hosts": "127.0.0.1, 203.0.113.0/24"}}})
	s := w.dial(w.SMTP, "ADDR=203.0.113.9 NAME=pc.stranger.example LOGIN=ann")
	w.send(s, 250, "ann@example.org")
	w.cmd(s, 220, "XCLIENT ADDR=203.0.113.10 NAME=[UNAVAILABLE] LOGIN=[UNAVAILABLE]")
	w.cmd(s, 250, "EHLO client.example")
	w.send(s, 250, "ann@example.org")
	w.signed(w.mail(1), "example.org")
	w.unsigned(w.mail(2))
	w.logged("role=verify", "client=203.0.113.10")
}

// Unusual bodies and headers are signed, and the signature verifies after delivery.
func TestOddMessages(t *testing.T) {
	w := newWorld(t, setup{keys: "example.org --algorithm rsa,ed25519 --unsafe-activate"})
	s := w.dial(w.SMTP, "")
	header := "From: ann@example.org\r\nSubject:nospace\r\nX-Two:  two\r\nTo: bob@example.net,\r\n\t\tcarl@example.net\r\n"
	bodies := []string{"", "text", "text\r\n\r\n\r\n\r\n", "\r\n\r\ntext\r\n", " \t \r\n \r\n", "Gr\xfc\xdfe\r\n", strings.Repeat("long ", 300) + "\r\n", ".dot\r\n..dots\r\n"}
	for i, body := range bodies {
		w.cmd(s, 250, "MAIL FROM:<ann@example.org>")
		w.cmd(s, 250, "RCPT TO:<bob@example.net>")
		if _, err := s.Data(250, []byte(header+"\r\n"+body)); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		mail := w.mail(i + 1)
		if got := w.signatures(mail); len(got) != 2 {
			t.Errorf("%q: %d signatures", body, len(got))
		}
		if !strings.Contains(mail, "\nX-Two:  two\n") || !strings.Contains(mail, "\nSubject:nospace\n") {
			t.Errorf("the header was changed:\n%s", head(mail))
		}
		// The RSA signature is the topmost field, because some receivers check only the first signature.
		if sigs := field(mail, "DKIM-Signature"); len(sigs) != 2 || !strings.Contains(sigs[0], "a=rsa-sha256") || !strings.Contains(sigs[1], "a=ed25519-sha256") {
			t.Errorf("order: %q", sigs)
		}
		for line := range strings.Lines(head(mail)) {
			if len(line) > 79 {
				t.Errorf("a folded line of %d bytes: %s", len(line), line)
			}
		}
	}
}

func TestBDAT(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.dial(w.SMTP, "")
	w.cmd(s, 250, "MAIL FROM:<ann@example.org> BODY=8BITMIME")
	w.cmd(s, 250, "RCPT TO:<bob@example.net>")
	msg := "From: ann@example.org\r\nSubject: chunks\r\n\r\nfirst\r\nsec"
	if err := s.Write([]byte(fmt.Sprintf("BDAT %d\r\n%s", len(msg), msg))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expect(250); err != nil {
		t.Fatal(err)
	}
	if err := s.Write([]byte("BDAT 5 LAST\r\nond\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expect(250); err != nil {
		t.Fatal(err)
	}
	w.signed(w.mail(1), "example.org")
}

func TestTenMegabytes(t *testing.T) {
	w := newWorld(t, setup{})
	file := filepath.Join(w.dir, "big.eml")
	if err := os.WriteFile(file, []byte("From: ann@example.org\r\nSubject: big\r\n\r\n"+strings.Repeat(strings.Repeat("x", 70)+" \r\n", 10<<20/73)), 0o644); err != nil {
		t.Fatal(err)
	}
	out := w.swaks(w.SMTP, "--from", "ann@example.org", "--data", "@"+file)
	if !strings.Contains(out, "250 2.0.0") {
		t.Fatal(tail(out))
	}
	w.signed(w.mail(1), "example.org")
}

// A message whose header exceeds the bounds is rejected, never truncated and signed.
func TestHugeHeader(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.dial(w.SMTP, "")
	w.cmd(s, 250, "MAIL FROM:<ann@example.org>")
	w.cmd(s, 250, "RCPT TO:<bob@example.net>")
	if _, err := s.Data(552, []byte("From: ann@example.org\r\n"+strings.Repeat("X-Filler: y\r\n", 1100)+"\r\ntext\r\n")); err != nil {
		t.Fatal(err)
	}
	w.logged("action=reject code=header_too_large", "reply=\"552 5.3.4\"")
	w.send(s, 250, "ann@example.org")
	w.signed(w.mail(1), "example.org")
}

// In observe mode, Signpost does not sign or reject messages, and does not delete fields. It logs the action that it would have taken.
func TestObserve(t *testing.T) {
	w := newWorld(t, setup{config: "mode = \"observe\""})
	w.swaks(w.SMTP, append(letter("ann@example.org"), "--add-header", "Authentication-Results: mx.example.org; dmarc=pass", "--xclient", "ADDR=203.0.113.9 LOGIN=ann")...)
	mail := w.mail(1)
	w.unsigned(mail)
	if len(field(mail, "Authentication-Results")) != 1 {
		t.Error("something was deleted")
	}
	w.logged("action=accept would=sign")
	w.swaks(w.SMTP, append(letter("ann@example.org"), "--add-header", "From: eve@example.org")...)
	w.mail(2)
	w.logged("action=accept would=reject code=hostile_from")
}
