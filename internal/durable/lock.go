package durable

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Lock is a file that this process has locked.
type Lock struct {
	dir  *os.Root // used by Current
	name string
	file *os.File
	pid  bool // the file contains the process ID
}

// BusyError is the error of a lock that another process holds.
type BusyError struct {
	PID int // the ID of the process that holds the lock; 0: unknown
}

func (e *BusyError) Error() string { return "locked by another process" }

// TryLock locks a file in a directory. If there is no such file, it creates one. The last element of path is the name in dir; the rest is
// only used in errors. The error is a *BusyError if another process holds the lock.
//
// TryLock returns an error if the file is not a regular file or has more than one name. The reason is that the owner of the directory could
// have created a link with this name to a file of root. Root would then change the contents and the owner of that file.
func TryLock(dir *os.Root, path string) (*Lock, error) {
	name := filepath.Base(path)
	for {
		f, err := openLock(dir, name)
		if err != nil {
			return nil, PathError(path, err)
		}
		if err := flock(f); err != nil {
			pid := holder(f)
			f.Close()
			if !errors.Is(err, unix.EWOULDBLOCK) {
				return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
			}
			return nil, &BusyError{pid}
		}
		// The file may have been replaced, or removed, between the open and the lock.
		held, err := f.Stat()
		now, nowErr := dir.Lstat(name)
		isLink := nowErr == nil && now.Mode()&fs.ModeSymlink != 0 // name is a symbolic link within the directory, which os.Root follows
		if err = cmp.Or(err, nowErr); errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(held, now) && !isLink {
			f.Close()
			continue
		}
		if err != nil {
			f.Close()
			return nil, PathError(path, err)
		}
		switch {
		case isLink:
			err = fmt.Errorf("%s is a symbolic link: remove it", path)
		case !held.Mode().IsRegular():
			err = fmt.Errorf("%s is not a regular file: remove it", path)
		case held.Sys().(*syscall.Stat_t).Nlink != 1:
			err = fmt.Errorf("%s is a hard link to another file: remove it", path)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		return &Lock{dir: dir, name: name, file: f}, nil
	}
}

func openLock(dir *os.Root, name string) (*os.File, error) {
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		// After root has replaced a lock, the file belongs to root. Read access is sufficient to lock it, except on NFS.
		if old, oldErr := dir.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); !errors.Is(oldErr, fs.ErrNotExist) {
			return old, oldErr
		}
	}
	return f, err
}

func flock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// ReplaceLock takes a lock that another process may hold. It replaces the lock file with a new file. The other process is not stopped. It
// can detect the replacement with Lock.Current.
func ReplaceLock(dir *os.Root, name string) (*Lock, error) {
	tmp := Temp(name)
	f, err := dir.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err = errors.Join(flock(f), f.Chmod(0o644)); err == nil {
		if fi, statErr := dir.Lstat(name); statErr == nil && fi.IsDir() {
			_ = dir.RemoveAll(name)
		}
		err = dir.Rename(tmp, name)
	}
	if err != nil {
		f.Close()
		_ = dir.Remove(tmp)
		return nil, err
	}
	return &Lock{dir: dir, name: name, file: f}, nil
}

// maxPID is the maximum number of bytes that are read from a lock file, which contains the process ID of its holder.
const maxPID = 20

func holder(f *os.File) int {
	b := make([]byte, maxPID)
	n, _ := f.ReadAt(b, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return max(pid, 0)
}

// WritePID writes the process ID to the lock. Other processes read it for their *BusyError. If WritePID fails, their errors do not name
// this process.
func (l *Lock) WritePID() {
	if l.pid = true; l.file.Truncate(0) == nil {
		_, _ = l.file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

// File returns the locked file.
func (l *Lock) File() *os.File { return l.file }

// Current reports whether another file now has the name of the lock, and returns that file. It returns nil if the locked file still has the
// name, or if no file has it.
func (l *Lock) Current() (fs.FileInfo, error) {
	held, err := l.file.Stat()
	if err != nil {
		return nil, err
	}
	now, err := l.dir.Lstat(l.name)
	if err != nil || os.SameFile(held, now) {
		return nil, nil
	}
	return now, nil
}

// Unlock releases the lock.
func (l *Lock) Unlock() {
	if l.pid {
		_ = l.file.Truncate(0)
	}
	// Closing the file is not sufficient, because a child process that is being forked may keep it open for a moment.
	_ = unix.Flock(int(l.file.Fd()), unix.LOCK_UN)
	l.file.Close()
}
