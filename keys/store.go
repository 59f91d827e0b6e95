// Package keys keeps the DKIM keys: the files, the life of each key, and the set that signs at a moment.
//
// KEYS_DIR/DOMAIN/SELECTOR.pem is the private key, KEYS_DIR/DOMAIN/SELECTOR.json its life. The JSON is durable before the
// PEM appears and the PEM goes first at removal, so that no moment shows a key whose life is unknown. A PEM without a JSON
// was put there by hand.
package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Store writes the keys folder. Only dkimkey does; the daemon reads.
type Store struct {
	Dir string // the keys folder
	// Observed is STATE_DIR/observed: what was seen of keys that were put there by hand. Empty: nothing has been.
	Observed string
	Now      func() time.Time
	// Hook, if there is one, is told of each operation that lasts before it is begun, so that a test can stop there.
	Hook func(step string)
	// Lease, if set, is the lock that this process holds. Copies of the Store share it.
	Lease *Lease

	lives bool // no private key is read
}

func (s Store) step(what string) {
	if s.Hook != nil {
		s.Hook(what)
	}
}

func (s Store) pemPath(domain, selector string) string {
	return filepath.Join(s.Dir, domain, selector+".pem")
}

func (s Store) lifePath(domain, selector string) string {
	return filepath.Join(s.Dir, domain, selector+".json")
}

// readLife reads SELECTOR.json. fs.ErrNotExist says that there is none.
func (s Store) readLife(domain, selector string) (*Life, error) {
	return readLifeFile(s.lifePath(domain, selector), domain, selector)
}

func readLifeFile(path, domain, selector string) (*Life, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var l Life
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	// What it names becomes a path when it is written again.
	if l.Domain != domain || l.Selector != selector {
		return nil, fmt.Errorf("%s speaks of selector %q of %q, not of the key beside it; mend it, or remove it if the key was put there by hand", path, l.Selector, l.Domain)
	}
	return &l, nil
}

func (s Store) writeLife(l *Life) error {
	if err := s.Lease.check(); err != nil {
		return err
	}
	s.step("write " + l.Selector + ".json")
	return writeLifeFile(s.lifePath(l.Domain, l.Selector), l, s.Dir)
}

func writeLifeFile(path string, l *Life, like string) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the life of %s: %w", l.Selector, err)
	}
	return writeDurable(path, append(data, '\n'), like)
}

// writeDurable replaces a file in one step that survives a power cut: temporary file, fsync, rename, fsync of the folder.
// The file is 0600 and belongs to the owner of like, so that root's cron leaves files that the daemon can read.
func writeDurable(path string, data []byte, like string) error {
	return writeMode(path, data, like, 0o600)
}

// WriteDurable writes a file beside the keys so, with the owner of its folder.
func WriteDurable(path string, data []byte) error {
	return writeDurable(path, data, filepath.Dir(path))
}

func writeMode(path string, data []byte, like string, mode fs.FileMode) (err error) {
	tmp := path + "~"
	// What an interrupted run left behind is nobody's: the lock is held.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(tmp)
			err = fmt.Errorf("writing %s: %w", path, err)
		}
	}()
	if err := chownLike(tmp, like); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// chownLike gives path the owner and group of like. It does nothing for one who is not root: then they are the same already.
func chownLike(path, like string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	fi, err := os.Stat(like)
	if err != nil {
		return fmt.Errorf("looking up the owner of %s: %w", like, err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	if err := os.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("giving %s its owner: %w", path, err)
	}
	return nil
}

// makeDir creates a folder and its parents, 0700, each with the owner of the nearest parent that was there.
func makeDir(path string) error {
	if fi, err := os.Stat(path); err == nil {
		if !fi.IsDir() {
			return fmt.Errorf("%s is not a folder", path)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	if err := chownLike(path, parent); err != nil {
		return err
	}
	return syncDir(parent)
}

// Make creates the keys folder where it is not there.
func (s Store) Make() error { return makeDir(s.Dir) }

// removePEM deletes a private key, if it is there.
func (s Store) removePEM(domain, selector string) error {
	path := s.pemPath(domain, selector)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := s.Lease.check(); err != nil {
		return err
	}
	s.step("delete " + selector + ".pem")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting the private key: %w", err)
	}
	return syncDir(filepath.Join(s.Dir, domain))
}
