package lookup

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// A damaged file of answers is no error. The answers that were read are written and read again without a change.
func FuzzSaved(f *testing.F) {
	f.Add([]byte(savedPrefix + "1764547200 true \"hash:d\" \"example.org\" \"x\"\n1764547200 false \"hash:d\" \"\\xff\\n\" \"\"\n"))
	f.Add([]byte(savedPrefix + "9223372036854775807 true \"\" \"\" \"\"\n-9223372036854775808 true `a` `b` `c` 1 true \"\" \"\" \"\"\n"))
	f.Add([]byte("signpost tables 2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "tables")
		load := func() *Cache {
			c := NewCache(nil, CacheOptions{Log: slog.New(slog.DiscardHandler)})
			if err := c.Load(path); err != nil {
				t.Fatal(err)
			}
			c.changed = true
			return c
		}
		if err := os.WriteFile(path, data, savedMode); err != nil {
			t.Fatal(err)
		}
		first := load()
		if err := first.Save(path); err != nil {
			t.Fatal(err)
		}
		first.changed = true
		want, _ := first.export()
		if got, _ := load().export(); string(got) != string(want) {
			t.Errorf("%q is read again as %q", want, got)
		}
	})
}
