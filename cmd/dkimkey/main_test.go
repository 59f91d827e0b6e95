package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// Without this, the race detector sleeps for a second at the end of each program.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	// The tests sync many files, so the files are in memory.
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

// Each file testdata/*.txtar has commands and their expected output.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("GORACE", "atexit_sleep_ms=0") // scripts do not inherit it
		return os.WriteFile(e.WorkDir+"/c.toml", []byte("state_dir = \""+e.WorkDir+"/state\"\n"), 0o644)
	}})
}
