package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"signpost/internal/testport"
)

// The submission also works with TLS from the start of the connection, and with a password from a terminal, which is not shown.
func TestTrialTLSAndPrompt(t *testing.T) {
	w := newTrialWorld(t)
	n, release, err := testport.Take("127.0.0.1")
	w.must(err)
	defer release()
	_, err = w.Run(w.context(), "postconf", "-M", fmt.Sprintf("127.0.0.1:%d/inet=127.0.0.1:%d inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_tls_chain_files=%s", n, n, expired(t)))
	w.must(err)
	w.reload()
	server := fmt.Sprintf("127.0.0.1:%d", n)
	w.until("the service listens", func() bool {
		c, err := tls.Dial("tcp", server, &tls.Config{InsecureSkipVerify: true})
		return err == nil && c.Close() == nil
	})
	code, out := w.typed(server, "secret of ann\n")
	for _, want := range []string{"Password of ann@example.org: ", "the TLS certificate of the submission service has expired", "Postfix accepted the message at " + server + ": 250 2.0.0 Ok: queued as ", "code=authenticated"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(out, "secret of ann") || code != 1 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	before := strings.Count(w.Log(), "message-id=")
	if code, out := w.typed(server, "\x03"); code < 1 || strings.Contains(out, "green") || strings.Count(w.Log(), "message-id=") != before { // Ctrl-C
		t.Errorf("Ctrl-C: exit code %d\n%s", code, out)
	}
}

// typed runs signpost test on a terminal and types a text when it asks for the password.
func (w *trialWorld) typed(server, text string) (code int, out string) {
	w.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	w.must(err)
	defer master.Close()
	w.must(unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	w.must(err)
	terminal, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	w.must(err)
	c := exec.CommandContext(w.context(), filepath.Join(programs, "plain", "signpost"), "test", "-c", w.config, "--postfix", filepath.Join(w.Dir, "etc"), "--address", "8.8.8.8", "--login", "ann@example.org", "--server", server, "bob@example.org")
	c.Stdin, c.Stdout, c.Stderr = terminal, terminal, terminal
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	w.must(c.Start())
	w.must(terminal.Close())
	shown := func() bool {
		state, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
		return err != nil || state.Lflag&unix.ECHO != 0
	}
	var seen strings.Builder
	b := make([]byte, 4096)
	for asked := false; ; {
		n, err := master.Read(b)
		if seen.Write(b[:n]); !asked && strings.Contains(seen.String(), "Password of ann@example.org: ") {
			asked = true
			w.until("the terminal shows no input", func() bool { return !shown() })
			_, err := io.WriteString(master, text)
			w.must(err)
		}
		if err != nil { // EIO when the program has ended
			break
		}
	}
	if !shown() {
		w.t.Error("the terminal shows no input after the program")
	}
	_ = c.Wait()
	return c.ProcessState.ExitCode(), seen.String()
}
