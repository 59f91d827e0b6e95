package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T) (*os.Root, string) {
	t.Helper()
	path := t.TempDir()
	dir, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if err := os.WriteFile(filepath.Join(path, "f"), []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

// The old contents remain until the draft is committed, and also if the draft cannot be prepared. No other file is left in the directory.
func TestDraft(t *testing.T) {
	dir, path := open(t)
	expect := func(want string) {
		t.Helper()
		if text, err := os.ReadFile(filepath.Join(path, "f")); err != nil || string(text) != want {
			t.Errorf("%q %v, want %q", text, err, want)
		}
	}
	d, err := NewDraft(dir, "f", []byte("new"), 0o600, Keep(dir, "f", 0o644))
	if err != nil {
		t.Fatal(err)
	}
	expect("old")
	names, err := filepath.Glob(path + "/f~*")
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if of, ok := TempOf(filepath.Base(names[0])); !ok || of != "f" {
		t.Errorf("%s is not recognised: %q", names[0], of)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	expect("new")
	if fi, err := os.Stat(filepath.Join(path, "f")); err != nil || fi.Mode() != 0o640 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	full := errors.New("no space left")
	if err := Write(dir, "f", []byte("newer"), 0o600, func(*os.File) error { return full }); !errors.Is(err, full) {
		t.Error(err)
	}
	expect("new")
	if left, err := os.ReadDir(path); err != nil || len(left) != 1 {
		t.Errorf("%v %v", left, err)
	}
}

// CommitNew creates a file, and replaces none.
func TestCommitNew(t *testing.T) {
	dir, path := open(t)
	for name, want := range map[string]string{"f": "old", "g": "new"} {
		d, err := NewDraft(dir, name, []byte("new"), 0o600, Keep(dir, name, 0o600))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.CommitNew(); errors.Is(err, fs.ErrExist) != (want == "old") || err != nil && want == "new" {
			t.Errorf("%s: %v", name, err)
		}
		if text, err := os.ReadFile(filepath.Join(path, name)); err != nil || string(text) != want {
			t.Errorf("%s: %q %v", name, text, err)
		}
	}
	if left, err := os.ReadDir(path); err != nil || len(left) != 2 {
		t.Errorf("%v %v", left, err)
	}
}

// The name of a temporary file is the name of its file, followed by a mark and random characters.
func TestTempOf(t *testing.T) {
	random := strings.Repeat("A2", 13)
	for name, want := range map[string]string{"f~" + random: "f", "a~b~" + random: "a~b", "f~": "", "f": "", "f~" + random + "~": ""} {
		if of, ok := TempOf(name); ok != (want != "") || ok && of != want {
			t.Errorf("%s: %q %v, want %q", name, of, ok, want)
		}
	}
}

// Only one process holds a lock, and other processes can read the process ID of the holder. TryLock refuses links, because another user
// could have created them.
func TestLock(t *testing.T) {
	dir, path := open(t)
	lock, err := TryLock(dir, filepath.Join(path, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	lock.WritePID()
	var busy *BusyError
	if _, err := TryLock(dir, filepath.Join(path, "lock")); !errors.As(err, &busy) || busy.PID != os.Getpid() {
		t.Errorf("%v", err)
	}
	if now, err := lock.Current(); err != nil || now != nil {
		t.Errorf("%v %v", now, err)
	}
	other, err := ReplaceLock(dir, "lock")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Unlock()
	if now, err := lock.Current(); err != nil || now == nil {
		t.Errorf("the lock was replaced: %v %v", now, err)
	}
	lock.Unlock()
	if err := errors.Join(os.Link(path+"/f", path+"/hard"), os.Symlink("f", path+"/soft")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hard", "soft"} {
		if _, err := TryLock(dir, filepath.Join(path, name)); err == nil {
			t.Errorf("a %s link is locked", name)
		}
	}
}
