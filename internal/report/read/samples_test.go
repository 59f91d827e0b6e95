package read

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample reads a file of testdata.
func sample(t *testing.T, file string) (*Report, error) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".eml") {
		return Message(bytes.NewReader(text))
	}
	return File(bytes.NewReader(text))
}

// samples returns the names of the samples.
func samples(t testing.TB) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*.xml", "*.gz", "*.json", "*.eml"} {
		found, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		names = append(names, found...)
	}
	return names
}

// Each sample is read as its golden file states. UPDATE=1 writes the golden files. The README of testdata lists the deviations.
func TestSamples(t *testing.T) {
	readme, err := os.ReadFile("testdata/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range samples(t) {
		if !bytes.Contains(readme, []byte("`"+filepath.Base(file)+"`")) {
			t.Errorf("%s is not in testdata/README.md", file)
		}
		r, err := sample(t, file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		got, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		golden := file + ".golden"
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n%s", file, err, got)
		}
	}
}
