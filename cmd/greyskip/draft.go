package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"golang.org/x/sys/unix"

	"signpost/internal/owner"
)

// place is a file and its open directory. Where another user owns the directory, no symbolic link of that user leads out of it.
type place struct {
	root *os.Root
	dir  string // the directory's path, with the links of root resolved
	name string
}

// locate opens the directory of a file. The file need not exist.
func locate(path string) (*place, error) {
	p, err := owner.Find(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	root, name, err := p.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &place{root, filepath.Join(p.Dir, filepath.Dir(p.Rest)), name}, nil
}

func (p *place) close() { p.root.Close() }

func (p *place) path() string { return filepath.Join(p.dir, p.name) }

// noLink refuses a symbolic link. locate has resolved those that may be followed.
func (p *place) noLink(name string) error {
	if fi, err := p.root.Lstat(name); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s: is a symbolic link that is not followed", filepath.Join(p.dir, name))
	}
	return nil
}

// openFile opens a regular file. It does not wait for the other end of a named pipe.
func (p *place) openFile(name string, flag int) (*os.File, error) {
	if err := p.noLink(name); err != nil {
		return nil, err
	}
	f, err := p.root.OpenFile(name, flag|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s: is not a regular file", filepath.Join(p.dir, name)))
	}
	return f, nil
}

// read returns the contents of the file.
func (p *place) read() ([]byte, error) {
	f, err := p.openFile(p.name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxList+1))
	if err == nil && len(data) > maxList {
		err = fmt.Errorf("%s: is larger than %d MiB", p.path(), maxList>>20)
	}
	return data, err
}

// draft is a new text of a file, on the disk beside it.
type draft struct {
	place *place
	tmp   string
}

// newDraft writes a draft, with the mode and the owner of the file that it is to replace. The caller holds the lock: drafts that
// exist are those of runs that were killed.
func (p *place) newDraft(data []byte) (d draft, err error) {
	d = draft{p, "." + p.name + "." + rand.Text() + ".new"}
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", p.path(), err)
		}
	}()
	p.sweep()
	f, err := p.root.OpenFile(d.tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return d, err
	}
	defer func() {
		if err != nil {
			d.drop()
		}
	}()
	_, err = f.Write(data)
	return d, errors.Join(err, p.like(f), f.Sync(), f.Close())
}

// sweep deletes the drafts of runs that were killed.
func (p *place) sweep() {
	dir, err := p.root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	stale := regexp.MustCompile(`^\.` + regexp.QuoteMeta(p.name) + `\.[A-Z2-7]{26}\.new$`)
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if stale.MatchString(name) {
			_ = p.root.Remove(name)
		}
	}
}

// like sets the mode and the owner of f to those of the present file. Postfix has to read the new one.
func (p *place) like(f *os.File) error {
	mode := fs.FileMode(0o644)
	if old, err := p.root.Lstat(p.name); err == nil && old.Mode().IsRegular() {
		mode = old.Mode().Perm()
		if s, ok := old.Sys().(*syscall.Stat_t); ok && (int(s.Uid) != os.Geteuid() || int(s.Gid) != os.Getegid()) {
			if err := f.Chown(int(s.Uid), int(s.Gid)); err != nil {
				return err
			}
		}
	}
	return f.Chmod(mode)
}

func (d draft) drop() { _ = d.place.root.Remove(d.tmp) }

// use puts the draft in the file's place.
func (d draft) use() error {
	err := d.place.noLink(d.place.name)
	if err == nil {
		err = d.place.root.Rename(d.tmp, d.place.name)
	}
	if err != nil {
		d.drop()
		return fmt.Errorf("replacing %s: %w", d.place.path(), err)
	}
	dir, err := d.place.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// lock keeps other runs away from a file until it is released.
func (p *place) lock() (unlock func(), err error) {
	f, err := p.openFile("."+p.name+".lock", os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("locking %s, which stays as it is: %w", p.path(), err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another greyskip works on %s, which stays as it is for now: try again when it has ended", p.path())
	}
	return func() {
		// Not by closing alone: a child that is being forked may hold the file for a moment more.
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close()
	}, nil
}
