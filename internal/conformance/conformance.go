// Package conformance collects what the tests count, for docs/conformance.md: `make test` prints it and holds the page
// against it, `make conformance` writes the page.
package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Add records a line about a topic, a file's name, in the folder that SIGNPOST_CONFORMANCE names, and prints it. It records
// nothing for a test that has failed.
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
