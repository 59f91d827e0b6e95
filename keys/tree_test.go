package keys

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// world returns a state directory of user nobody, and a directory of root that must not change.
func world(t *testing.T) (s Store, outside string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("links that another user planted need root")
	}
	s, outside = newStore(t), t.TempDir()
	for _, dir := range []string{s.State, s.Dir} {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "file"), []byte("of root"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, outside
}

func plant(t *testing.T, target, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(path), os.Symlink(target, path), os.Lchown(path, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
}

// untouched returns a description of a directory: its files with their owners, modes and contents.
func untouched(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		fmt.Fprintln(&b, path, fi.Mode(), st.Uid, st.Gid, fi.ModTime().UnixNano(), fi.Size())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Root's dkimkey works in directories of user signpost. Links that this user creates there do not make root write, delete or
// chown files elsewhere.
func TestPlantedLinks(t *testing.T) {
	for name, where := range map[string]string{
		"the keys directory": "keys", "a domain": "keys/example.org", "a domain with a key": "keys/example.net", "hosted": "hosted", "a hosted domain": "hosted/example.org",
		"observed": "observed", "an observed domain": "observed/example.org", "locks": "locks", "a lock": "locks/example.org", "the last run": "rotate.json",
	} {
		t.Run(name, func(t *testing.T) {
			s, outside := world(t)
			create(t, s, "example.net", "ed25519")
			target := outside
			if filepath.Ext(where) != "" && !strings.HasPrefix(where, "keys") && !strings.HasPrefix(where, "observed") {
				target = filepath.Join(outside, "file")
			}
			plant(t, target, filepath.Join(s.State, where))
			before := untouched(t, outside)
			_ = s.Make()
			_, _ = s.Load(nil)
			for _, domain := range []string{"example.org", "example.net"} {
				unlock, err := s.TakeOver(t.Context(), domain)
				if err != nil {
					continue
				}
				if l, err := s.Create(Options{Domain: domain, Algorithm: "ed25519"}); err == nil {
					_, _ = s.Activate(domain, l.Selector)
					_ = s.removePEM(domain, l.Selector)
				}
				_ = s.Host(domain)
				_ = s.Unhost(domain)
				_ = s.Remove(domain)
				unlock()
			}
			_ = s.MakeState("hosted", "observed", "locks")
			_ = s.WriteState("rotate.json", []byte("{}"))
			if after := untouched(t, outside); after != before {
				t.Errorf("before:\n%safter:\n%s", before, after)
			}
		})
	}
}

// If a domain directory is a link that root does not follow, only this domain has an error.
func TestLinkedDomain(t *testing.T) {
	s, outside := world(t)
	l := create(t, s, "example.org", "ed25519")
	activate(t, s, l)
	plant(t, outside, filepath.Join(s.Dir, "example.net"))
	set := load(t, s, nil)
	if got := selectors(set.Signing("example.org")); got != l.Selector {
		t.Errorf("%q signs", got)
	}
	if of := set.Of("example.net"); len(of) != 1 || of[0].Err == nil || !strings.Contains(of[0].Err.Error(), "root does not follow") {
		t.Errorf("%+v", of)
	}
}

// The choice of a selector ends even if the directory of the domain was replaced by a link.
func TestSelectorInLink(t *testing.T) {
	s, outside := world(t)
	plant(t, outside, s.domainDir("example.org"))
	selector := s.datedSelector("example.org", "rsa", nil)
	if _, err := s.checkSelector("example.org", selector, false); err == nil || len(selector) > 63 {
		t.Errorf("%q %v", selector, err)
	}
}

// A link leads to a systemd credential only if its target is in /run/credentials.
func TestCredentialLink(t *testing.T) {
	s, outside := world(t)
	plant(t, "/run/credentials/../.."+outside+"/file", s.pemPath("example.org", "mail"))
	if k := load(t, s, nil).find("example.org", "mail"); k == nil || k.Elsewhere || k.Err == nil || !strings.Contains(k.Err.Error(), "root does not follow") {
		t.Errorf("%+v", k)
	}
}

// A FIFO in place of a file does not block root's command.
func TestFIFO(t *testing.T) {
	s, _ := world(t)
	l := create(t, s, "example.org", "ed25519")
	for _, path := range []string{s.pemPath("example.org", l.Selector), s.metadataPath("example.org", l.Selector)} {
		if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		done := make(chan *Set, 1)
		go func() {
			set, _ := s.Load(nil)
			done <- set
		}()
		select {
		case set := <-done:
			if k := set.All()[0]; k.Err == nil || !strings.Contains(k.Err.Error(), "regular file") {
				t.Errorf("%s: %v", path, k.Err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the read of a FIFO blocks")
		}
	}
}

// The next run deletes the temporary file of an interrupted write. It keeps the backup file that an editor made of a key.
func TestTemporaryFiles(t *testing.T) {
	s := newStore(t)
	dir := s.domainDir("example.org")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mail.pem", "mail.pem~", "mail.pem~" + rand.Text()} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.removeWhere("example.org", isTemp); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 || filepath.Base(left[1]) != "mail.pem~" {
		t.Errorf("%q %v", left, err)
	}
}

// A FIFO in place of a directory blocks neither root nor the daemon.
func TestFIFOForDirectory(t *testing.T) {
	for _, where := range []string{"", "keys", "keys/example.org", "keys/example.net", "hosted", "observed", "observed/example.org", "locks", "locks/example.org"} {
		s := newStore(t)
		create(t, s, "example.org", "ed25519")
		path := filepath.Join(s.State, where)
		if err := errors.Join(os.RemoveAll(path), os.MkdirAll(filepath.Dir(path), 0o700)); err != nil {
			t.Fatal(err)
		}
		fifo := path
		if where == "keys/example.net" { // through a link
			fifo = filepath.Join(s.Dir, "ff")
			if err := os.Symlink("ff", path); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		done := make(chan bool)
		go func() {
			defer close(done)
			_, _ = s.Load(nil)
			_, _ = s.Hosted()
			_, _ = s.TryLock("example.org")
			_ = s.MakeState("hosted", "observed", "locks")
			_ = s.Remove("example.org")
		}()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Errorf("%q: a FIFO blocks", where)
		}
	}
}
