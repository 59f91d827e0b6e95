package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// check runs the command check and returns its output. standard error must be empty.
func check(t *testing.T, args ...string) (code int, line string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"check"}, args...), &out, &errs)
	if errs.Len() > 0 || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%q: %q %q", args, &out, &errs)
	}
	return code, strings.TrimSuffix(out.String(), "\n")
}

// check prints one line about a real daemon: one that answers, one that is suspended, and one that has stopped.
func TestCheck(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// TestMain runs the program if this is its name.
	program := dir + "/signpost"
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, dir, "[dns]\nservers = [\"127.0.0.1:1\"]\n", exec.Command(program))
	file := dir + "/etc/signpost.toml"
	expect := func(want int, pattern string, args ...string) {
		t.Helper()
		code, line := check(t, append([]string{"-c", file}, args...)...)
		if line = strings.ReplaceAll(line, dir, "DIR"); code != want || !regexp.MustCompile(pattern).MatchString(line) {
			t.Errorf("exit code %d, want %d\n%s\nwant %s", code, want, line, pattern)
		}
	}
	const keys = ` signing_keys=0;;;0 keys_action_needed=0;;;0 hosted_domains=0;;;0 unsigned_domains=0;;;0 journal_size=\d+B;;;0;536870912$`
	expect(0, `^SIGNPOST OK - the daemon answers; no domain has a signing key; journal 0 MiB, empty \| answer=0\.\d+s;;;0;10`+keys)
	expect(0, `^SIGNPOST OK - `, "-t", "300000h") // nine times as long is not a time.Duration
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); { // the signal may take effect later
		if code, _ := check(t, "-c", file, "-t", "100ms"); code == 2 {
			break
		}
	}
	expect(2, `^SIGNPOST CRITICAL - the daemon does not answer at DIR/socket/milter.sock: timeout after \S+ \|`+keys, "-t", "500ms")
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	p.stop()
	expect(2, `^SIGNPOST CRITICAL - the daemon does not answer at DIR/socket/milter.sock: no such file or directory \|`+keys)
}

// A monitoring system treats exit code 2 as CRITICAL. So an error in the command line or the configuration is UNKNOWN, with exit code 3.
func TestCheckUnknown(t *testing.T) {
	dir := t.TempDir()
	wrong := dir + "/wrong.toml"
	put(t, wrong, "colour = \"a|b\"\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-c", wrong}, wrong + ":1: colour: unknown key"},
		{[]string{"-c", wrong, "-t", "0s"}, wrong + ":1: colour: unknown key"},
		{[]string{"-c", dir + "/none"}, dir + "/none: no such file; an empty file is valid, and signpost.toml(5) lists the keys"},
		{[]string{"--colour"}, "check: no such flag: --colour; see signpost check --help"},
		{[]string{"example.org"}, "check: unexpected argument \"example.org\"; see signpost check --help"},
		{[]string{"-t", "a|b"}, "check: --timeout: \"a/b\" is not a duration, such as 30m or 12h; see signpost check --help"},
	} {
		code, line := check(t, c.args...)
		if code != 3 || line != "SIGNPOST UNKNOWN - "+c.want {
			t.Errorf("%q: exit code %d: %s", c.args, code, line)
		}
	}
}
