// Package conformance collects the counts of the tests for docs/conformance.md. `make test` prints the counts and compares them with
// the page. `make conformance` writes the page.
package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Add prints a line about a topic. It also writes the line to a file in the directory SIGNPOST_CONFORMANCE; the name of the file is the
// topic. It writes nothing for a test that has failed.
func Add(t testing.TB, topic, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...) + "\n"
	fmt.Print(line)
	dir := os.Getenv("SIGNPOST_CONFORMANCE")
	if dir == "" || t.Failed() {
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, topic), []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
}
