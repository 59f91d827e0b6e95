package lookup

import (
	"context"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The exit code and the messages of the installed postmap(1) become an answer or an error.
func TestPostmap(t *testing.T) {
	if _, err := exec.LookPath("/usr/sbin/postmap"); err != nil {
		t.Skip("Postfix is not installed")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "t")
	if err := os.WriteFile(file, []byte("a.example joe, jane\n-dash x\n%s y\n'; z\nwith/slash q\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	table := "texthash:" + file
	for _, c := range []struct {
		table, key string
		want       Answer
		kind       Kind
		reason     string
	}{
		{table, "a.example", Answer{"joe, jane", true}, "", ""},
		{"proxy:" + table, "a.example", Answer{"joe, jane", true}, "", ""},
		{table, "A.EXAMPLE", Answer{"joe, jane", true}, "", ""}, // Postfix folds keys
		{table, "b.example", Answer{}, "", ""},
		{table, "-", Answer{}, "", ""},
		{table, "-dash", Answer{"x", true}, "", ""},
		{table, "%s", Answer{"y", true}, "", ""},
		{table, "';", Answer{"z", true}, "", ""},
		{"inline:{ a.example=1 b.example=2 }", "a.example", Answer{"1", true}, "", ""},
		{"static:all", "x", Answer{"all", true}, "", ""},
		{"texthash:" + dir + "/none", "x", Answer{}, Temporary, "No such file"},
		{"nonsense:x", "x", Answer{}, Temporary, "unsupported dictionary type"},
		{"-c:x", "x", Answer{}, Temporary, "unsupported dictionary type: -c"},
		{"static", "x", Answer{}, Permanent, "TYPE:NAME"},
		{"static:x", "", Answer{}, Permanent, "empty"},
	} {
		got, err := Postmap{ConfigDir: dir}.Lookup(t.Context(), c.table, c.key)
		if got != c.want || kindOf(err) != c.kind || err != nil && !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s %q: %v, error %v; want %v, %s %q", c.table, c.key, got, err, c.want, c.kind, c.reason)
		}
	}
}

// A postmap that hangs is killed when the time is over. Values that are too long, and exit codes that postmap does not have, are errors.
func TestPostmapFaults(t *testing.T) {
	for script, want := range map[string]Kind{
		"exec sleep 60": Timeout,
		"echo x; exec >&-; exec 2>&-; exec sleep 60":                                      Timeout,
		"head -c 1000000 /dev/zero | tr '\\0' x":                                          Permanent,
		"head -c 200000 /dev/zero | tr '\\0' x >&2; echo 'postmap: fatal: x' >&2; exit 1": Temporary,
		"exit 2":                               Temporary,
		"kill -9 $$":                           Temporary,
		"echo 'postmap: fatal: x' >&2; exit 1": Temporary,
		"echo 'postmap: warning: connect to host a failed' >&2; echo found": "",
		"echo 'postmap: warning: connect to host a failed' >&2; exit 1":     "",
	} {
		program := filepath.Join(t.TempDir(), "postmap")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		limit := 10 * time.Second
		if want == Timeout {
			limit = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		begin := time.Now()
		got, err := Postmap{Program: program}.Lookup(ctx, "static:x", "key")
		cancel()
		if kindOf(err) != want {
			t.Errorf("%q: %q, error %v; want %q", script, got.Value, err, want)
		}
		if took := time.Since(begin); took > limit+5*time.Second {
			t.Errorf("%q took %v", script, took)
		}
	}
}

// Output that is too long is not kept in memory.
func TestPostmapOutputIsBounded(t *testing.T) {
	for _, w := range []*limited{{limit: 10}, {limit: 0}} {
		if n, err := io.Copy(w, io.LimitReader(rand.Reader, 1000)); n != 1000 || err != nil || w.Len() != w.limit {
			t.Errorf("limit %d: %d bytes are kept of %d, error %v", w.limit, w.Len(), n, err)
		}
	}
}
