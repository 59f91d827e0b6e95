package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asNobody runs f as user nobody, like the daemon. All threads of the process change their user.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("acting as another user needs root")
	}
	if err := syscall.Seteuid(65534); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Seteuid(0); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// A domain directory that cannot be used is an error of that domain. Other domains are read, the daemon starts, and keys that
// signed before continue to sign.
func TestUnusableDomainDirectory(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"unreadable":     func(path string) error { return os.Mkdir(path, 0o700) },
		"link loop":      func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"link to a file": func(path string) error { return os.Symlink("file", path) },
		"dangling link":  func(path string) error { return os.Symlink("nothing", path) },
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := world(t)
			if err := os.Chmod(filepath.Dir(s.State), 0o755); err != nil {
				t.Fatal(err)
			}
			var made []*Metadata
			for _, domain := range []string{"a.example", "b.example"} {
				l := create(t, s, domain, "ed25519")
				activate(t, s, l)
				made = append(made, l)
			}
			if err := os.WriteFile(filepath.Join(s.Dir, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			path := s.domainDir("b.example")
			asNobody(t, func() {
				var log bytes.Buffer
				w, err := Open(s, slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				if err := syscall.Seteuid(0); err != nil {
					t.Fatal(err)
				}
				err = errors.Join(os.Rename(path, path+"~"), spoil(path), syscall.Seteuid(65534))
				if err != nil {
					t.Fatal(err)
				}
				w.Reload()
				set := w.Current().Set
				for _, l := range made {
					if got := selectors(set.Signing(l.Domain)); got != l.Selector {
						t.Errorf("%s: %q signs", l.Domain, got)
					}
				}
				if w.Fault() != "" || !strings.Contains(log.String(), `msg="key not usable" domain=b.example selector=`+made[1].Selector) || !strings.Contains(log.String(), "old_key_kept=true") {
					t.Errorf("%s\n%s", w.Fault(), &log)
				}
				log.Reset()
				if w, err = Open(s, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
					t.Fatal(err)
				}
				set = w.Current().Set
				if got := selectors(set.Signing("a.example")); got != made[0].Selector || len(set.Signing("b.example")) > 0 {
					t.Errorf("%q signs", got)
				}
				if of := set.Of("b.example"); len(of) != 1 || of[0].Err == nil || !strings.Contains(of[0].Err.Error(), path) {
					t.Errorf("%+v", of)
				}
			})
		})
	}
}

// Names in upper case and U-labels are errors: DNS and the code use lower case and A-labels.
func TestMisnamedKeys(t *testing.T) {
	s := newStore(t)
	for _, path := range []string{"B.a.example/m.pem", "c.a.example/Mail.pem", "c.a.example/mail.pem", "bücher.example/m.pem"} {
		path = filepath.Join(s.Dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(pemOf(t, "PRIVATE KEY")), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.Dir, "Backup"), 0o700); err != nil { // has no keys
		t.Fatal(err)
	}
	set := load(t, s, nil)
	if got := strings.Join(set.Known(), " "); got != "b.a.example c.a.example xn--bcher-kva.example" {
		t.Error(got)
	}
	for domain, want := range map[string]string{
		"b.a.example":           "B.a.example: rename it to lower case: b.a.example",
		"c.a.example":           "c.a.example/Mail.pem: rename it to lower case: mail.pem",
		"xn--bcher-kva.example": "bücher.example: rename it to its A-label form: xn--bcher-kva.example",
	} {
		one, err := s.LoadDomain(domain, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range [][]*Key{set.Of(domain), one.Of(domain)} {
			if len(of) == 0 || of[0].Err == nil || of[0].Err.Error() != filepath.Join(s.Dir, want) || of[0].State != Unusable {
				t.Errorf("%s: %+v", domain, of)
			}
		}
	}
	if k := set.find("c.a.example", "mail"); k == nil || k.Err != nil {
		t.Errorf("the file with the right name: %+v", k)
	}
	// A second directory does not hide the first.
	create(t, s, "b.a.example", "ed25519")
	if of := load(t, s, nil).Of("b.a.example"); len(of) != 2 || of[0].Err == nil || of[1].Err != nil {
		t.Errorf("%+v", of)
	}
}

// The errors of files have no Go error text.
func TestFileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"{":                                  "invalid JSON at byte 1",
		"[]":                                 "a value is not valid",
		`{"bits": "many"}`:                   `"bits" is not valid`,
		`{"created": "x"}`:                   "a value is not valid",
		`{"created": "x", "ttl": "forever"}`: "a value is not valid",
	} {
		if _, err := parseMetadata("/k/s.json", []byte(text), "example.org", "s"); err == nil || !strings.HasPrefix(err.Error(), "/k/s.json is damaged: "+want+"; restore it from a backup, or remove it") {
			t.Errorf("%s: %v", text, err)
		}
	}
	s := newStore(t)
	create(t, s, "example.org", "ed25519")
	dir := s.domainDir("example.org")
	if err := errors.Join(os.Symlink("/etc/passwd", filepath.Join(dir, "l.json")), os.MkdirAll(filepath.Join(dir, "d", "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.readMetadata("example.org", "l"); err == nil || err.Error() != "open "+filepath.Join(dir, "l.json")+": is a link out of its directory" {
		t.Error(err)
	}
	// The last words of an error depend on the release of Go.
	words := regexp.MustCompile("^writing " + regexp.QuoteMeta(s.Dir) + ": rename " + regexp.QuoteMeta(s.Dir) + ": (file exists|is a directory)$")
	if err := s.WriteState("keys", nil); err == nil || !words.MatchString(err.Error()) {
		t.Error(err)
	}
	if err := s.tree().Remove(filepath.Join(dir, "d")); err == nil || err.Error() != "remove "+filepath.Join(dir, "d")+": directory not empty" {
		t.Error(err)
	}
}

// RemoveDomain deletes only files and links. A directory with the name of a key or of a temporary file stays and is not an error.
func TestRemoveKeepsDirectories(t *testing.T) {
	s := newStore(t)
	l := create(t, s, "example.org", "ed25519")
	for _, name := range []string{"z.pem/x", "y.json", "s.pem~ABCDEFGHIJKLMNOPQRSTUVWXYZ/x"} {
		if err := os.MkdirAll(filepath.Join(s.domainDir("example.org"), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.removeWhere("example.org", isTemp); err != nil {
		t.Error(err)
	}
	if err := s.Remove("example.org"); err != nil {
		t.Error(err)
	}
	if s.tree().Exists(s.pemPath("example.org", l.Selector)) || s.tree().Exists(s.metadataPath("example.org", l.Selector)) {
		t.Error("the key is still there")
	}
	if left, _ := os.ReadDir(s.domainDir("example.org")); len(left) != 3 {
		t.Errorf("%v", left)
	}
}

// A file without read permission needs no correction. The error of a file with OpenDKIM's name already contains the correction.
func TestActionOfUnusable(t *testing.T) {
	for want, keys := range map[string][]Key{
		"": {{Err: fmt.Errorf("reading: %w", fs.ErrPermission)}, {Err: errors.New("x"), Foreign: true}, {Err: errors.New("x"), Elsewhere: true}},
		"correct the file, or move it out of the keys directory": {{Err: errors.New("x")}},
	} {
		for _, k := range keys {
			s := Status{Key: &k}
			if got := s.action(Rules{}, time.Now()); got != want || s.Unusable() == k.Elsewhere {
				t.Errorf("%+v: %q", k, got)
			}
		}
	}
}
