package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// servedPage is a running signpost web.
type servedPage struct {
	cmd   *exec.Cmd
	lines []string // until the page is served, or until the end of the process
	code  int      // -1: the process runs
}

func startPage(t *testing.T, file string, flags ...string) (p servedPage) {
	t.Helper()
	p.cmd, p.code = exec.Command(asSignpost(t), append([]string{"web", "-c", file}, flags...)...), -1
	p.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	messages, err := p.cmd.StderrPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	lines := bufio.NewScanner(messages)
	for lines.Scan() {
		p.lines = append(p.lines, lines.Text())
		if strings.Contains(lines.Text(), "the page is at") {
			go func() { _, _ = io.Copy(io.Discard, messages) }()
			return p
		}
	}
	_ = p.cmd.Wait()
	p.code = p.cmd.ProcessState.ExitCode()
	return p
}

// With --listen unix:PATH, the page is at a socket with the configured permissions. A second process does not take it away, but a socket that
// a killed process left is replaced. Wrong flags are usage errors.
func TestPageAtSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "page") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file, socket := filepath.Join(dir, "signpost.toml"), filepath.Join(dir, "page.sock")
	put(t, file, fmt.Sprintf("state_dir = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\n", dir))
	first := startPage(t, file, "--listen", "unix:"+socket, "--name", "page.example.org")
	if got := strings.Join(first.lines, "\n"); first.code != -1 || got != "signpost: the page is at unix:"+socket {
		t.Fatal(first.code, got)
	}
	if fi, err := os.Stat(socket); err != nil || fi.Mode() != fs.ModeSocket|0o660 {
		t.Error(fi.Mode(), err)
	}
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	for host, want := range map[string]int{"page.example.org": 503, "evil.example": 421} { // 503: there is no journal
		w, err := client.Get("http://" + host + "/")
		if err != nil || w.StatusCode != want {
			t.Fatal(host, w, err)
		}
		page, err := io.ReadAll(w.Body)
		w.Body.Close()
		if want == 503 && !strings.Contains(string(page), "the daemon does not answer at") {
			t.Errorf("%v\n%s", err, page)
		}
	}
	client.CloseIdleConnections()
	if second := startPage(t, file, "--listen", "unix:"+socket); second.code != 2 || !strings.Contains(strings.Join(second.lines, "\n"), "another process listens there") {
		t.Errorf("%d %q", second.code, second.lines)
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.cmd.Wait()
	if third := startPage(t, file, "--listen", "unix:"+socket, "--socket-mode", "0666"); third.code != -1 || !strings.Contains(third.lines[0], "warning: unix:"+socket+" has mode 0666: every user of this host can read the journal") {
		t.Errorf("%d %q", third.code, third.lines)
	}
	for want, flags := range map[string][]string{
		"signpost: --listen: the directory " + dir + "/none does not exist": {"--listen", "unix:" + dir + "/none/sock"},
		`"unix:page.sock" must have an absolute path`:                       {"--listen", "unix:page.sock"},
		`--socket-mode: "rw" is not a mode, like 0660`:                      {"--listen", "unix:" + dir + "/other.sock", "--socket-mode", "rw"},
		`--socket-group: there is no group "no-such-group"`:                 {"--listen", "unix:" + dir + "/other.sock", "--socket-group", "no-such-group"},
		"is not a socket; remove it, or choose another name":                {"--listen", "unix:" + file},
		"--listen: ADDRESS required":                                        {"--listen", ""},
	} {
		if p := startPage(t, file, flags...); p.code != 2 || !strings.Contains(strings.Join(p.lines, "\n"), want) {
			t.Errorf("%q: %d %q", flags, p.code, p.lines)
		}
	}
}
