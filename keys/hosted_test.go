package keys

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An unusable unmanaged key that never signed does not make its domain hosted: mail is not affected.
func TestUnusableKeyHostsNothing(t *testing.T) {
	s := newStore(t)
	path := s.pemPath("example.org", "mail")
	if err := s.tree().MakeDir(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(pemOf(t, "PRIVATE KEY")), 0o644); err != nil {
		t.Fatal(err)
	}
	w, err := Open(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	hosted, err := s.Hosted()
	if err != nil || hosted["example.org"] || w.Current().Hosted["example.org"] {
		t.Errorf("hosted: %v %v", hosted, err)
	}
}

// A domain is recorded as hosted before its first key is activated. After a crash between these two steps, mail is deferred and not sent
// unsigned.
func TestHostedBeforeActivation(t *testing.T) {
	s := newStore(t)
	l := create(t, s, "example.org", "ed25519")
	var order []string
	s.Hook = func(step string) {
		if hosted, err := s.Hosted(); err == nil && hosted["example.org"] {
			step += ", hosted"
		}
		order = append(order, step)
	}
	activate(t, s, l)
	if len(order) != 1 || order[0] != "write "+l.Selector+".json, hosted" {
		t.Errorf("%q", order)
	}
}

// A reload during the removal of a domain does not record it as hosted again, although the reload has just read its key.
func TestReloadWhileRemoved(t *testing.T) {
	s := newStore(t)
	l := create(t, s, "example.org", "ed25519")
	activate(t, s, l)
	w, err := Open(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	unlock := lock(t, s)
	// These are the steps of dkimkey remove, with a reload after each.
	if err := s.Unhost("example.org"); err != nil {
		t.Fatal(err)
	}
	w.Reload()
	if hosted, err := s.Hosted(); err != nil || hosted["example.org"] {
		t.Errorf("recorded again under the lock of the removal: %v %v", hosted, err)
	}
	if err := s.Remove("example.org"); err != nil {
		t.Fatal(err)
	}
	unlock()
	w.Reload()
	if hosted, err := s.Hosted(); err != nil || hosted["example.org"] || w.Current().Hosted["example.org"] {
		t.Errorf("hosted after the removal: %v %v", hosted, err)
	}
}

// After a restore of keys without the record of their domain, the daemon records the domain as hosted, so that a missing key is
// noticed.
func TestRestoredDomainIsHosted(t *testing.T) {
	s := newStore(t)
	activate(t, s, create(t, s, "example.org", "ed25519"))
	if err := s.Unhost("example.org"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if hosted, err := s.Hosted(); err != nil || !hosted["example.org"] {
		t.Errorf("%v %v", hosted, err)
	}
}

// RFC 6376 section 3.1: a key that is created after its domain was removed takes another selector. The old record stays in DNS
// for the mail that its key signed.
func TestSelectorsOfRemovedDomain(t *testing.T) {
	s := newStore(t)
	first := create(t, s, "example.org", "ed25519")
	if err := s.Remove("example.org"); err != nil {
		t.Fatal(err)
	}
	if second := create(t, s, "example.org", "ed25519"); second.Selector == first.Selector {
		t.Errorf("%s is used again", first.Selector)
	}
	o := Options{Domain: "example.org", Selector: first.Selector, Algorithm: "ed25519", Publish: "manual"}
	if _, err := s.Create(o); err == nil || !strings.Contains(err.Error(), "was removed on 2026-11-24") {
		t.Errorf("the selector of a removed domain was used again: %v", err)
	}
	ring := Rules{Ring: map[string][]string{"ed25519": {first.Selector, "other"}}}
	all, err := s.WithPast("example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := ring.FreeSelector(all, "ed25519", s.Now()); got != "other" {
		t.Errorf("the ring returns %q immediately", got)
	}
	all = append(all, &Key{Selector: "other", State: Active})
	if got := ring.FreeSelector(all, "ed25519", s.Now().Add(15*24*time.Hour)); got != first.Selector {
		t.Errorf("the ring returns %q after two weeks, want %s", got, first.Selector)
	}
	// The record of this key was never published, so its selector can be used again.
	o = Options{Domain: "example.net", Selector: "new", Algorithm: "ed25519", Publish: "rfc2136"}
	for range 2 {
		if _, err := s.Create(o); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove("example.net"); err != nil {
			t.Fatal(err)
		}
	}
}
