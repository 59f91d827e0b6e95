package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// takeOverAfter is how long TakeOver waits for a lock that another command is about to release.
	takeOverAfter = 2 * time.Second
	// takeOverRetry is the time between its attempts.
	takeOverRetry = 100 * time.Millisecond
)

// Lease is the lock on a keys directory that a process holds.
type Lease struct {
	path string
	file *os.File
}

// check returns an error if root has taken over the lock. Only a file of root counts, because the owner of the directory could
// replace the lock to stop others.
func (l *Lease) check() error {
	if l == nil || l.file == nil {
		return nil
	}
	held, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("checking the lock of the keys directory: %w", err)
	}
	now, err := os.Lstat(l.path)
	if err != nil || os.SameFile(held, now) {
		return nil
	}
	if st, ok := now.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
		return nil
	}
	return errors.New("a dkimkey of root has taken over the keys directory: nothing more is written here; try again when it has ended")
}

func (s Store) lockPath() string { return filepath.Join(s.Dir, ".lock") }

// Lock prevents two commands from working on one keys directory at a time. The caller calls unlock.
func (s Store) Lock() (unlock func(), err error) {
	f, err := os.OpenFile(s.lockPath(), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		// After a takeover it belongs to root. Read access is enough to lock it, except on NFS.
		f, err = os.OpenFile(s.lockPath(), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the keys directory: %w", err)
	}
	if err := chownLike(s.lockPath(), s.Dir); err != nil {
		f.Close()
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, busyError("another dkimkey works on " + s.Dir + ": try again when it has ended")
	}
	return s.hold(f), nil
}

// busyError is the error of Lock while another process holds the lock.
type busyError string

func (e busyError) Error() string { return string(e) }

// TakeOver is Lock for commands that cannot wait. If the caller is root and the lock stays busy, it replaces the lock, because
// any process of the directory's owner can hold the old one forever. A command that holds it legitimately stops at its next
// write, as if interrupted there; each step can be repeated.
func (s Store) TakeOver() (unlock func(), err error) {
	for deadline := time.Now().Add(takeOverAfter); ; time.Sleep(takeOverRetry) {
		unlock, err := s.Lock()
		var busy busyError
		if err == nil || !errors.As(err, &busy) || os.Geteuid() != 0 {
			return unlock, err
		}
		if time.Now().After(deadline) {
			return s.replaceLock()
		}
	}
}

func (s Store) replaceLock() (unlock func(), err error) {
	f, err := os.CreateTemp(s.Dir, ".lock-*")
	if err != nil {
		return nil, fmt.Errorf("taking over the lock of the keys directory: %w", err)
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		if err = f.Chmod(0o644); err == nil {
			err = os.Rename(f.Name(), s.lockPath())
		}
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, fmt.Errorf("taking over the lock of the keys directory: %w", err)
	}
	return s.hold(f), nil
}

func (s Store) hold(f *os.File) (unlock func()) {
	if s.Lease != nil {
		*s.Lease = Lease{s.lockPath(), f}
	}
	return func() {
		if s.Lease != nil {
			*s.Lease = Lease{}
		}
		// Closing alone is not enough: a child that is being forked may keep the file open for a moment.
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close()
	}
}
