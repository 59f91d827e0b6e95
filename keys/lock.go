package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"signpost/internal/durable"
)

const (
	// lockTimeout is the default timeout of Lock. Commands hold a lock during a few writes or one publication.
	lockTimeout = 5 * time.Second
	// takeOverAfter is how long TakeOver waits before it replaces a lock.
	takeOverAfter = 2 * time.Second
	// lockRetry is the time between two attempts.
	lockRetry = 50 * time.Millisecond
)

// Lease is the lock on one domain that this process holds.
type Lease struct {
	name string
	lock *durable.Lock
}

// check returns an error if root has taken over the lock. check ignores a lock file that has another owner. Otherwise, the owner of the
// directory could replace the lock to stop root.
func (l *Lease) check() error {
	if l == nil || l.lock == nil {
		return nil
	}
	now, err := l.lock.Current()
	if err != nil {
		return fmt.Errorf("checking the lock of %s: %w", l.name, err)
	}
	if now == nil || !ownedByRoot(now) {
		return nil
	}
	return &lostLockError{fmt.Errorf("dkimkey run by root has taken over the lock of %s: this run stops; try again when it has finished", l.name)}
}

func ownedByRoot(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0
}

// lostLockError is the error of a command that no longer has the lock and must stop.
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
	return e.Name + " is locked by " + e.Holder() + ": try again when it has finished"
}

// Holder returns "process PID", or "another process" if the PID is unknown.
func (e *Busy) Holder() string {
	if e.PID == 0 {
		return "another process"
	}
	return "process " + strconv.Itoa(e.PID)
}

// Lock locks a domain against other commands. It waits at most LockTimeout for the lock, and then returns a *Busy. Callers release the lock
// during DNS lookups and other waits.
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

// TryLock is like Lock but does not wait.
func (s Store) TryLock(domain string) (unlock func(), err error) {
	unlock, err = s.acquire(domain, func(dir *os.Root) (*durable.Lock, error) {
		lock, err := durable.TryLock(dir, filepath.Join(s.lockDir(), domain))
		if own, ownErr := s.tree().OwnerOf(s.State); err == nil && ownErr == nil {
			_ = own(lock.File()) // the lock is held even if this fails
		}
		return lock, err
	})
	if busy := (*durable.BusyError)(nil); errors.As(err, &busy) {
		return nil, &Busy{domain, busy.PID}
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", domain, err)
	}
	return unlock, nil
}

// TakeOver is like Lock, but for root it replaces a lock that stays busy. Otherwise, any process of the directory's owner could hold a lock
// forever. A command that held the old lock stops at its next write, as if it were interrupted there. Each step can be repeated.
func (s Store) TakeOver(ctx context.Context, domain string) (unlock func(), err error) {
	if os.Geteuid() != 0 {
		return s.Lock(ctx, domain)
	}
	unlock, err = s.lockWithin(ctx, domain, takeOverAfter)
	if err == nil || ctx.Err() != nil {
		return unlock, err
	}
	unlock, err = s.acquire(domain, func(dir *os.Root) (*durable.Lock, error) { return durable.ReplaceLock(dir, domain) })
	if err != nil {
		return nil, fmt.Errorf("taking over the lock of %s: %w", domain, err)
	}
	return unlock, nil
}

// acquire takes a lock in the directory of locks. It creates the directory if it is missing.
func (s Store) acquire(name string, take func(dir *os.Root) (*durable.Lock, error)) (unlock func(), err error) {
	dir, err := s.tree().Open(s.lockDir())
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.MakeState("locks"); err == nil {
			dir, err = s.tree().Open(s.lockDir())
		}
	}
	if err != nil {
		return nil, err
	}
	lock, err := take(dir)
	if err != nil {
		dir.Close()
		return nil, err
	}
	lock.WritePID()
	if s.Lease != nil {
		*s.Lease = Lease{name, lock}
	}
	return func() {
		if lock == nil {
			return
		}
		if s.Lease != nil {
			*s.Lease = Lease{}
		}
		lock.Unlock()
		dir.Close()
		lock = nil
	}, nil
}
