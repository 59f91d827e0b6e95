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

// Each testdata/*.txtar is what a user types, and what it must do.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}
