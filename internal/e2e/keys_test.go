package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/testdkim"
)

func (w *world) keysDir() string { return filepath.Join(w.dir, "state", "keys") }

func (w *world) removePEMs() {
	w.t.Helper()
	pems, err := filepath.Glob(filepath.Join(w.keysDir(), "*", "*.pem"))
	if err != nil || len(pems) == 0 {
		w.t.Fatal(pems, err)
	}
	for _, p := range pems {
		if err := os.Remove(p); err != nil {
			w.t.Fatal(err)
		}
	}
	w.logged("no usable key for a hosted domain", "example.org")
}

// If the key of a hosted domain is missing, its mail is deferred and the log states the reason. The mail is sent when there is a new key.
func TestKeyGone(t *testing.T) {
	w := newWorld(t, setup{})
	w.removePEMs()
	w.refused(w.swaks(w.SMTP, letter("ann@example.org")...), "451 4.3.5")
	w.logged("action=tempfail code=no_usable_key", "reply=\"451 4.3.5\"")
	w.swaks(w.SMTP, letter("ann@example.com")...)
	w.unsigned(w.mail(1))
	// sendmail(1) adds a message to the queue, where it is deferred until there is a key.
	if err := w.Sendmail(w.context(), "ann@example.org", []string{"bob@example.net"}, []byte("From: ann@example.org\nSubject: waits\n\ntext\n")); err != nil {
		t.Fatal(err)
	}
	w.logged("action=tempfail code=no_usable_key", "smtp=false")
	w.dkimkey("add", "example.org", "--unsafe-activate")
	w.logged("its record was never found in DNS", "example.org")
	if _, err := w.Run(w.context(), "postfix", "flush"); err != nil {
		t.Fatal(err)
	}
	w.until("the waiting mail arrives signed", func() bool {
		// pickup(8) checks once a minute unless it is notified.
		_, _ = w.Run(w.context(), "postqueue", "-f")
		all, err := w.Mailbox()
		return err == nil && len(all) == 2
	})
	w.signed(w.mail(2), "example.org")
}

func TestKeyGoneHold(t *testing.T) {
	w := newWorld(t, setup{config: "[sign]\non_missing_key = \"hold\""})
	w.removePEMs()
	if out := w.swaks(w.SMTP, letter("ann@example.org")...); !strings.Contains(out, "250 2.0.0") {
		t.Fatal(out)
	}
	w.until("the mail is held", func() bool {
		out, err := w.Run(w.context(), "postqueue", "-p")
		return err == nil && strings.Contains(out, "!")
	})
	w.logged("action=hold code=no_usable_key")
}

func TestKeyGoneAccept(t *testing.T) {
	w := newWorld(t, setup{config: "[sign]\non_missing_key = \"accept\""})
	w.removePEMs()
	w.swaks(w.SMTP, letter("ann@example.org")...)
	w.unsigned(w.mail(1))
	w.logged("action=accept code=no_usable_key")
}

// Bounces are neither rejected nor deferred if the key is missing, because no client would retry.
func TestKeyGoneBounce(t *testing.T) {
	s := setup{}
	s.mta.Unknown = []string{"nobody@example.net"}
	s.mta.MainCF = map[string]string{"internal_mail_filter_classes": "bounce"}
	w := newWorld(t, s)
	w.removePEMs()
	// The Author Domain is not hosted, so that only the bounce needs the missing key.
	w.swaks(w.SMTP, "--from", "ann@example.org", "--h-From", "ann@example.com", "--to", "nobody@example.net")
	if mail := w.mail(1); !strings.Contains(field(mail, "From")[0], "MAILER-DAEMON") {
		t.Errorf("no bounce:\n%s", head(mail))
	}
	w.logged("action=accept code=no_usable_key", "mail_from=\"\"", "smtp=false")
}

// If the keys directory disappears, a running daemon continues to sign, but a new daemon does not start.
func TestKeysDirectoryGone(t *testing.T) {
	w := newWorld(t, setup{})
	if err := os.Rename(w.keysDir(), w.keysDir()+".away"); err != nil {
		t.Fatal(err)
	}
	w.logged("keys not reloaded", "does not exist")
	w.swaks(w.SMTP, letter("ann@example.org")...)
	if err := os.Rename(w.keysDir()+".away", w.keysDir()); err != nil {
		t.Fatal(err)
	}
	w.signed(w.mail(1), "example.org")
	w.stop()
	if err := os.Rename(w.keysDir(), w.keysDir()+".away"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(programs, "signpost"), "serve", "-c", w.config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "does not exist") {
		t.Errorf("started without its keys: %v\n%s", err, out)
	}
	w.refused(w.swaks(w.SMTP, letter("ann@example.org")...), "451 4.7.1")
	if err := os.Rename(w.keysDir()+".away", w.keysDir()); err != nil {
		t.Fatal(err)
	}
	w.start("signpost")
}

// A new key of dkimkey does not sign until it is active. From then on, the running daemon signs with this key.
func TestNewKey(t *testing.T) {
	w := newWorld(t, setup{keys: "none"})
	w.swaks(w.SMTP, letter("ann@example.org")...)
	w.unsigned(w.mail(1))
	w.dkimkey("add", "example.org")
	w.logged("key read", "state=generated")
	w.swaks(w.SMTP, letter("ann@example.org")...)
	w.unsigned(w.mail(2))
	w.dkimkey("add", "example.org", "--unsafe-activate")
	w.logged("its record was never found in DNS")
	w.swaks(w.SMTP, letter("ann@example.org")...)
	w.signed(w.mail(3), "example.org")
	if err := w.daemon.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	w.logged("SIGHUP")
	w.swaks(w.SMTP, letter("ann@example.org")...)
	w.signed(w.mail(4), "example.org")
}

// A key file that the operator installs signs as soon as its record is in DNS, and not before. In this test, the file is a systemd
// credential. It has the mode and owner that a service sees: 0440, with another group.
func TestHandPlacedCredential(t *testing.T) {
	credentials := t.TempDir()
	w := newWorld(t, setup{keys: "none", env: []string{"CREDENTIALS_DIRECTORY=" + credentials}})
	if err := exec.Command("openssl", "genpkey", "-algorithm", "ed25519", "-out", filepath.Join(credentials, "example.org-hand")).Run(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(credentials, "example.org-hand"), 0, 12345); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(credentials, "example.org-hand"), 0o440); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(w.keysDir(), "example.org"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(credentials, "example.org-hand"), filepath.Join(w.keysDir(), "example.org", "hand.pem")); err != nil {
		t.Fatal(err)
	}
	w.logged("unmanaged key does not sign until its record is visible", "selector=hand")
	w.swaks(w.SMTP, letter("ann@example.org")...)
	w.unsigned(w.mail(1))
	public, err := exec.Command("openssl", "pkey", "-in", filepath.Join(credentials, "example.org-hand"), "-pubout", "-outform", "DER").Output()
	if err != nil {
		t.Fatal(err)
	}
	record := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public[len(public)-32:])
	if err := w.dns.SetZone(fmt.Sprintf("example.org. SOA ns1 hostmaster 1 3600 600 86400 60\nexample.org. NS ns1.example.org.\nns1.example.org. A 127.0.0.1\nhand._domainkey.example.org. TXT %q\n", record)); err != nil {
		t.Fatal(err)
	}
	w.stop() // the next check is in a minute
	w.start("signpost")
	w.logged("unmanaged key signs, its record is visible", "selector=hand")
	w.swaks(w.SMTP, letter("ann@example.org")...)
	mail := w.mail(2)
	if got := verify(mail, func(string) string { return record }); len(got) != 1 || got[0].Status != dkim.Pass || got[0].Selector != "hand" {
		t.Errorf("%+v\n%s", got, head(mail))
	}
}

// After kill -9 in the middle of a message, Postfix answers 4xx, the client retries, and no message is sent unsigned.
func TestKilled(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.dial(w.SMTP, "")
	w.cmd(s, 250, "MAIL FROM:<ann@example.org>")
	w.cmd(s, 250, "RCPT TO:<bob@example.net>")
	w.cmd(s, 354, "DATA")
	if err := s.Write([]byte("From: ann@example.org\r\nSubject: x\r\n\r\nhalf")); err != nil {
		t.Fatal(err)
	}
	if err := w.daemon.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-w.daemon.done
	if err := s.Write([]byte(" a message\r\n.\r\n")); err != nil {
		t.Fatal(err)
	}
	if text, err := s.Expect(451); err != nil {
		t.Fatal(text, err)
	}
	// The socket file of the killed daemon still exists; the new daemon replaces it.
	if _, err := os.Stat(filepath.Join(w.dir, "milter.sock")); err != nil {
		t.Fatal(err)
	}
	w.start("signpost")
	w.swaks(w.SMTP, letter("ann@example.org")...)
	w.signed(w.mail(1), "example.org")
	if all, err := w.Mailbox(); err != nil || len(all) != 1 {
		t.Errorf("%d messages, %v", len(all), err)
	}
}

// After SIGTERM, the current message is completed and signed.
func TestDrain(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.dial(w.SMTP, "")
	w.cmd(s, 250, "MAIL FROM:<ann@example.org>")
	w.cmd(s, 250, "RCPT TO:<bob@example.net>")
	w.cmd(s, 354, "DATA")
	if err := w.daemon.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.logged("messages in progress are completed first")
	if err := s.Write([]byte("From: ann@example.org\r\nSubject: x\r\n\r\ntext\r\n.\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expect(250); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.daemon.done:
	case <-time.After(20 * time.Second):
		t.Error("the daemon did not end after the message")
	}
	w.signed(w.mail(1), "example.org")
}

// While keys change, each message is signed once by a key whose record exists, and opendkim verifies it.
func TestKeysChangeUnderMail(t *testing.T) {
	w := newWorld(t, setup{})
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for n := range 3 {
			// The daemon checks once a second. The test makes the next change when the daemon has seen this one.
			deadline := time.Now().Add(30 * time.Second)
			for strings.Count(w.daemon.log.String(), "msg=\"key signs") <= n {
				if time.Now().After(deadline) {
					t.Error("the daemon does not see a new key")
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			out, err := exec.Command(filepath.Join(programs, "plain", "dkimkey"), "-c", w.config, "add", "example.org", "--unsafe-activate").CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}()
	s := w.dial(w.SMTP, "")
	sent := 0
	for done := false; !done; {
		select {
		case <-changed:
			done = true // and send one more message
		default:
		}
		w.send(s, 250, "ann@example.org")
		sent++
	}
	all, err := w.Mailbox()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != sent {
		t.Errorf("%d of %d arrived", len(all), sent)
	}
	selectors := map[string]bool{}
	records := w.records()
	for _, mail := range all {
		w.signed(mail, "example.org")
		theirs, err := testdkim.OpenDKIMVerify(w.context(), []byte(dkim.CRLF(mail)), records)
		if err != nil || !theirs.OK {
			t.Errorf("opendkim: %+v %v\n%s", theirs, err, head(mail))
		}
		_, s, _ := strings.Cut(field(mail, "DKIM-Signature")[0], " s=")
		selector, _, _ := strings.Cut(s, ";")
		selectors[selector] = true
	}
	if len(selectors) < 3 {
		t.Errorf("%d messages were signed by %v", sent, selectors)
	}
}
