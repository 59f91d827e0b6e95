package owner_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"signpost/internal/owner"
)

const nobody = 65534

// tree creates directories (a slash at the end), files and symbolic links (NAME -> TARGET) in a temporary directory. A name with a
// leading "!" belongs to the user nobody.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name, theirs := strings.CutPrefix(name, "!")
		name, target, link := strings.Cut(name, " -> ")
		path := filepath.Join(top, name)
		switch {
		case link:
			err = os.Symlink(strings.ReplaceAll(target, "TOP", top), path)
		case strings.HasSuffix(name, "/"):
			err = os.Mkdir(path, 0o755)
		default:
			err = os.WriteFile(path, nil, 0o644)
		}
		if err == nil && theirs {
			err = os.Lchown(path, nobody, nobody)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// Root follows its own links up to the first directory of another user. It follows no link of another user.
func TestFind(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a directory to another user needs root")
	}
	top := tree(t, "a/", "a/file", "!theirs/", "!theirs/sub/", "!theirs/out -> /etc", "theirs/root -> /etc", "link -> a", "to -> TOP/theirs/sub", "up -> link/../a/file",
		"loop -> loop", "!planted -> a", "!a/owned", "dangling -> a/new", "lost -> none/new")
	for path, want := range map[string]string{
		"a/file":        "a file",
		"a/none":        "a none",
		"a/owned":       "a owned",
		"link/file":     "a file",
		"up":            "a file",
		"dangling":      "a new",
		"a/../a/file":   "a file",
		"theirs":        "theirs . foreign",
		"theirs/x":      "theirs x foreign",
		"theirs/sub/x":  "theirs sub/x foreign",
		"theirs/out/x":  "theirs out/x foreign",
		"theirs/root/x": "theirs root/x foreign",
		"to/x":          "theirs sub/x foreign",
		"planted/file":  "planted: is a symbolic link owned by another user; root does not follow it",
		"loop":          "too many levels of symbolic links",
		"lost":          "no such file or directory",
		"a/none/x":      "no such file or directory",
	} {
		p, err := owner.Find(top + "/" + path)
		got := strings.TrimPrefix(p.Dir, top+"/") + " " + p.Rest
		if p.Foreign {
			got += " foreign"
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if p.Foreign && (p.UID != nobody || p.GID != nobody) {
			t.Errorf("%s: owner %d:%d", path, p.UID, p.GID)
		}
	}
}

// The user is the owner of the directory, or of the nearest parent that exists.
func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a directory to another user needs root")
	}
	top := tree(t, "!theirs/", "!theirs/sub/", "theirs/file", "link -> theirs")
	for path, want := range map[string]int{
		"": 0, "none": 0, "theirs": nobody, "theirs/file": nobody, "theirs/none/x": nobody, "theirs/sub": nobody, "link/none": nobody,
	} {
		if uid, name := owner.User(filepath.Join(top, path)); uid != want || name == "" {
			t.Errorf("%s: %d %q, want %d", path, uid, name, want)
		}
	}
}

// A file that is opened below a foreign directory is really below it. The directory is the one that Find returned.
func TestOpen(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a directory to another user needs root")
	}
	top := tree(t, "etc/", "etc/file", "!theirs/", "!theirs/sub/", "!theirs/in -> sub", "!theirs/out -> TOP/etc", "!theirs/up -> ../etc")
	for path, ok := range map[string]bool{"theirs/x": true, "theirs/sub/x": true, "theirs/in/x": true, "theirs/out/file": false, "theirs/up/file": false, "etc/file": true} {
		p, err := owner.Find(filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		root, name, err := p.Open()
		if (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			if name != filepath.Base(path) {
				t.Errorf("%s: %s", path, name)
			}
			root.Close()
		}
	}
	p, err := owner.Find(filepath.Join(top, "theirs", "x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(top, "theirs"), filepath.Join(top, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("etc", filepath.Join(top, "theirs")); err != nil {
		t.Fatal(err)
	}
	if root, _, err := p.Open(); err == nil || !strings.Contains(err.Error(), "was replaced while it was opened") {
		t.Errorf("%v %v", root, err)
	}
}

// A FIFO in place of a directory does not block the program.
func TestOpenFIFO(t *testing.T) {
	top := tree(t, "!state/")
	path := filepath.Join(top, "state/journal")
	p, err := owner.Find(filepath.Join(path, "journal.db"))
	if os.Geteuid() != 0 {
		t.Skip("only root distinguishes owners")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, _, err := p.Open()
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, syscall.ENOTDIR) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("opening a FIFO blocks")
	}
}
