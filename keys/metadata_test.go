package keys

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// LoadMetadata returns the same metadata as Load. It reads no private key, so it does not notice a damaged key. The observation of an
// unmanaged key is valid until its file is replaced.
func TestLoadMetadata(t *testing.T) {
	s := newStore(t)
	metadata := create(t, s, "example.org", "rsa")
	activate(t, s, metadata)
	create(t, s, "example.org", "ed25519")
	path := s.pemPath("example.net", "hand")
	for _, err := range []error{s.tree().MakeDir(filepath.Dir(path)), os.WriteFile(path, []byte(pemOf(t, "PRIVATE KEY")), 0o600), s.tree().MakeDir(s.observedDir("example.net"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	by := load(t, s, nil).find("example.net", "hand")
	seen, err := metadataOf(by, "")
	if err != nil {
		t.Fatal(err)
	}
	now := s.Now()
	seen.Activated = &now
	if err := s.writeJSON(s.observedPath("example.net", "hand"), seen, s.Dir); err != nil {
		t.Fatal(err)
	}
	rules := func(string) Rules { return Rules{} }
	describe := func(set *Set) (all []string) {
		for _, k := range set.Status(rules, now) {
			all = append(all, fmt.Sprint(k.Domain, k.Selector, k.Algorithm, k.Bits, k.State, k.Since.UTC(), k.Signs, k.Next, k.Err))
		}
		return all
	}
	metadataOnly := func() *Set {
		set, err := s.LoadMetadata()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range set.All() {
			if k.Signer != nil {
				t.Errorf("the private key of %s %s is held", k.Domain, k.Selector)
			}
		}
		return set
	}
	if got, want := describe(metadataOnly()), describe(load(t, s, nil)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if err := os.WriteFile(s.pemPath("example.org", metadata.Selector), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if k := metadataOnly().find("example.org", metadata.Selector); k.Err != nil {
		t.Errorf("the private key is read: %v", k.Err)
	}
	if err := os.Chtimes(path, now.Add(time.Hour), now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if k := metadataOnly().find("example.net", "hand"); k.State != Published {
		t.Errorf("the key of another file has the state of the earlier key: %s", k.State)
	}
	if err := os.Chmod(s.pemPath("example.org", metadata.Selector), 0o644); err != nil {
		t.Fatal(err)
	}
	if k := metadataOnly().find("example.org", metadata.Selector); k.Err == nil || metadataOnly().Signs(k) {
		t.Error("a private key that all users can read is reported as usable")
	}
}
