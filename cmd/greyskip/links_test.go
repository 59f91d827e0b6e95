package main

import (
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

const nobody = 65534

// snapshot returns a description of all files in a directory: names, modes, owners, times and contents.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		s := fi.Sys().(*syscall.Stat_t)
		fmt.Fprintln(&all, path, fi.Mode(), s.Uid, s.Gid, fi.ModTime())
		if fi.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			fmt.Fprintf(&all, "%s\n", data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// Root writes a list to another user's directory. This directory contains links and a pipe. No file outside of that directory is created or
// changed. The error names the link.
func TestPlantedLinks(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("giving a directory to another user needs root")
	}
	const refused = "symbolic link not followed"
	for name, c := range map[string]struct {
		link, to string // link is relative to the user's directory, to is relative to root's directory
		output   string // relative to the user's directory; empty: list
		says     string // empty: the list is written
	}{
		"list":              {"list", "made-by-greyskip", "", refused},
		"list, relative":    {"list", "../etc/made-by-greyskip", "", refused},
		"list, to nothing":  {"list", "new", "", refused},
		"state":             {"list.state", "secret", "", refused},
		"state, to nothing": {"list.state", "new", "", refused},
		"lock":              {".list.lock", "secret", "", refused},
		"lock, to nothing":  {".list.lock", "new", "", refused},
		"temporary name":    {".list.new", "secret", "", ""},
		"temporary state":   {".list.state.new", "secret", "", ""},
		"directory":         {"lists", ".", "lists/list", "lists"},
		"directory above":   {"lists", "..", "lists/etc/new", "lists"},
		"pipe":              {"list", "", "", "list: not a regular file"},
		"state pipe":        {"list.state", "", "", "list.state: not a regular file"},
		"lock pipe":         {".list.lock", "", "", ".list.lock: not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, records, "one.example\n")
			etc, theirs := filepath.Join(w.dir, "etc"), filepath.Join(w.dir, "theirs")
			for _, dir := range []string{etc, theirs} {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(etc, "secret"), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
			w.list = filepath.Join(etc, "made-by-greyskip")
			w.quiet(w.cron(0))
			link, to := filepath.Join(theirs, c.link), c.to
			if !strings.HasPrefix(to, "../") {
				to = filepath.Join(etc, c.to)
			}
			plant := func() error { return os.Symlink(to, link) }
			if c.to == "" {
				plant = func() error { return syscall.Mkfifo(link, 0o600) }
			}
			err := plant()
			if err == nil {
				err = os.Lchown(link, nobody, nobody)
			}
			if err == nil {
				err = os.Lchown(theirs, nobody, nobody)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, etc)
			w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.10.0/24", 1))
			w.list = filepath.Join(theirs, "list")
			if c.output != "" {
				w.list = filepath.Join(theirs, c.output)
			}
			out, errs, code := w.run("-f", w.file, "-o", w.list, "--force")
			if want := c.says != ""; (code != 0) != want || !strings.Contains(out+errs, c.says) {
				t.Errorf("exit code %d: %s%s", code, out, errs)
			}
			w.run("-f", w.file, "-o", w.list, "--force") // runs with the files that the first run left
			if after := snapshot(t, etc); after != before {
				t.Errorf("root's files were\n%s\nand are\n%s", before, after)
			}
			if c.says == "" {
				w.contains(w.entries(), "37.0.10.0/24")
			}
		})
	}
}

// greyskip follows links that root created in root's directories. A link may be in place of the list, its state file or a directory. The
// links may lead to a directory of another user.
func TestRootsLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\n")
	srv := filepath.Join(w.dir, "srv")
	if err := os.Mkdir(srv, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(srv, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"list": "way/list", "way": srv} {
		if err := os.Symlink(to, filepath.Join(w.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		w.quiet(w.cron(0))
	}
	w.contains(w.entries(), "37.0.9.0/24")
	for _, name := range []string{"list", "list.state"} {
		if _, err := os.Lstat(filepath.Join(srv, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Readlink(w.list); err != nil {
		t.Error("the link was replaced:", err)
	}
}

// The next run that replaces the file deletes the temporary files of killed runs. It keeps other files.
func TestStaleDrafts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\n")
	stale := filepath.Join(w.dir, "list~ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	others := []string{filepath.Join(w.dir, "list~old"), filepath.Join(w.dir, "list2~ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
	for _, path := range append(others, stale) {
		w.put(path, "half a list")
	}
	w.quiet(w.cron(0))
	if _, err := os.Lstat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it stays:", err)
	}
	for _, path := range others {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

// When root replaces the list, its owner and mode do not change.
func TestOwnerStays(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("giving a file to another user needs root")
	}
	w := newWorld(t, records, "one.example\n")
	w.quiet(w.cron(0))
	if err := os.Chown(w.list, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(w.list, 0o640); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Hour)
	w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.10.0/24", 1))
	w.quiet(w.cron(0))
	fi := stat(t, w.list)
	if s := fi.Sys().(*syscall.Stat_t); s.Uid != nobody || s.Gid != nobody || fi.Mode() != 0o640 {
		t.Errorf("owner %d:%d, mode %v", s.Uid, s.Gid, fi.Mode())
	}
}
