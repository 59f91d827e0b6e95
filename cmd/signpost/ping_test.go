package main

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// ping succeeds if the daemon answers. A program that accepts the connection but does not answer, such as a stopped daemon, is a failure.
func TestPing(t *testing.T) {
	d := startDaemon(t, "", "")
	silent := filepath.Join(t.TempDir(), "silent.sock")
	ln, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"answers", []string{"--timeout", "20s", "unix:" + d.socket}, 0, ""},
		{"silent", []string{"--timeout", "200ms", "unix:" + d.socket, "unix:" + silent}, 1, silent + ": it does not answer"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"ping"}, c.args...), &stdout, &stderr)
		if code != c.code || stdout.Len() > 0 || !strings.Contains(stderr.String(), c.stderr) || c.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%s: %d %q %q", c.name, code, &stdout, &stderr)
		}
	}
}
