package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// program is `signpost serve` in a separate process.
type program struct {
	*testDaemon
	cmd  *exec.Cmd
	dir  string
	base string // the common part of the configuration
	kill func() // sends SIGKILL
}

// build is the program that all tests share. The first test that needs it builds it.
type build struct {
	once sync.Once
	dir  string
	err  error
}

var release build

// built returns the program as it is released: static and without cgo. Its threads are therefore not confined in the same way as the
// threads of the tests.
func built(t *testing.T) string {
	if testing.Short() {
		t.Skip("builds signpost")
	}
	t.Helper()
	release.once.Do(release.make)
	if release.err != nil {
		t.Fatal(release.err)
	}
	return filepath.Join(release.dir, "signpost")
}

func (b *build) make() {
	if b.dir, b.err = os.MkdirTemp("", "signpost-build"); b.err != nil {
		return
	}
	if b.err = os.Chmod(b.dir, 0o755); b.err != nil { // other users run the program
		return
	}
	c := exec.Command("go", "build", "-trimpath", "-o", b.dir, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		b.err = fmt.Errorf("%w\n%s", err, out)
	}
}

// tests deletes the program after the last test.
type tests struct{ *testing.M }

func (m tests) Run() int {
	code := m.M.Run()
	os.RemoveAll(release.dir)
	return code
}

// startProgram runs a command with the arguments "serve -c FILE" and waits until it is ready. The configuration consists of text and of
// settings that each daemon in these tests needs. If the daemon has other sockets than the default, text begins with listen.
func startProgram(t *testing.T, dir, text string, cmd *exec.Cmd) *program {
	t.Helper()
	p := launchProgram(t, dir, text, cmd)
	p.says("signpost started")
	return p
}

// launchProgram is startProgram without waiting.
func launchProgram(t *testing.T, dir, text string, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{testDaemon: &testDaemon{t: t, socket: filepath.Join(dir, "socket", "milter.sock"), log: &syncBuffer{}}, cmd: cmd, dir: dir}
	p.base = fmt.Sprintf("socket_group = \"\"\nstate_dir = %q\n", filepath.Join(dir, "state"))
	if !strings.HasPrefix(text, "listen = ") {
		p.base += fmt.Sprintf("listen = [\"unix:%s\"]\n", p.socket)
	}
	for _, name := range []string{"socket", "state/keys"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "etc", "signpost.toml")
	put(t, file, p.base+text)
	cmd.Args = append(cmd.Args, "serve", "-c", file)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	// Otherwise the race detector sleeps for a second at the end.
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), cmd.Env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	ended := false
	p.stop = func() {
		if ended {
			return
		}
		ended = true
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if err := <-done; err != nil {
			t.Errorf("%v\n%s", err, p.log)
		}
	}
	p.kill = func() {
		ended = true
		_ = p.cmd.Process.Kill()
		<-done
	}
	t.Cleanup(p.stop)
	return p
}

// says waits for a text in the log.
func (p *program) says(text string) {
	p.t.Helper()
	p.until(text, func() bool { return strings.Contains(p.log.String(), text) })
}

// hangup replaces the configuration, sends SIGHUP, and waits for the end of the reload.
func (p *program) hangup(text string) {
	p.t.Helper()
	p.log.reset()
	put(p.t, filepath.Join(p.dir, "etc", "signpost.toml"), p.base+text)
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		p.t.Fatal(err)
	}
	p.says("(SIGHUP)")
}

// put replaces a file atomically, as editors and dkimkey do: it writes another file and renames it. It creates the directory.
func put(t testing.TB, path, text string) {
	t.Helper()
	for _, err := range []error{os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path+"~", []byte(text), 0o600), os.Rename(path+"~", path)} {
		if err != nil {
			t.Fatal(err)
		}
	}
}
