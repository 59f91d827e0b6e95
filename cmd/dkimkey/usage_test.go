package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"signpost/internal/testcli"
	"signpost/keys"
)

// Each usage error has a message without Go error text.
func TestWrongUsage(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(file, []byte("state_dir = \""+dir+"/state\"\n[dns]\nservers = [\"127.0.0.1:1\"]\ntimeout = \"50ms\"\n[keys]\nalgorithms = [\"ed25519\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	newEnv := func() *env {
		return &env{now: time.Now, after: time.After, newRSA: keys.NewRSA, authorityPort: 1, lockTimeout: time.Millisecond}
	}
	testcli.Walk(t, testcli.Program{
		Root: newEnv().newRoot(),
		Run: func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
			return newEnv().execute(ctx, args, stdout, stderr)
		},
		Flags: map[string]string{"config": file},
		Arguments: map[string][]string{
			"add": {"example.org"}, "show": {"example.org", "s1"}, "revoke": {"example.org", "s1"}, "remove": {"example.org"},
			"import": {filepath.Join(dir, "none")}, "import opendkim": {filepath.Join(dir, "none"), filepath.Join(dir, "none")},
			"import mailcow": {filepath.Join(dir, "none"), filepath.Join(dir, "none")}, "import rspamd": {filepath.Join(dir, "none")},
			"rotate": {"example.org"}, "check": {"example.org"}, "status": {"example.org"},
		},
		Interrupted: []string{"check", "rotate"},
	})
}

// A permission error states which user must run the command.
func TestPermissionDenied(t *testing.T) {
	testcli.Denied(t, "dkimkey", 0o700, "status -c CONFIG", "rotate -c CONFIG", "check -c CONFIG", "add example.org -c CONFIG", "show example.org x -c CONFIG",
		"revoke example.org x --compromised -c CONFIG", "remove example.org --yes -c CONFIG", "import DIR/keys/x --selector x --domain example.org -c CONFIG")
	testcli.Denied(t, "dkimkey", 0o755, "status -c CONFIG", "status example.com -c CONFIG", "check -c CONFIG", "show example.com x -c CONFIG",
		"revoke example.com x --compromised -c CONFIG", "rotate -c CONFIG", "remove example.com --yes -c CONFIG", "add example.com -c CONFIG")
}
