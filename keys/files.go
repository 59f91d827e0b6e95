package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"signpost/internal/dkim"
	"signpost/internal/domain"
	"signpost/internal/durable"
)

// Files are the files of one key, as the hosts of a cluster exchange them.
type Files struct {
	Domain, Selector string
	Metadata         []byte // the content of SELECTOR.json, compact; nil for an unmanaged key
	PEM              []byte // nil if the private key is deleted
	Deleted          bool   // the domain was removed; there is no file
	Missing          bool   // SELECTOR.pem does not exist, although the key is not revoked
	Local            bool   // the files stay on this host: they cannot be used, or the key is a link, such as a systemd credential

	metadata *Metadata
	record   string
}

// NewFiles returns the files of a key that another host sent. It returns an error if this host could not use them.
func NewFiles(name, selector string, metadata, pem []byte, deleted bool) (*Files, error) {
	f := &Files{Domain: name, Selector: selector, PEM: pem, Deleted: deleted}
	for _, s := range []string{name, selector} {
		if parsed, err := domain.Parse(s); err != nil || parsed != s {
			return nil, fmt.Errorf("%q is not a valid name", s)
		}
	}
	if metadata != nil {
		var b bytes.Buffer
		if err := json.Compact(&b, metadata); err != nil {
			return nil, errors.New("its metadata is not valid JSON")
		}
		f.Metadata = b.Bytes()
		m, err := parseMetadata(selector+".json", metadata, name, selector)
		if err != nil {
			return nil, err
		}
		f.metadata, f.record = m, m.Record
	}
	if pem != nil {
		signer, err := parsePEM(pem)
		if err != nil {
			return nil, err
		}
		if f.metadata == nil {
			if f.record, err = dkim.FormatKeyRecord(signer.Public()); err != nil {
				return nil, err
			}
		}
	}
	if (pem == nil) == f.signs() {
		return nil, fmt.Errorf("its private key does not agree with its state %q", f.state())
	}
	return f, nil
}

// FilesFrom returns the files of a managed key.
func FilesFrom(m *Metadata, pem []byte) (*Files, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return NewFiles(m.Domain, m.Selector, data, pem, false)
}

// Parsed returns a copy of the metadata, or nil for an unmanaged key.
func (f *Files) Parsed() (*Metadata, error) {
	if f.Metadata == nil {
		return nil, nil
	}
	return parseMetadata(f.Selector+".json", f.Metadata, f.Domain, f.Selector)
}

// state returns the state of the key; "" for an unmanaged key.
func (f *Files) state() State {
	if f.metadata == nil {
		return ""
	}
	return f.metadata.State()
}

// signs reports whether there must be a private key.
func (f *Files) signs() bool {
	return !f.Deleted && f.state() != Revoked && f.state() != Removed
}

// Stopped reports whether the key no longer signs: it is retired, revoked or removed.
func (f *Files) Stopped() bool {
	return f.Deleted || slices.Contains([]State{Retiring, Revoked, Removed}, f.state())
}

// Gone reports whether the private key is deleted.
func (f *Files) Gone() bool { return !f.signs() }

// Active reports whether the metadata states that the key signs.
func (f *Files) Active() bool { return !f.Deleted && f.state() == Active }

// Fingerprint identifies the key pair. It is "" if the pair is unknown.
func (f *Files) Fingerprint() string {
	if f.record == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(f.record))
	return hex.EncodeToString(sum[:8])
}

// Hash identifies the contents of the files.
func (f *Files) Hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%t %d %d\n", f.Deleted, len(f.Metadata), len(f.PEM))
	h.Write(f.Metadata)
	h.Write(f.PEM)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// FilesOf returns the files of all keys of a domain, by selector. The caller holds the lock. A key whose creation was interrupted is omitted.
func (s Store) FilesOf(domain string) (map[string]*Files, error) {
	all, _, err := s.filesOf(domain)
	return all, err
}

func (s Store) filesOf(name string) (all map[string]*Files, stamp string, err error) {
	all = map[string]*Files{}
	dir, err := s.tree().Open(s.domainDir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return all, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer dir.Close()
	d := domainDir{store: s, dir: dir, path: s.domainDir(name), domain: name}
	if d.files, err = durable.List(dir); err != nil {
		return nil, "", durable.PathError(d.path, err)
	}
	stamp = d.stamp()
	for _, k := range d.keys(nil) {
		if k.Foreign || k.Selector == "" {
			continue
		}
		if all[k.Selector], err = d.filesOfKey(k); err != nil {
			return nil, "", err
		}
	}
	return all, stamp, nil
}

func (d domainDir) filesOfKey(k *Key) (*Files, error) {
	local := &Files{Domain: d.domain, Selector: k.Selector, Local: true}
	missing := k.Metadata != nil && errors.Is(k.Err, fs.ErrNotExist)
	if k.Err != nil && !missing {
		return local, nil
	}
	var metadata, pem []byte
	var err error
	if k.Metadata != nil {
		if metadata, err = durable.Read(d.dir, k.Selector+".json", durable.MaxFile); err != nil {
			return nil, durable.PathError(d.path, err)
		}
	}
	if k.Signer != nil {
		fi, err := d.dir.Lstat(k.Selector + ".pem")
		if err != nil {
			return nil, durable.PathError(d.path, err)
		}
		if !fi.Mode().IsRegular() {
			return local, nil
		}
		f, err := d.openPEM(k.Selector + ".pem")
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if pem, err = io.ReadAll(io.LimitReader(f, maxPEM)); err != nil {
			return nil, err
		}
	}
	if missing {
		f := &Files{Domain: d.domain, Selector: k.Selector, Metadata: metadata, Missing: true, metadata: k.Metadata, record: k.Metadata.Record}
		return f, nil
	}
	f, err := NewFiles(d.domain, k.Selector, metadata, pem, false)
	if err != nil {
		return local, nil
	}
	return f, nil
}

// FileSet has the files of all keys at one point in time.
type FileSet struct {
	domains map[string]domainFiles
}

type domainFiles struct {
	files map[string]*Files
	stamp string
}

// Names returns the domains with keys.
func (f *FileSet) Names() []string { return slices.Collect(maps.Keys(f.domains)) }

// Of returns the files of a domain, by selector. ok is false if they are unknown, because another command changes them.
func (f *FileSet) Of(domain string) (files map[string]*Files, ok bool) {
	d, known := f.domains[domain]
	return d.files, !known || d.files != nil
}

// Files returns the files of all keys. It reads only domains that changed since before, which may be nil. The error is fs.ErrNotExist if the
// keys directory does not exist.
func (s Store) Files(before *FileSet) (*FileSet, error) {
	dir, err := s.tree().Open(s.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, durable.PathError(s.Dir, err)
	}
	set := &FileSet{map[string]domainFiles{}}
	for _, e := range entries {
		name := e.Name()
		if parsed, err := domain.Parse(name); err != nil || parsed != name || !e.IsDir() && e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		if before != nil {
			if old, ok := before.domains[name]; ok && old.stamp != "" && old.stamp == s.stampOf(name) {
				set.domains[name] = old
				continue
			}
		}
		read, err := s.lockedFiles(name)
		if err != nil {
			return nil, err
		}
		if read.files == nil || len(read.files) > 0 {
			set.domains[name] = read
		}
	}
	return set, nil
}

// lockedFiles returns no files if another process holds the lock.
func (s Store) lockedFiles(name string) (d domainFiles, err error) {
	unlock, err := s.TryLock(name)
	if busy := (*Busy)(nil); errors.As(err, &busy) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	defer unlock()
	d.files, d.stamp, err = s.filesOf(name)
	return d, err
}

func (s Store) stampOf(name string) string {
	dir, err := s.tree().Open(s.domainDir(name))
	if err != nil {
		return ""
	}
	defer dir.Close()
	d := domainDir{store: s, dir: dir, path: s.domainDir(name), domain: name}
	if d.files, err = durable.List(dir); err != nil {
		return ""
	}
	return d.stamp()
}

// RemovedFile returns the content of STATE_DIR/removed/DOMAIN, or nil if there is none.
func (s Store) RemovedFile(domain string) ([]byte, error) {
	data, err := s.tree().Read(s.pastPath(domain))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// RemovedFiles returns the domains that have a file in STATE_DIR/removed.
func (s Store) RemovedFiles() ([]string, error) {
	dir, err := s.tree().Open(filepath.Join(s.State, "removed"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	files, err := durable.List(dir)
	var domains []string
	for _, fi := range files {
		if d, err := domain.Parse(fi.Name()); err == nil && d == fi.Name() {
			domains = append(domains, d)
		}
	}
	return domains, err
}
