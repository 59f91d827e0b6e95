// Package durable replaces files so that a crash leaves either the old or the new contents. It also locks files. It opens directories
// through os.Root, because their owner could create symbolic links there for root to follow. The main functions are Tree.Write, Tree.Read
// and TryLock.
package durable

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// TempMark is part of the names of temporary files. No selector contains it.
const TempMark = "~"

// TempOf returns the name of the file for which NewDraft made the temporary file name. ok is false if NewDraft did not make name. For
// example, an editor's backup NAME~ is not a temporary file of NewDraft.
func TempOf(name string) (of string, ok bool) {
	const textLen, base32 = 26, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // rand.Text
	i := strings.LastIndex(name, TempMark)
	if i < 0 {
		return "", false
	}
	random := name[i+len(TempMark):]
	return name[:i], len(random) == textLen && strings.Trim(random, base32) == ""
}

// Temp returns a name for a temporary file that will replace the file called name.
func Temp(name string) string { return name + TempMark + rand.Text() } // the suffix is random; a process ID could be that of a killed process

// Draft is a temporary file with the new contents of a file. Its data is synced to the disk.
type Draft struct {
	dir       *os.Root
	tmp, name string
}

// NewDraft writes a draft of the file called name in the directory dir. Before the draft is synced, prepare may set its owner and mode.
func NewDraft(dir *os.Root, name string, data []byte, mode fs.FileMode, prepare func(*os.File) error) (Draft, error) {
	d := Draft{dir, Temp(name), name}
	f, err := dir.OpenFile(d.tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return d, err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, prepare(f), f.Sync(), f.Close()); err != nil {
		d.Discard()
	}
	return d, err
}

// Discard deletes the draft.
func (d Draft) Discard() { _ = d.dir.Remove(d.tmp) }

// Commit replaces the file with the draft in one step. If the rename fails, Commit deletes the draft.
func (d Draft) Commit() error {
	if err := d.dir.Rename(d.tmp, d.name); err != nil {
		d.Discard()
		return err
	}
	return Sync(d.dir)
}

// CommitNew is like Commit, but its error is fs.ErrExist if there is a file with this name.
func (d Draft) CommitNew() error {
	defer d.Discard()
	if err := d.dir.Link(d.tmp, d.name); err != nil {
		return err
	}
	return Sync(d.dir)
}

// Write calls NewDraft and Commit.
func Write(dir *os.Root, name string, data []byte, mode fs.FileMode, prepare func(*os.File) error) error {
	d, err := NewDraft(dir, name, data, mode, prepare)
	if err != nil {
		return err
	}
	return d.Commit()
}

// Keep returns a function for the parameter prepare of NewDraft. The function sets the mode and the owner of the draft to those of the file
// that the draft will replace. If there is no such file, it sets the given mode.
func Keep(dir *os.Root, name string, mode fs.FileMode) func(*os.File) error {
	return func(f *os.File) error {
		old, err := dir.Lstat(name)
		if err != nil || !old.Mode().IsRegular() {
			return f.Chmod(mode)
		}
		if err := f.Chmod(old.Mode().Perm()); err != nil {
			return err
		}
		if s, ok := old.Sys().(*syscall.Stat_t); ok && (int(s.Uid) != os.Geteuid() || int(s.Gid) != os.Getegid()) {
			return f.Chown(int(s.Uid), int(s.Gid))
		}
		return nil
	}
}

// Sync makes renames and deletions in a directory durable.
func Sync(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
