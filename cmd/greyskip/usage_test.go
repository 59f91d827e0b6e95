package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"signpost/internal/allowlist"
	"signpost/internal/testcli"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"greyskip": main}) }

// Each usage error has a message without Go error text.
func TestWrongUsage(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(file, []byte("[dns]\nservers = [\"127.0.0.1:1\"]\ntimeout = \"50ms\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	newEnv := func() *env { return &env{Maker: allowlist.Maker{Now: time.Now}} }
	testcli.Walk(t, testcli.Program{
		Root: newEnv().newRoot(),
		Run: func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
			return newEnv().execute(ctx, args, stdout, stderr)
		},
		Flags:     map[string]string{"config": file},
		Arguments: map[string][]string{"": {"example.org"}},

		Interrupted: []string{""},
	})
}

// A permission error states which user must run the command.
func TestPermissionDenied(t *testing.T) {
	testcli.Denied(t, "greyskip", 0o700, "example.org -o DIR/keys/list -c CONFIG")
}
