package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/testmilter"
)

// asSignpost returns a link to the test program. Under the link's name, the program runs as signpost (see TestMain).
func asSignpost(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "signpost")
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// passing returns a signpost command that inherits these files as descriptors 3, 4 and so on. systemd passes sockets in the same way.
func passing(t *testing.T, files ...*os.File) *exec.Cmd {
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", asSignpost(t))
	cmd.Env = []string{fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES=signpost.socket:relay"}
	cmd.ExtraFiles = files
	return cmd
}

// opened opens a socket for another process, and returns its address and its file.
func opened(t *testing.T, network, address string) (net.Addr, *os.File) {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	f, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return ln.Addr(), f
}

// For an address in listen, the daemon uses the socket that systemd passes, and keeps its permissions. The daemon opens the other
// sockets itself. A passed socket stays open when the daemon stops. If a client connects before the next daemon starts, that daemon answers
// it.
func TestPassedSockets(t *testing.T) {
	dir := t.TempDir()
	passed, own := filepath.Join(dir, "passed.sock"), filepath.Join(dir, "own.sock")
	_, unix := opened(t, "unix", passed)
	at, tcp := opened(t, "tcp", "127.0.0.1:0")
	if err := os.Chmod(passed, 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("listen = [\"unix:%s\", \"unix:%s\", \"inet:%s\"]\n[dns]\nservers = [\"127.0.0.1:1\"]\n", own, passed, at)
	p := startProgram(t, dir, text, passing(t, unix, tcp))
	testmilter.Dial(t, "unix", passed).Handshake()
	testmilter.Dial(t, "unix", own).Handshake()
	testmilter.Dial(t, "tcp", at.String()).Handshake()
	p.stop()
	if fi, err := os.Lstat(passed); err != nil || fi.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the passed socket after the end: %v %v", fi, err)
	}
	if _, err := os.Lstat(own); err == nil {
		t.Error("the daemon did not remove its own socket")
	}
	waiting := testmilter.Dial(t, "unix", passed)
	startProgram(t, dir, text, passing(t, unix, tcp))
	waiting.Handshake()
}

// If a passed descriptor cannot be used, the daemon does not start. Otherwise systemd would assume that the socket is in use.
func TestPassedSocketsOfNoUse(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other.sock")
	_, unix := opened(t, "unix", other)
	file, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	client, err := net.Dial("unix", other)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	connected, err := client.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	config := filepath.Join(dir, "signpost.toml")
	put(t, config, fmt.Sprintf("listen = [\"unix:%s/milter.sock\"]\nsocket_group = \"\"\nstate_dir = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\n", dir, dir))
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		files []*os.File
		env   string
		want  string
	}{
		{"another address", []*os.File{unix}, "", `passed the socket "unix:` + other + `", which is not in listen`},
		{"no socket", []*os.File{file}, "", `descriptor 3 ("signpost.socket"), which cannot be used: socket operation on non-socket`},
		{"a connection", []*os.File{connected}, "", "Accept=no"},
		{"no number", nil, "LISTEN_FDS=many", `LISTEN_FDS is "many"`},
	} {
		cmd := passing(t, c.files...)
		cmd.Args = append(cmd.Args, "serve", "-c", config)
		cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), append(cmd.Env, c.env)...)
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
}

// systemd starts the daemon at the first connection to the socket, and the daemon answers that connection.
func TestSystemdActivates(t *testing.T) {
	if testing.Short() {
		t.Skip("runs systemd-socket-activate")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket", "milter.sock")
	p := launchProgram(t, dir, "[dns]\nservers = [\"127.0.0.1:1\"]\n",
		exec.Command("systemd-socket-activate", "--listen="+socket, "--setenv=GORACE=atexit_sleep_ms=0", asSignpost(t)))
	p.until("systemd listens", func() bool { _, err := os.Lstat(socket); return err == nil })
	p.until("it takes connections", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	testmilter.Dial(t, "unix", socket).Handshake()
	p.stop()
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("systemd's socket after the end: %v", err)
	}
}
