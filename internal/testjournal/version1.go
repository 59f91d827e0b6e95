// Package testjournal has journals that earlier versions of Signpost wrote, for tests.
package testjournal

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Version1 returns the path of a copy of a journal of version 1, journal/journal.db in a new directory. The journal has one message of each
// kind in testdata. Only tests of packages in internal can call Version1.
func Version1(t *testing.T) string {
	t.Helper()
	packed, err := os.Open(filepath.Join("..", "journal", "testdata", "version1.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "journal", "journal.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
