package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A password file is read only if no other user can read or replace it. It may be a pipe, and is read once.
func TestPasswordFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing the owner of files needs root")
	}
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode, uid int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, -1); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := func(name, to string, uid int) string {
		path := filepath.Join(dir, name)
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(path, uid, -1); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good", "secret word\r\nmore\n", 0o600, 0)
	theirs := filepath.Join(dir, "theirs")
	if err := os.Mkdir(theirs, 0o755); err != nil {
		t.Fatal(err)
	}
	file("theirs/password", "secret\n", 0o600, 0)
	if err := os.Chown(theirs, 1, -1); err != nil {
		t.Fatal(err)
	}
	idle := filepath.Join(dir, "fifo") // no process writes to it
	if err := syscall.Mkfifo(idle, 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("from a pipe\n"); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, c := range []struct{ name, want, fails string }{
		{good, "secret word", ""}, {link("own", good, 0), "secret word", ""}, {fmt.Sprint("/dev/fd/", r.Fd()), "from a pipe", ""},
		{file("other", "secret\n", 0o600, 1), "", "belongs to another user"}, {file("mode", "secret\n", 0o640, 0), "", "other users can read"}, {link("foreign", good, 1), "", "symbolic link owned by another user"},
		{filepath.Join(theirs, "password"), "", "another user owns the directory"}, {file("empty", "\nsecret\n", 0o600, 0), "", "no password"}, {file("nul", "a\x00b\n", 0o600, 0), "", "no password"},
		{file("long", strings.Repeat("x", 2000), 0o600, 0), "", "no password"}, {idle, "", "no password"}, {"/dev/zero", "", "no password"}, {dir, "", "directory"}, {filepath.Join(dir, "none"), "", "no such file"},
	} {
		got, err := readPassword(c.name)
		if got != c.want || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: %q %v, want %q %q", c.name, got, err, c.want, c.fails)
		}
	}
}
