package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/testcli"
)

// Each usage error has a message without Go error text.
func TestWrongUsage(t *testing.T) {
	dir := t.TempDir()
	text := fmt.Sprintf("state_dir = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\n[cluster]\ndatabase = \"mysql://u:s3cret@127.0.0.1:1/d\"\nname = \"a\"\nkey_file = %q\nsocket = %q\n",
		dir+"/state", dir+"/key", dir+"/s")
	if err := os.WriteFile(filepath.Join(dir, "c.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	testcli.Walk(t, testcli.Program{
		Root: newRoot(), Run: run,
		Flags:     map[string]string{"config": filepath.Join(dir, "c.toml")},
		Arguments: map[string][]string{"leave": {"mx2"}},
		Broken:    []string{"run"},
	})
	// An unreachable database is an error without its password, and a failed init leaves no site key.
	for _, args := range [][]string{{"init"}, {"join"}} {
		var out bytes.Buffer
		if code := run(t.Context(), append(args, "-c", filepath.Join(dir, "c.toml")), &out, &out); code != 1 || strings.Contains(out.String(), "s3cret") || !strings.Contains(out.String(), "signpost-cluster: ") {
			t.Errorf("%q: exit code %d\n%s", args, code, &out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "key")); err == nil {
		t.Error("a failed init leaves a site key")
	}
}

// Without cluster.database, each command states that.
func TestNoCluster(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init"}, {"join"}, {"run"}, {"status"}, {"leave", "a"}, {"rekey"}, {"accept-restore"}} {
		var out bytes.Buffer
		if code := run(t.Context(), append(args, "-c", file), &out, &out); code != 2 || !strings.Contains(out.String(), "cluster.database is not set") {
			t.Errorf("%q: exit code %d\n%s", args, code, &out)
		}
	}
}
