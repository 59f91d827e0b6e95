package keys

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"signpost/internal/durable"
)

// lock locks example.org as another process would: each call opens the lock file again.
func lock(t *testing.T, s Store) (unlock func()) {
	t.Helper()
	unlock, err := s.TryLock("example.org")
	if err != nil {
		t.Fatal(err)
	}
	return unlock
}

// The files that root's dkimkey writes belong to the owner of the directory, so that the daemon can read them.
func TestFilesBelongToTheDirectorysOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("files of another owner need root")
	}
	s := newStore(t)
	for _, dir := range []string{s.State, s.Dir} {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	l := create(t, s, "example.org", "rsa")
	activate(t, s, l)
	lock(t, s)()
	for _, path := range []string{s.pemPath(l.Domain, l.Selector), s.metadataPath(l.Domain, l.Selector), filepath.Join(s.Dir, l.Domain), s.lockDir(),
		filepath.Join(s.lockDir(), l.Domain), filepath.Join(s.State, "hosted"), s.hostedPath(l.Domain)} {
		if uid, gid := owner(t, path); uid != 65534 || gid != 65534 {
			t.Errorf("%s belongs to %d:%d", path, uid, gid)
		}
	}
}

// Any process of the directory's owner can hold the lock forever. Root takes over the lock, and the command that held the lock stops
// writing.
func TestTakeOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root takes a lock over")
	}
	s := newStore(t)
	for _, dir := range []string{s.State, s.Dir} {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	s.Lease = new(Lease)
	l := create(t, s, "example.org", "rsa")
	defer lock(t, s)()
	root := s
	root.Lease = new(Lease)
	release, err := root.TakeOver(t.Context(), "example.org")
	if err != nil {
		t.Fatal(err)
	}
	if err := root.writeMetadata(l); err != nil {
		t.Error(err)
	}
	if err := s.writeMetadata(l); err == nil || !strings.Contains(err.Error(), "taken over") {
		t.Errorf("the command that lost the lock still writes: %v", err)
	}
	if err := s.removePEM(l.Domain, l.Selector); err == nil {
		t.Error("the command that lost the lock still deletes")
	}
	if _, err := s.TryLock("example.org"); err == nil {
		t.Error("two commands have the lock")
	}
	// The owner of the directory replaces the lock. This does not stop root.
	path := filepath.Join(root.lockDir(), "example.org")
	if err := os.Rename(path, path+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := root.writeMetadata(l); err != nil {
		t.Error(err)
	}
	release()
	lock(t, s)()
	if left, _ := filepath.Glob(filepath.Join(s.lockDir(), "*"+durable.TempMark+"*")); len(left) > 0 {
		t.Errorf("files left behind: %v", left)
	}
}

// The owner of the directory cannot prevent root from taking the lock, and cannot make root write to another file, whatever file replaces
// the lock.
func TestTakeOverOfOddLocks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root takes a lock over")
	}
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte("of root"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(path string) error{
		"link out":      func(path string) error { return os.Symlink(target, path) },
		"dangling link": func(path string) error { return os.Symlink(target+".new", path) },
		"hard link":     func(path string) error { return os.Link(target, path) },
		"FIFO":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory":     func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := s.MakeState("locks"); err != nil {
				t.Fatal(err)
			}
			if err := plant(filepath.Join(s.lockDir(), "example.org")); err != nil {
				t.Fatal(err)
			}
			if unlock, err := s.TryLock("example.org"); err == nil {
				unlock()
				t.Error("TryLock accepts it")
			}
			unlock, err := s.TakeOver(t.Context(), "example.org")
			if err != nil {
				t.Fatal(err)
			}
			unlock()
			if data, err := os.ReadFile(target); err != nil || string(data) != "of root" {
				t.Errorf("the file outside has %q %v", data, err)
			}
			if _, err := os.Lstat(target + ".new"); err == nil {
				t.Error("a file was created outside the directory")
			}
		})
	}
}

// The error of a locked domain has the process ID of the holder. Other domains are not locked.
func TestLockIsExclusive(t *testing.T) {
	s := newStore(t)
	unlock := lock(t, s)
	_, err := s.TryLock("example.org")
	var busy *Busy
	if !errors.As(err, &busy) || busy.PID != os.Getpid() {
		t.Errorf("two commands have the lock: %v", err)
	}
	if other, err := s.TryLock("example.net"); err != nil {
		t.Errorf("the lock of one domain locks another: %v", err)
	} else {
		other()
	}
	unlock()
	lock(t, s)()
}
