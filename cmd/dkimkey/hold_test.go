package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/keys"
)

// User signpost can write rotate.json. Whatever the file contains, root can revoke a compromised key. The revocation does not change the
// records of the other keys.
func TestDamagedLastRun(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"text":      func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"no time":   func(path string) error { return os.WriteFile(path, []byte("{}"), 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
			h.must("add", "example.org")
			h.days(3)
			leaked, path := h.signing("example.org"), filepath.Join(h.dir, "state", "rotate.json")
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			if out, _ := h.run("revoke", "example.org", leaked, "--compromised"); !strings.Contains(out, "the time of the last run is unknown") {
				t.Error(out)
			}
			if txt, err := h.txt(keys.RecordName("example.org", leaked)); err != nil || len(txt) != 1 || !strings.HasSuffix(txt[0], "p=") {
				t.Errorf("the leaked key is still in DNS: %q %v", txt, err)
			}
		})
	}
}
