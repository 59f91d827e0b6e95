package keys

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// reloading calls the function change while a Watcher reloads continuously, and calls check with each Snapshot. It returns the errors that
// the Watcher logged.
func reloading(t *testing.T, s Store, change func(), check func(*Snapshot)) (logged string) {
	t.Helper()
	var log bytes.Buffer
	w, err := Open(s, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, done := context.WithCancel(t.Context())
	go func() {
		defer done()
		change()
	}()
	for ctx.Err() == nil {
		w.Reload()
		check(w.Current())
	}
	w.Reload()
	check(w.Current())
	return log.String()
}

// A hand-over consists of two writes. The new key is written first. A concurrent reload always finds a key that signs, whichever file it
// reads first.
func TestReloadDuringHandover(t *testing.T) {
	const handovers = 200
	s := newStore(t)
	pair := [2]*Metadata{create(t, s, "example.org", "ed25519"), create(t, s, "example.org", "ed25519")}
	activate(t, s, pair[0])
	change := func() {
		for n := range handovers {
			next, old, now := pair[(n+1)%2], pair[n%2], s.Now().Add(time.Duration(n)*time.Second)
			next.Activated, next.Retired = &now, nil
			if err := s.writeMetadata(next); err != nil {
				t.Error(err)
			}
			old.Retired = &now
			if err := s.writeMetadata(old); err != nil {
				t.Error(err)
			}
		}
	}
	unsigned := 0
	logged := reloading(t, s, change, func(now *Snapshot) {
		if len(now.Set.Signing("example.org")) == 0 {
			unsigned++
		}
	})
	if unsigned > 0 || logged != "" {
		t.Errorf("%d snapshots have no key that signs\n%s", unsigned, logged)
	}
}

// The daemon reloads while other domains are added and removed. Removed domains are not hosted again, the remaining domain always
// has a key that signs, no reload fails, and no temporary file is left.
func TestReloadDuringRemove(t *testing.T) {
	const domains = 60
	s := newStore(t)
	activate(t, s, create(t, s, "example.org", "ed25519"))
	change := func() {
		for n := range domains {
			domain := fmt.Sprintf("d%d.example.org", n%3)
			unlock, err := s.Lock(t.Context(), domain)
			if err != nil {
				t.Error(err)
				return
			}
			metadata, err := s.Create(Options{Domain: domain, Algorithm: "ed25519", Publish: "manual"})
			if err == nil {
				_, err = s.Activate(domain, metadata.Selector)
			}
			if err != nil {
				t.Error(err)
			}
			unlock()
			if unlock, err = s.Lock(t.Context(), domain); err != nil {
				t.Error(err)
				return
			}
			if err := s.Remove(domain); err != nil {
				t.Error(err)
			}
			if err := s.Unhost(domain); err != nil {
				t.Error(err)
			}
			unlock()
		}
	}
	logged := reloading(t, s, change, func(now *Snapshot) {
		if !now.Hosted["example.org"] || len(now.Set.Signing("example.org")) != 1 {
			t.Error("the remaining domain has no key that signs")
		}
	})
	for line := range strings.Lines(logged) {
		// The removed domains have no key for a moment. This is the only error that the log may contain.
		if !strings.Contains(line, ".example.org") || strings.Contains(line, "keys not reloaded") {
			t.Error(line)
		}
	}
	hosted, err := s.Hosted()
	if err != nil || len(hosted) != 1 {
		t.Errorf("hosted at the end: %v %v", hosted, err)
	}
	err = filepath.WalkDir(s.State, func(path string, d os.DirEntry, err error) error {
		if isTemp(filepath.Base(path)) {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
