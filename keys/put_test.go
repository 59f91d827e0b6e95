package keys

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
)

// exchange is a store with the files of one key, and an empty store that receives them.
type exchange struct {
	t        *testing.T
	from, to Store
	m        *Metadata
	steps    []string // of the receiving store
}

const exDomain, exSelector = "a.example", "s1"

func newExchange(t *testing.T) *exchange {
	t.Helper()
	x := &exchange{t: t}
	for _, s := range []*Store{&x.from, &x.to} {
		*s = Store{State: t.TempDir(), Dir: t.TempDir(), Now: time.Now}
	}
	x.to.Hook = func(step string) { x.steps = append(x.steps, step) }
	x.create()
	return x
}

func (x *exchange) create() {
	x.t.Helper()
	m, err := x.from.Create(Options{Domain: exDomain, Selector: exSelector, Algorithm: "ed25519", Publish: "manual", Ring: true})
	if err != nil {
		x.t.Fatal(err)
	}
	x.m = m
}

// file returns the files of the key in a store, or nil.
func (x *exchange) file(s Store) *Files {
	x.t.Helper()
	all, err := s.FilesOf(exDomain)
	if err != nil {
		x.t.Fatal(err)
	}
	return all[exSelector]
}

// set changes the metadata of the sender.
func (x *exchange) set(change func(m *Metadata)) {
	x.t.Helper()
	change(x.m)
	if err := x.from.writeMetadata(x.m); err != nil {
		x.t.Fatal(err)
	}
	if s := x.m.State(); s == Revoked || s == Removed {
		if err := x.from.removePEM(exDomain, exSelector); err != nil {
			x.t.Fatal(err)
		}
	}
}

// put copies the files and returns the steps.
func (x *exchange) put() string {
	x.t.Helper()
	x.steps = nil
	f := x.file(x.from)
	if err := x.to.Put(f); err != nil {
		x.t.Fatal(err)
	}
	if got := x.file(x.to); got == nil || got.Hash() != f.Hash() || got.Fingerprint() != f.Fingerprint() {
		x.t.Fatalf("sent %+v, received %+v", f, got)
	}
	return strings.Join(x.steps, ", ")
}

// The metadata of a key is written before its private key. A domain is recorded as hosted before its key signs. The private key of a revoked
// key is deleted after its metadata states so. An earlier key of a selector is deleted before the metadata of the new one is written.
func TestPutOrder(t *testing.T) {
	x := newExchange(t)
	now := time.Now().UTC()
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	expect("new", x.put(), "write s1.json, write s1.pem")
	expect("unchanged key", x.put(), "write s1.json")
	hostedAtWrite := false
	hook := x.to.Hook
	x.to.Hook = func(step string) {
		hook(step)
		hostedAtWrite = x.to.tree().Exists(x.to.hostedPath(exDomain))
	}
	x.set(func(m *Metadata) { m.Published, m.Seen, m.Activated = &now, &now, &now })
	expect("active", x.put(), "write s1.json")
	if !hostedAtWrite {
		t.Error("the key signs before the domain is hosted")
	}
	x.set(func(m *Metadata) { m.Retired, m.Revoked = &now, &now })
	expect("revoked", x.put(), "write s1.json, delete s1.pem")
	x.set(func(m *Metadata) { m.Removed = &now })
	x.put()
	x.create()
	expect("new key at the selector", x.put(), "write s1.json, write s1.pem")
	if err := os.RemoveAll(filepath.Join(x.from.Dir, exDomain)); err != nil {
		t.Fatal(err)
	}
	x.create()
	expect("another key at the selector", x.put(), "delete s1.pem, write s1.json, write s1.pem")
	x.steps = nil
	if err := x.to.Put(&Files{Domain: exDomain, Selector: exSelector, Deleted: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(x.to.Dir, exDomain)); !os.IsNotExist(err) {
		t.Errorf("the directory of a removed domain: %v", err)
	}
}

// If Put is interrupted at any step, the store never has a key that signs without metadata, and the next Put completes it.
func TestPutInterrupted(t *testing.T) {
	now := time.Now().UTC()
	for stop := range 3 {
		x := newExchange(t)
		x.set(func(m *Metadata) { m.Published, m.Seen, m.Activated = &now, &now, &now })
		if stop == 2 { // another key is there
			old := newExchange(t)
			if err := x.to.Put(old.file(old.from)); err != nil {
				t.Fatal(err)
			}
		}
		n, interrupted := 0, errors.New("killed")
		hook := x.to.Hook
		x.to.Hook = func(step string) {
			if n++; n > stop {
				panic(interrupted)
			}
			hook(step)
		}
		func() {
			defer func() { _ = recover() }()
			_ = x.to.Put(x.file(x.from))
		}()
		set, err := x.to.LoadDomain(exDomain, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range set.Of(exDomain) {
			if k.Signer == nil {
				continue
			}
			if k.Metadata == nil {
				t.Errorf("killed at step %d: the key has no metadata", stop)
			} else if record, err := dkim.FormatKeyRecord(k.Signer.Public()); err != nil || record != k.Metadata.Record {
				t.Errorf("killed at step %d: the metadata is of another key: %v", stop, err)
			}
		}
		x.to.Hook = hook
		x.put()
	}
}

// Files that only this host can use are not sent: links, keys with a wrong mode, and damaged ones. A missing private key is recognised.
func TestFilesStayLocal(t *testing.T) {
	x := newExchange(t)
	path := x.from.pemPath(exDomain, exSelector)
	now := time.Now().UTC()
	x.set(func(m *Metadata) { m.Published = &now })
	for _, c := range []struct {
		name           string
		change         func() error
		local, missing bool
	}{
		{"normal", func() error { return nil }, false, false},
		{"link", func() error { return errors.Join(os.Rename(path, path+".x"), os.Symlink(path+".x", path)) }, true, false},
		{"mode", func() error { return errors.Join(os.Remove(path), os.Rename(path+".x", path), os.Chmod(path, 0o644)) }, true, false},
		{"damaged", func() error { return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("x"), 0o600)) }, true, false},
		{"missing", func() error { return os.Remove(path) }, false, true},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		if f := x.file(x.from); f == nil || f.Local != c.local || f.Missing != c.missing {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

// A sender's files are refused if this host could not use them, or if a name is not a valid name of a file.
func TestNewFiles(t *testing.T) {
	x := newExchange(t)
	good := x.file(x.from)
	for _, c := range []struct {
		name, domain, selector string
		metadata, pem          []byte
		ok                     bool
	}{
		{"good", exDomain, exSelector, good.Metadata, good.PEM, true},
		{"unmanaged", exDomain, exSelector, nil, good.PEM, true},
		{"path", "../x", exSelector, nil, good.PEM, false},
		{"upper case", "A.example", exSelector, nil, good.PEM, false},
		{"selector with a slash", exDomain, "a/b", nil, good.PEM, false},
		{"no selector", exDomain, "", nil, good.PEM, false},
		{"another domain", "b.example", exSelector, good.Metadata, good.PEM, false},
		{"another selector", exDomain, "s2", good.Metadata, good.PEM, false},
		{"no private key", exDomain, exSelector, good.Metadata, nil, false},
		{"nothing", exDomain, exSelector, nil, nil, false},
		{"damaged metadata", exDomain, exSelector, []byte("{"), good.PEM, false},
		{"damaged key", exDomain, exSelector, good.Metadata, []byte("x"), false},
	} {
		if _, err := NewFiles(c.domain, c.selector, c.metadata, c.pem, false); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Files reads a domain again only if it changed. A domain that another command has locked is unknown, not empty.
func TestFiles(t *testing.T) {
	x := newExchange(t)
	first, err := x.from.Files(nil)
	if err != nil || !slices.Equal(first.Names(), []string{exDomain}) {
		t.Fatal(first, err)
	}
	second, err := x.from.Files(first)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := first.Of(exDomain)
	b, ok := second.Of(exDomain)
	if !ok || a[exSelector] != b[exSelector] {
		t.Error("an unchanged domain was read again")
	}
	now := time.Now().UTC()
	x.set(func(m *Metadata) { m.Published = &now })
	unlock, err := x.from.Lock(t.Context(), exDomain)
	if err != nil {
		t.Fatal(err)
	}
	if third, err := x.from.Files(second); err != nil {
		t.Error(err)
	} else if files, ok := third.Of(exDomain); ok || files != nil {
		t.Errorf("a locked domain: %v", files)
	}
	unlock()
	fourth, err := x.from.Files(second)
	if err != nil {
		t.Fatal(err)
	}
	if files, ok := fourth.Of(exDomain); !ok || files[exSelector].Hash() == a[exSelector].Hash() {
		t.Error("a changed domain was not read")
	}
	if files, ok := fourth.Of("other.example"); !ok || len(files) != 0 {
		t.Errorf("a domain without keys: %v %v", files, ok)
	}
}
