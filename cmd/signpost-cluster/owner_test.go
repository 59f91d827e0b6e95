package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"signpost/internal/cluster"
)

// Root can replace the site key, although the file belongs to the user of the daemon. The owner of the file stays the same.
func TestRekeyAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const user = 65534
	m := newMachine(t, "a", "mysql://a:b@127.0.0.1:1/signpost")
	m.put("key", cluster.NewSiteKey())
	if err := os.Chmod(filepath.Dir(m.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{m.path("state"), m.path("key")} {
		if err := os.Chown(path, user, user); err != nil {
			t.Fatal(err)
		}
	}
	contains(t, m.command(1, "rekey"), "has not joined the cluster")
	if lines := strings.Count(m.get("key"), "\n"); lines != 2 {
		t.Errorf("the file has %d site keys, want the old one and a new one", lines)
	}
	fi, err := os.Stat(m.path("key"))
	if err != nil {
		t.Fatal(err)
	}
	if uid := fi.Sys().(*syscall.Stat_t).Uid; uid != user {
		t.Errorf("the file belongs to user ID %d", uid)
	}
}
