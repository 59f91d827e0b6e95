package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// deadly is an SMTP server that kills its client at a step: after a command, or "." before the reply to the message.
type deadly struct {
	mu       sync.Mutex
	step     string
	victim   *os.Process
	messages []string
}

func (d *deadly) serve(conn net.Conn) {
	defer conn.Close()
	c := textproto.NewConn(conn)
	_ = c.PrintfLine("220 mx.example.org")
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		d.kill(line)
		if line == "DATA" {
			_ = c.PrintfLine("354 go on")
			text, err := c.ReadDotBytes()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.messages = append(d.messages, string(text))
			d.mu.Unlock()
			d.kill(".")
		}
		_ = c.PrintfLine("250 ok")
		if line == "QUIT" {
			return
		}
	}
}

func (d *deadly) kill(at string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.step != "" && strings.HasPrefix(at, d.step) {
		_ = d.victim.Kill()
	}
}

// If signpost reports send is killed at any step, the next run sends the report. A second copy is the same, byte for byte.
func TestReportsKilled(t *testing.T) {
	w := reportWorld(t)
	w.swaks(w.SMTP, append(client(""), "--from", "x@sender.example", "--header", "From: x@sender.example")...)
	w.journaled("sender.example")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	server := &deadly{}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			server.serve(conn)
		}
	}()
	if err := os.WriteFile(filepath.Join(w.dir, "conf.d", "smtp.toml"), fmt.Appendf(nil, "[reports]\nsmtp = %q\n", ln.Addr()), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(step string) error {
		c := exec.CommandContext(w.context(), filepath.Join(programs, "plain", "signpost"), "-c", w.config, "reports", "send", "--now",
			"--date", time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly), "--postfix", filepath.Join(w.Dir, "etc"))
		server.mu.Lock()
		server.step = step
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		server.victim = c.Process
		server.mu.Unlock()
		return c.Wait()
	}
	for step, copies := range map[string]int{"EHLO": 1, "MAIL": 1, "RCPT": 1, "DATA": 1, ".": 2, "QUIT": 1} {
		for _, name := range []string{"reports.db", "reports.db-wal", "reports.db-shm", "progress.json"} {
			if err := os.Remove(filepath.Join(w.dir, "state", "reports", name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		server.messages = nil
		if err := run(step); err == nil {
			t.Errorf("%s: the process was not killed", step)
		}
		for range 2 {
			if err := run(""); err != nil {
				t.Errorf("%s: the next run: %v", step, err)
			}
		}
		server.mu.Lock()
		if n := len(server.messages); n != copies && !(step == "DATA" && n == 2) || server.messages[0] != server.messages[n-1] {
			t.Errorf("%s: %d messages:\n%s", step, n, strings.Join(server.messages, "\n"))
		}
		server.mu.Unlock()
	}
}
