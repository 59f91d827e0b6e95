package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// draft is a new text of a file, on the disk beside it.
type draft struct{ path, tmp string }

// newDraft writes a draft, with the mode and the owner of the file that it is to replace. The lock is held: what lies there is
// of a run that was killed.
func newDraft(path string, data []byte) (d draft, err error) {
	d = draft{path, filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")}
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", path, err)
		}
	}()
	if err := os.Remove(d.tmp); err != nil && !absent(err) {
		return d, err
	}
	f, err := os.OpenFile(d.tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return d, err
	}
	defer func() {
		if err != nil {
			d.drop()
		}
	}()
	_, err = f.Write(data)
	return d, errors.Join(err, like(f, path), f.Sync(), f.Close())
}

// like gives f the mode and the owner of the file at path. Postfix has to read what is new.
func like(f *os.File, path string) error {
	mode := fs.FileMode(0o644)
	if old, err := os.Stat(path); err == nil {
		mode = old.Mode().Perm()
		if owner, ok := old.Sys().(*syscall.Stat_t); ok && (int(owner.Uid) != os.Geteuid() || int(owner.Gid) != os.Getegid()) {
			if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return err
			}
		}
	}
	return f.Chmod(mode)
}

func (d draft) drop() { os.Remove(d.tmp) }

// use puts the draft in the file's place.
func (d draft) use() error {
	if err := os.Rename(d.tmp, d.path); err != nil {
		d.drop()
		return err
	}
	folder, err := os.Open(filepath.Dir(d.path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// lock keeps other runs away from a file until it is released.
func lock(path string) (unlock func(), err error) {
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s, which stays as it is: %w", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another greyskip works on %s, which stays as it is for now: try again when it has ended", path)
	}
	return func() {
		// Not by closing alone: a child that is being forked may hold the file for a moment more.
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close()
	}, nil
}
