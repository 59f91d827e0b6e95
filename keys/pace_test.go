package keys

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Soon after a reload that took long, a check finds what dkimkey changed without reading all keys. A file that was modified in place is found
// at the next reload. If reloads are fast, each check reloads.
func TestChecksArePaced(t *testing.T) {
	s := newStore(t)
	m := create(t, s, "example.org", "ed25519")
	w, err := Open(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	// slow makes the last reload one that took a minute.
	slow := func() {
		w.Reload()
		w.last.took = time.Minute
	}
	slow()
	if w.due() {
		t.Error("nothing changed, but all keys are read again")
	}
	activate(t, s, m)
	if !w.due() {
		t.Error("an activated key is not found")
	}
	slow()
	create(t, s, "example.net", "ed25519")
	if !w.due() {
		t.Error("a new domain is not found")
	}
	slow()
	file := filepath.Join(s.Dir, "example.org", m.Selector+".pem")
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.last.ended = time.Now().Add(-maxPause)
	if !w.due() {
		t.Error("a file that was modified in place is not found later")
	}
	w.Reload()
	w.last.took = 0
	if !w.due() {
		t.Error("reloads are fast, but a check does not reload")
	}
}
