package allowlist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"signpost/internal/durable"
	"signpost/internal/owner"
)

// place is a file and its open directory. If another user owns the directory, that user's symbolic links cannot lead out of it.
type place struct {
	root *os.Root
	dir  string // the directory's path; symbolic links owned by root are resolved
	name string
}

// locate opens the directory of a file. The file does not have to exist.
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

// check returns an error if a file is not a regular file. locate has already resolved the symbolic links that may be followed.
func (p *place) check(name string) error {
	switch fi, err := p.root.Lstat(name); {
	case err != nil || fi.Mode().IsRegular():
		return nil // if Lstat failed, the next operation returns the error
	case fi.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s: symbolic link not followed", filepath.Join(p.dir, name))
	}
	return fmt.Errorf("%s: not a regular file", filepath.Join(p.dir, name))
}

// read returns the contents of the file.
func (p *place) read() ([]byte, error) {
	if err := p.check(p.name); err != nil {
		return nil, err
	}
	data, err := durable.Read(p.root, p.name, maxList+1)
	if err == nil && len(data) > maxList {
		err = fmt.Errorf("%s: larger than %d MiB", p.path(), maxList>>20)
	}
	return data, err
}

// newDraft writes a draft with the mode and owner of the file that the draft will replace, so that Postfix can read it. It first deletes
// the drafts of killed runs. The caller must hold the lock.
func (p *place) newDraft(data []byte) (durable.Draft, error) {
	p.sweep()
	d, err := durable.NewDraft(p.root, p.name, data, 0o600, durable.Keep(p.root, p.name, 0o644))
	if err != nil {
		err = fmt.Errorf("writing %s: %w", p.path(), err)
	}
	return d, err
}

// sweep deletes the drafts of runs that were killed.
func (p *place) sweep() {
	files, _ := durable.List(p.root)
	for _, fi := range files {
		if of, ok := durable.TempOf(fi.Name()); ok && of == p.name {
			_ = p.root.Remove(fi.Name())
		}
	}
}

// use replaces the file with the draft.
func (p *place) use(d durable.Draft) error {
	err := p.check(p.name)
	if err != nil {
		d.Discard()
	} else {
		err = d.Commit()
	}
	if err != nil {
		return fmt.Errorf("replacing %s: %w", p.path(), err)
	}
	return nil
}

// lock locks the file against other runs.
func (p *place) lock() (unlock func(), err error) {
	name := "." + p.name + ".lock"
	var lock *durable.Lock
	if err = p.check(name); err == nil {
		lock, err = durable.TryLock(p.root, filepath.Join(p.dir, name))
	}
	if busy := (*durable.BusyError)(nil); errors.As(err, &busy) {
		return nil, fmt.Errorf("another greyskip process is updating %s: try again when it has finished", p.path())
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s, which was not changed: %w", p.path(), err)
	}
	return lock.Unlock, nil
}
