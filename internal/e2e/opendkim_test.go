package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"signpost/internal/conformance"
	"signpost/internal/dkim"
	"signpost/internal/testmta"
)

// Signpost verifies OpenDKIM's signatures from a real Postfix in every canonicalization, and a changed body fails.
func TestWeVerifyOpenDKIM(t *testing.T) {
	needRoot(t)
	key, record := newKey(t)
	var verified atomic.Int32
	t.Cleanup(func() {
		conformance.Add(t, "dkim-signer-opendkim", "DKIM: Signpost verifies %d messages that OpenDKIM signed in a real Postfix, with each canonicalization.", verified.Load())
	})
	for _, canon := range []string{"simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"} {
		t.Run(canon, func(t *testing.T) {
			t.Parallel()
			mta, err := testmta.Start(t.Context(), testmta.Options{Domains: []string{"example.org"}, Milters: openDKIM(t, key, canon)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { mta.Stop() })
			verified.Add(int32(verifySigned(t, &world{MTA: mta, t: t}, record)))
		})
	}
}

// verifySigned sends unusual bodies through a Postfix whose milter signs, and returns the number of signatures that Signpost verifies. It
// checks that no changed body verifies. The bodies in wrong must not verify, because the signer hashes them incorrectly.
func verifySigned(t *testing.T, w *world, record string, wrong ...string) (verified int) {
	t.Helper()
	s := w.dial(w.SMTP, "")
	for i, body := range []string{"", "text", "text\r\n\r\n\r\n", " \t \r\n \r\n", "a  b \t\r\n c\r\n", "Gr\xfc\xdfe\r\n", strings.Repeat("long ", 190) + "\r\n"} {
		w.cmd(s, 250, "MAIL FROM:<ann@example.org>")
		w.cmd(s, 250, "RCPT TO:<bob@example.org>")
		if _, err := s.Data(250, []byte("From: Ann <ann@example.org>\r\nSubject:  two   spaces\r\n\tand a fold\r\n\r\n"+body)); err != nil {
			t.Fatal(err)
		}
		mail := w.mail(i + 1)
		for changed, want := range map[string]dkim.Status{"": dkim.Pass, "more\n": dkim.Fail} {
			if slices.Contains(wrong, body) {
				want = dkim.Fail
			}
			got := verify(mail+changed, func(string) string { return record })
			if len(got) != 1 || got[0].Status != want {
				t.Errorf("%q + %q: %+v\n%s", body, changed, got, mail)
			} else if want == dkim.Pass {
				verified++
			}
		}
	}
	return verified
}

// verify verifies a delivered message with Signpost's package dkim. record returns the key record at a name.
func verify(mail string, record func(name string) string) []dkim.Result {
	fields, body, err := dkim.ReadMessage(strings.NewReader(mail))
	if err != nil {
		panic(err)
	}
	v := dkim.NewVerifier(fields, nil)
	_, _ = io.Copy(v, body)
	return v.Results(time.Now(), func(name string) ([]string, error) { return []string{record(name)}, nil })
}

// openDKIM runs the real OpenDKIM as a signer with one key, and returns its socket in the syntax of smtpd_milters.
func openDKIM(t *testing.T, key *rsa.PrivateKey, canon string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, file, key)
	return startOpenDKIM(t, fmt.Sprintf("Domain example.org\nSelector od\nKeyFile %s\nMode s\nCanonicalization %s\n", file, canon))
}

// newKey returns a key of 2048 bits and its record.
func newKey(t *testing.T) (*rsa.PrivateKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	record, err := dkim.FormatKeyRecord(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, record
}

func writeKey(t *testing.T, file string, key *rsa.PrivateKey) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startOpenDKIM runs opendkim with a configuration, and returns its socket in the syntax of smtpd_milters.
func startOpenDKIM(t *testing.T, conf string) string {
	t.Helper()
	dir := t.TempDir()
	addr, port := freeAddr(t)
	conf += fmt.Sprintf("Socket inet:%s@127.0.0.1\nSyslog no\nRequireSafeKeys no\nPidFile %s/pid\nInternalHosts 127.0.0.1\n", port, dir)
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	startMilter(t, addr, exec.Command("/usr/sbin/opendkim", "-f", "-x", filepath.Join(dir, "conf")))
	return "inet:" + addr
}

// startMilter runs another milter until the test ends, and waits until it listens.
func startMilter(t *testing.T, addr string, cmd *exec.Cmd) {
	t.Helper()
	log := &buffer{}
	cmd.Stderr, cmd.Stdout = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("output of %s:\n%s", cmd.Path, tail(log.String()))
		}
	})
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen:\n%s", cmd.Path, log)
		}
	}
}

// freeAddr returns an unused address of loopback.
func freeAddr(t *testing.T) (addr, port string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return ln.Addr().String(), port
}
