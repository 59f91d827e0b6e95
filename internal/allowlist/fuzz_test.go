package allowlist

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A state file is an error and an empty state, or a state whose list is written. Only valid networks are listed, and a run without changes
// leaves the state as it is.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"version":1,"made":"2026-11-01T00:00:00Z","domains":{"example.org":{"at":"2026-11-01T00:00:00Z","networks":["192.0.2.1/24","192.0.2.0/25","::/0"]}},"since":{"192.0.2.0/24":"2026-10-01"}}`))
	f.Add([]byte(`{"version":1,"domains":{"a\nb":{"networks":["192.0.2.0/24","::ffff:192.0.2.0/120"]}},"since":{"192.0.2.0/24":"2026\n0.0.0.0/0 permit"}}`))
	f.Add([]byte(`{"version":1,"domains":{},"since":{"":""}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f.state"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		at, err := locate(filepath.Join(dir, "f.state"))
		if err != nil {
			t.Fatal(err)
		}
		defer at.close()
		s, lost := readState(at)
		if lost != nil && len(s.Domains)+len(s.Since) > 0 {
			t.Errorf("%v: %+v", lost, s)
		}
		l := newList(s.parts())
		for _, p := range l.set.Prefixes() {
			if !p.IsValid() {
				t.Errorf("%s is listed", p)
			}
		}
		_, _, s.Since = l.blocks(s.Since, time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
		if err := s.write(at); err != nil {
			return // a time of a year that RFC 3339 does not have
		}
		again, err := readState(at)
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		if _, more, fewer := changes(l, newList(again.parts())); more+fewer > 0 {
			t.Errorf("%d networks more, %d fewer", more, fewer)
		}
	})
}
