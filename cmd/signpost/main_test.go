package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write testdata/*.txtar at the top of the project anew")
	testscript.Main(m, map[string]func(){
		"signpost": main,
	})
}

// noExitSleep is for the programs of a script, which do not inherit the test's environment: the race detector sleeps a second at the
// end of each otherwise.
func noExitSleep(e *testscript.Env) { e.Setenv("GORACE", "atexit_sleep_ms=0") }

// Each testdata/*.txtar is what a user types, and what it must do.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		noExitSleep(e)
		return nil
	}})
}
