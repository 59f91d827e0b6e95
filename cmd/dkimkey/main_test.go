package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// The race detector sleeps a second at the end of each program otherwise.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	// Files that are synced a thousand times wait for the disk elsewhere.
	if shm, err := os.Stat("/dev/shm"); err == nil && shm.IsDir() && os.Getenv("TMPDIR") == "" {
		if err := os.Setenv("TMPDIR", "/dev/shm"); err != nil {
			panic(err)
		}
	}
	testscript.Main(tests{m}, map[string]func(){
		"dkimkey":  func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
		"mortal":   mortal,
		"provider": provider,
	})
}

// Each testdata/*.txtar is what a user types, and what it must do.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("GORACE", "atexit_sleep_ms=0") // scripts do not inherit it
		return os.WriteFile(e.WorkDir+"/c.toml", []byte("state_dir = \""+e.WorkDir+"/state\"\n"), 0o644)
	}})
}
