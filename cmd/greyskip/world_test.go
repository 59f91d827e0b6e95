package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/allowlist"
	"signpost/internal/testdns"
)

// world is a directory with a domains file, a name server and a clock.
type world struct {
	t                       *testing.T
	dns                     *testdns.Server
	dir, config, file, list string
	now                     time.Time
}

// records are the records of three senders.
const records = `
one.example. TXT "v=spf1 ip4:37.0.0.0/24 ip6:2a00:1::/48 include:two.example ~all"
two.example. TXT "v=spf1 ip4:37.0.1.0/24 ip4:37.0.9.0/24 -all"
three.example. TXT "v=spf1 ip4:37.0.3.77/24 a -all"
three.example. A 37.0.4.1
`

func newWorld(t *testing.T, zone, domains string) *world {
	t.Helper()
	server, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	dir := t.TempDir()
	w := &world{t: t, dns: server, dir: dir, config: filepath.Join(dir, "signpost.toml"), file: filepath.Join(dir, "domains"), list: filepath.Join(dir, "list"),
		now: time.Date(2026, 11, 28, 5, 25, 0, 0, time.UTC)}
	w.put(w.config, fmt.Sprintf("[dns]\nservers = [%q]\ntimeout = \"2s\"\n", server.Addr()))
	w.put(w.file, domains)
	return w
}

func (w *world) put(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) zone(text string) {
	w.t.Helper()
	if err := w.dns.SetZone(text); err != nil {
		w.t.Fatal(err)
	}
}

// run returns standard output, standard error and the exit code.
func (w *world) run(args ...string) (out, errs string, code int) {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	now := w.now
	e := &env{Maker: allowlist.Maker{Now: func() time.Time { return now }}}
	code = e.execute(w.t.Context(), append([]string{"-c", w.config}, args...), &stdout, &stderr)
	return stdout.String(), stderr.String(), code
}

// cron runs greyskip as cron does, checks the exit code, and returns all output.
func (w *world) cron(want int, more ...string) string {
	w.t.Helper()
	out, errs, code := w.run(append([]string{"-f", w.file, "-o", w.list}, more...)...)
	if code != want {
		w.t.Fatalf("%q: exit code %d, want %d: %s%s", more, code, want, out, errs)
	}
	return out + errs
}

// contains fails the test unless a text contains all words.
func (w *world) contains(text string, words ...string) {
	w.t.Helper()
	for _, s := range words {
		if !strings.Contains(text, s) {
			w.t.Errorf("%q is missing in: %s", s, text)
		}
	}
}

// quiet fails the test unless a text is empty.
func (w *world) quiet(text string) {
	w.t.Helper()
	if text != "" {
		w.t.Errorf("unexpected output: %s", text)
	}
}

func (w *world) text() string {
	w.t.Helper()
	data, err := os.ReadFile(w.list)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// entries returns the lines of the list without comments.
func (w *world) entries() string {
	w.t.Helper()
	var all []string
	for line := range strings.Lines(w.text()) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return strings.Join(all, "\n")
}

// same calls the function what, and fails the test if the contents or the time of the list has changed.
func (w *world) same(what func()) {
	w.t.Helper()
	before, text := stat(w.t, w.list), w.text()
	what()
	if after := stat(w.t, w.list); !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) || w.text() != text {
		w.t.Errorf("the list was replaced:\n%s", w.text())
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi
}
