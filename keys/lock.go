package keys

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockTimeout is how long Lock waits by default. Commands hold a lock for the time of a few writes, or of one publication.
	lockTimeout = 5 * time.Second
	// takeOverAfter is how long TakeOver waits for a lock that another command is about to release.
	takeOverAfter = 2 * time.Second
	// lockRetry is the time between attempts.
	lockRetry = 50 * time.Millisecond
)

// Lease is the lock on one domain that this process holds.
type Lease struct {
	dir  *os.Root
	name string
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
		return fmt.Errorf("checking the lock of %s: %w", l.name, err)
	}
	now, err := l.dir.Lstat(l.name)
	if err != nil || os.SameFile(held, now) {
		return nil
	}
	if st, ok := now.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
		return nil
	}
	return &lostLockError{fmt.Errorf("a dkimkey of root has taken over %s: nothing more is written here; try again when it has ended", l.name)}
}

// lostLockError is the error of a command that no longer has the lock: it must not go on.
type lostLockError struct{ err error }

func (e *lostLockError) Error() string { return e.err.Error() }
func (e *lostLockError) Unwrap() error { return e.err }

func (s Store) lockDir() string { return filepath.Join(s.State, "locks") }

// Busy is the error of a lock that another process holds.
type Busy struct {
	Name string // of the domain
	PID  int    // of the holder; 0: unknown
}

func (e *Busy) Error() string {
	return e.Name + " is locked by " + e.holder() + ": try again when it has ended"
}

func (e *Busy) holder() string {
	if e.PID == 0 {
		return "another process"
	}
	return "process " + strconv.Itoa(e.PID)
}

// Lock keeps other commands from working on a domain, and waits a few seconds where one does. A caller that waits for DNS, or for
// time to pass, releases it meanwhile. The error is a *Busy if another process keeps the lock.
func (s Store) Lock(ctx context.Context, domain string) (unlock func(), err error) {
	return s.lockWithin(ctx, domain, cmp.Or(s.LockTimeout, lockTimeout))
}

func (s Store) lockWithin(ctx context.Context, name string, limit time.Duration) (unlock func(), err error) {
	for deadline := time.Now().Add(limit); ; {
		unlock, err := s.TryLock(name)
		var busy *Busy
		if !errors.As(err, &busy) || time.Now().After(deadline) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockRetry):
		}
	}
}

// TryLock is Lock without a wait.
func (s Store) TryLock(domain string) (unlock func(), err error) {
	defer func() {
		if err != nil {
			if busy := (*Busy)(nil); !errors.As(err, &busy) {
				err = fmt.Errorf("locking %s: %w", domain, err)
			}
		}
	}()
	dir, err := s.openLocks()
	if err != nil {
		return nil, err
	}
	for {
		f, err := s.openLock(dir, domain)
		if err != nil {
			dir.Close()
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			pid := holder(f)
			f.Close()
			dir.Close()
			return nil, &Busy{domain, pid}
		}
		// The file may have been replaced, or removed, between the open and the lock.
		held, err := f.Stat()
		now, nowErr := dir.Lstat(domain)
		if err == nil && nowErr == nil && os.SameFile(held, now) {
			if err := s.checkLock(domain, held); err != nil {
				f.Close()
				dir.Close()
				return nil, err
			}
			if own, err := s.tree().ownerOf(s.State); err == nil {
				_ = own(f) // if this fails, the lock is held all the same
			}
			return s.hold(dir, domain, f), nil
		}
		f.Close()
	}
}

func (s Store) openLocks() (*os.Root, error) {
	dir, err := s.tree().open(s.lockDir())
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.MakeState("locks"); err == nil {
			dir, err = s.tree().open(s.lockDir())
		}
	}
	return dir, err
}

func (s Store) openLock(dir *os.Root, name string) (*os.File, error) {
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		// After a takeover it belongs to root. Read access is enough to lock it, except on NFS.
		f, err = dir.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, at(filepath.Join(s.lockDir(), name), err)
	}
	return f, nil
}

// checkLock refuses a lock that is no plain file, or that has a second name: the lock is truncated, and root gives it away. The owner
// of the directory could have linked it to a file of root.
func (s Store) checkLock(name string, fi fs.FileInfo) error {
	path := filepath.Join(s.lockDir(), name)
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: remove it", path)
	}
	if fi.Sys().(*syscall.Stat_t).Nlink != 1 {
		return fmt.Errorf("%s is a hard link to another file: remove it", path)
	}
	return nil
}

// maxPID is how much is read of a lock: the process ID of its holder.
const maxPID = 20

func holder(f *os.File) int {
	b := make([]byte, maxPID)
	n, _ := f.ReadAt(b, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return max(pid, 0)
}

// TakeOver is Lock for commands that cannot wait. If the caller is root and the lock stays busy, it replaces the lock, because
// any process of the directory's owner can hold the old one forever. A command that holds it legitimately stops at its next
// write, as if interrupted there; each step can be repeated.
func (s Store) TakeOver(ctx context.Context, domain string) (unlock func(), err error) {
	if os.Geteuid() != 0 {
		return s.Lock(ctx, domain)
	}
	unlock, err = s.lockWithin(ctx, domain, takeOverAfter)
	if err == nil || ctx.Err() != nil {
		return unlock, err
	}
	if unlock, err = s.replaceLock(domain); err != nil {
		return nil, fmt.Errorf("taking over the lock of %s: %w", domain, err)
	}
	return unlock, nil
}

func (s Store) replaceLock(domain string) (unlock func(), err error) {
	dir, err := s.openLocks()
	if err != nil {
		return nil, err
	}
	tmp := domain + tempMark + rand.Text() // not the process id, which a killed process may have used
	f, err := dir.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		dir.Close()
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		if err = f.Chmod(0o644); err == nil {
			if fi, statErr := dir.Lstat(domain); statErr == nil && fi.IsDir() {
				_ = dir.RemoveAll(domain)
			}
			err = dir.Rename(tmp, domain)
		}
	}
	if err != nil {
		f.Close()
		_ = dir.Remove(tmp)
		dir.Close()
		return nil, err
	}
	return s.hold(dir, domain, f), nil
}

func (s Store) hold(dir *os.Root, name string, f *os.File) (unlock func()) {
	// If this fails, a command that meets the lock cannot name the process.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if s.Lease != nil {
		*s.Lease = Lease{dir, name, f}
	}
	return func() {
		if f == nil {
			return
		}
		if s.Lease != nil {
			*s.Lease = Lease{}
		}
		_ = f.Truncate(0)
		// Closing alone is not enough: a child that is being forked may keep the file open for a moment.
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close()
		dir.Close()
		f = nil
	}
}
