package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite testdata/*.txtar at the top of the project")
	testscript.Main(tests{m}, map[string]func(){
		"signpost": main,
	})
}

// noExitSleep disables a sleep of one second that the race detector adds to the end of each program. A script's programs do not inherit
// the environment of the test.
func noExitSleep(e *testscript.Env) { e.Setenv("GORACE", "atexit_sleep_ms=0") }

// Each testdata/*.txtar contains the commands of a user and their expected results.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		noExitSleep(e)
		return nil
	}})
}
