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
	// lockTimeout is how long Lock waits by default. Commands hold a lock for the time of a few writes, or of one publication.
	lockTimeout = 5 * time.Second
	// takeOverAfter is how long TakeOver waits for a lock that another command is about to release.
	takeOverAfter = 2 * time.Second
	// lockRetry is the time between attempts.
	lockRetry = 50 * time.Millisecond
)

// Lease is the lock on one domain that this process holds.
type Lease struct {
	name string
	lock *durable.Lock
}

// check returns an error if root has taken over the lock. Only a file of root counts, because the owner of the directory could
// replace the lock to stop others.
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
	return &lostLockError{fmt.Errorf("a dkimkey of root has taken over %s: nothing more is written here; try again when it has ended", l.name)}
}

func ownedByRoot(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0
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
	return e.Name + " is locked by " + e.Holder() + ": try again when it has ended"
}

// Holder names the process that holds the lock.
func (e *Busy) Holder() string {
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
	unlock, err = s.hold(domain, func(dir *os.Root) (*durable.Lock, error) {
		lock, err := durable.TryLock(dir, filepath.Join(s.lockDir(), domain))
		if own, ownErr := s.tree().OwnerOf(s.State); err == nil && ownErr == nil {
			_ = own(lock.File()) // if this fails, the lock is held all the same
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
	unlock, err = s.hold(domain, func(dir *os.Root) (*durable.Lock, error) { return durable.ReplaceLock(dir, domain) })
	if err != nil {
		return nil, fmt.Errorf("taking over the lock of %s: %w", domain, err)
	}
	return unlock, nil
}

// hold takes a lock in the directory of the locks, which it creates if there is none.
func (s Store) hold(name string, take func(dir *os.Root) (*durable.Lock, error)) (unlock func(), err error) {
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
