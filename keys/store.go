// Package keys stores, rotates and checks the DKIM keys.
//
// KEYS_DIR/DOMAIN/SELECTOR.pem is a private key. KEYS_DIR/DOMAIN/SELECTOR.json is its [Metadata]. The JSON file is written before the PEM
// file and deleted after it, so that a managed key always has metadata. A PEM file without a JSON file is an unmanaged key.
//
// [Store] reads and writes these files. [Plan] returns the steps that are due for a domain, and a [Rotator] does them. A [Checker]
// compares the records in DNS with the keys. The daemon signs with the [Snapshot] of a [Watcher]:
//
//	w, err := keys.Open(keys.Store{State: state, Dir: dir, Now: time.Now}, log)
//	...
//	signing := w.Current().Set.Signing("example.org")
package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"signpost/internal/durable"
)

// Store reads and writes the keys directory and the files about keys in STATE_DIR. Only dkimkey writes keys. The daemon records which
// domains are hosted, and its observations of unmanaged keys.
type Store struct {
	State string // STATE_DIR, with the directories hosted, observed, removed and locks
	Dir   string // the keys directory, in STATE_DIR or elsewhere
	Now   func() time.Time
	// Hook, if set, is called before each durable operation. Tests use it to interrupt a run.
	Hook func(step string)
	// Lease, if set, is the lock that this process holds. Copies of the Store share it.
	Lease *Lease
	// Misnamed, if set, is used by all calls of LoadDomain. A short command sets it.
	Misnamed *Misnamed
	// LockTimeout is the timeout of Lock; 0 means the default.
	LockTimeout time.Duration

	metadataOnly bool // no private key is read
}

func (s Store) tree() durable.Tree { return durable.Tree{s.State, s.Dir} }

func (s Store) step(what string) {
	if s.Hook != nil {
		s.Hook(what)
	}
}

func (s Store) domainDir(domain string) string { return filepath.Join(s.Dir, domain) }

func (s Store) pemPath(domain, selector string) string {
	return filepath.Join(s.Dir, domain, selector+".pem")
}

func (s Store) metadataPath(domain, selector string) string {
	return filepath.Join(s.Dir, domain, selector+".json")
}

// readMetadata reads SELECTOR.json. The error is fs.ErrNotExist if the file does not exist.
func (s Store) readMetadata(domain, selector string) (*Metadata, error) {
	path := s.metadataPath(domain, selector)
	data, err := s.tree().Read(path)
	if err != nil {
		return nil, err
	}
	return parseMetadata(path, data, domain, selector)
}

func parseMetadata(path string, data []byte, domain, selector string) (*Metadata, error) {
	var l Metadata
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, damaged(path, err)
	}
	// The domain and the selector become parts of the path when the metadata is written again.
	if l.Domain != domain || l.Selector != selector {
		return nil, fmt.Errorf("%s describes selector %q of %q, not the key beside it; correct it, or remove it if the key is unmanaged", path, l.Selector, l.Domain)
	}
	return &l, nil
}

// damaged returns the error of a JSON file that cannot be decoded.
func damaged(path string, err error) error {
	what := "a value is not valid"
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		what = fmt.Sprintf("invalid JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind) && kind.Field != "":
		what = fmt.Sprintf("%q is not valid", kind.Field)
	}
	return fmt.Errorf("%s is damaged: %s; restore it from a backup, or remove it (a key without metadata is unmanaged)", path, what)
}

func (s Store) writeMetadata(l *Metadata) error {
	if err := s.Lease.check(); err != nil {
		return err
	}
	s.step("write " + l.Selector + ".json")
	return s.writeJSON(s.metadataPath(l.Domain, l.Selector), l, s.Dir)
}

func (s Store) writeJSON(path string, v any, like string) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	return s.tree().Write(path, append(data, '\n'), like, 0o600)
}

// WriteState writes a file of STATE_DIR.
func (s Store) WriteState(name string, data []byte) error {
	return s.tree().Write(filepath.Join(s.State, name), data, s.State, 0o600)
}

// ReadState reads a file of STATE_DIR. The error is fs.ErrNotExist if there is none.
func (s Store) ReadState(name string) ([]byte, error) {
	return s.tree().Read(filepath.Join(s.State, name))
}

// Make creates the keys directory if it does not exist.
func (s Store) Make() error { return s.tree().MakeDir(s.Dir) }

// MakeState creates the named directories in STATE_DIR.
func (s Store) MakeState(names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, s.tree().MakeDir(filepath.Join(s.State, name)))
	}
	return errors.Join(errs...)
}

// removePEM deletes a private key if it exists.
func (s Store) removePEM(domain, selector string) error {
	path := s.pemPath(domain, selector)
	if !s.tree().Exists(path) {
		return nil
	}
	if err := s.Lease.check(); err != nil {
		return err
	}
	s.step("delete " + selector + ".pem")
	if err := s.tree().Remove(path); err != nil {
		return fmt.Errorf("deleting the private key: %w", err)
	}
	return nil
}

// removeWhere deletes those files and links of a domain for which the function unwanted returns true. Other directory entries stay, because
// dkimkey creates none. It returns the error of the first file that cannot be deleted.
func (s Store) removeWhere(domain string, unwanted func(name string) bool) error {
	dir, err := s.tree().Open(s.domainDir(domain))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	files, err := durable.List(dir)
	if err != nil {
		return durable.PathError(s.domainDir(domain), err)
	}
	files = slices.DeleteFunc(files, func(fi fs.FileInfo) bool {
		isFile := fi.Mode().IsRegular() || fi.Mode()&fs.ModeSymlink != 0
		return !isFile || !unwanted(fi.Name())
	})
	if len(files) == 0 {
		return nil // without a sync: rotate calls this twice for each domain
	}
	for _, fi := range files {
		if err := dir.Remove(fi.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return durable.PathError(filepath.Join(s.domainDir(domain), fi.Name()), err)
		}
	}
	return durable.Sync(dir)
}

// Remove deletes all keys of a domain and the observations of these keys. It deletes each PEM file before its JSON file. The caller holds
// the lock.
func (s Store) Remove(domain string) error {
	if err := s.rememberSelectors(domain); err != nil {
		return err
	}
	for _, ends := range []func(name string) bool{
		func(name string) bool { return filepath.Ext(name) == ".pem" },
		func(name string) bool { return filepath.Ext(name) == ".json" },
		func(name string) bool { return strings.Contains(name, durable.TempMark) }, // backups of keys too
	} {
		if err := s.removeWhere(domain, ends); err != nil {
			return err
		}
	}
	// If the directory has other files, Remove does not delete the directory.
	if err := s.tree().Remove(s.domainDir(domain)); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("removing the directory of %s: %w", domain, err)
	}
	return s.forget(domain)
}

func isTemp(name string) bool {
	_, ok := durable.TempOf(name)
	return ok
}
