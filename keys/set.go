package keys

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"signpost/internal/dkim"
	"signpost/internal/domain"
	"signpost/internal/durable"
)

// Key is a private key in the keys directory.
type Key struct {
	Domain    string
	Selector  string
	Algorithm string // "rsa" or "ed25519"
	Bits      int
	State     State
	Metadata  *Metadata // nil for an unmanaged key
	Observed  *Metadata // the daemon's observation of an unmanaged key; nil: none yet
	Since     time.Time
	Signer    crypto.Signer // nil if Err is set or the key is unread
	Err       error         // why the file cannot be used
	Elsewhere bool          // it is a systemd credential, which only the daemon's unit can read
	Foreign   bool          // the file has OpenDKIM's name; Err states what to do about it
	unread    bool          // LoadMetadata did not read the file, but the file passed the other checks
}

// usable reports whether the private key can be used.
func (k *Key) usable() bool { return k.Signer != nil || k.unread }

// Set holds all keys at one point in time. It is immutable.
type Set struct {
	keys    map[string][]*Key // by domain, then by selector
	stamps  map[string]string // by domain: see domainDir.stamp
	instead map[string]string // maps domain and algorithm to the selector that signs instead of the newest active key: see Guard
	// misplaced are the paths of key files directly in the keys directory.
	misplaced []string
}

// LoadMetadata is like Load but reads no private keys, for callers that only show keys. It does not notice a damaged key file. The
// algorithm of an unmanaged key is unknown until its record is found.
func (s Store) LoadMetadata() (*Set, error) {
	s.metadataOnly = true
	return s.Load(nil)
}

// Load reads the keys directory. The parameter before is an earlier Set or nil. Load does not read keys again that have not changed since.
// If a key cannot be read, Load sets Err of that key. The Set then has the earlier version of the key, or a key without a Signer. Load
// returns an error only if the directory as a whole cannot be read.
func (s Store) Load(before *Set) (*Set, error) {
	dir, err := s.openKeys()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("reading the keys directory: %w", durable.PathError(s.Dir, err))
	}
	set := &Set{}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); e.Type().IsRegular() && (ext == ".pem" || ext == ".private") {
			set.misplaced = append(set.misplaced, filepath.Join(s.Dir, e.Name()))
		}
		s.addDomain(set, dir, e.Name(), before)
	}
	return set, nil
}

// LoadDomain is like Load, for one domain.
func (s Store) LoadDomain(name string, before *Set) (*Set, error) {
	dir, err := s.openKeys()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	set := &Set{}
	s.addDomain(set, dir, name, before)
	if len(set.keys) > 0 {
		return set, nil
	}
	// The name of the directory may be in another form, such as upper case.
	others, err := s.misnamed(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the keys directory: %w", durable.PathError(s.Dir, err))
	}
	for _, other := range others[name] {
		s.addDomain(set, dir, other, before)
	}
	return set, nil
}

// Misnamed keeps the names of directories that are not in the form of a domain, so that a command about thousands of domains reads the keys
// directory once.
type Misnamed struct {
	once  sync.Once
	names map[string][]string // by domain
	err   error
}

// misnamed returns the names of the directories whose name is another form of a domain, by domain.
func (s Store) misnamed(dir *os.Root) (map[string][]string, error) {
	m := s.Misnamed
	if m == nil {
		m = new(Misnamed)
	}
	m.once.Do(func() {
		m.names = map[string][]string{}
		var entries []fs.DirEntry
		entries, m.err = fs.ReadDir(dir.FS(), ".")
		for _, e := range entries {
			if d, err := domain.Parse(e.Name()); err == nil && e.Name() != d {
				m.names[d] = append(m.names[d], e.Name())
			}
		}
	})
	return m.names, m.err
}

// Known returns the sorted names of all domains that have a directory. It reads no keys.
func (s Store) Known() ([]string, error) {
	dir, err := s.openKeys()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("reading the keys directory: %w", durable.PathError(s.Dir, err))
	}
	var known []string
	for _, e := range entries {
		if domain, err := domain.Parse(e.Name()); err == nil && (e.IsDir() || e.Type()&fs.ModeSymlink != 0) {
			known = append(known, domain)
		}
	}
	slices.Sort(known)
	return slices.Compact(known), nil
}

func (s Store) openKeys() (*os.Root, error) {
	dir, err := s.tree().Open(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoDirError{s.Dir}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keys directory: %w", err)
	}
	return dir, nil
}

// maxReads is the maximum number of times that a domain is read if its files change during the read. A hand-over consists of two writes. A
// single read could find the old key retired and the new key not yet active.
const maxReads = 5

// addDomain adds the keys of the directory name to a Set if name is a domain. If the directory cannot be used, it adds a Key with an error,
// so that other domains are not affected.
func (s Store) addDomain(set *Set, keysDir *os.Root, name string, before *Set) {
	domain, err := domain.Parse(name)
	if err != nil || strings.HasPrefix(name, ".") {
		return
	}
	fi, err := keysDir.Lstat(name)
	if err != nil || !fi.IsDir() && fi.Mode()&fs.ModeSymlink == 0 {
		return
	}
	dir, err := durable.OpenIn(keysDir, name, s.domainDir(name))
	d := domainDir{store: s, dir: dir, path: s.domainDir(name), domain: domain}
	if err == nil {
		defer dir.Close()
		d.files, err = durable.List(dir)
	}
	var keys []*Key
	var stamp string
	switch {
	case err != nil:
	case name != domain:
		if stamp = d.stamp(); d.holdsKeys() {
			keys = []*Key{{Domain: domain, State: Unusable, Err: misnamed(d.path, domain)}}
		}
	default:
		keys, stamp, err = d.readStable(before)
	}
	switch {
	case fi.IsDir() && errors.Is(err, fs.ErrNotExist):
		return // removed in the meantime
	case err != nil && name != domain:
		keys, stamp = (*Set)(nil).withError(domain, durable.PathError(d.path, err)), ""
	case err != nil:
		keys, stamp = before.withError(domain, durable.PathError(d.path, err)), ""
	}
	if len(keys) > 0 {
		set.add(domain, keys, stamp)
	}
}

// readStable reads the keys until their files do not change during the read. It returns the keys and their stamp. If the files do not stop
// changing, it returns the keys of the earlier Set, which are consistent. It then returns no stamp. The next reload then reads the files
// again.
func (d *domainDir) readStable(before *Set) (keys []*Key, stamp string, err error) {
	for range maxReads {
		now := d.stamp()
		if stamp == now {
			return keys, stamp, nil
		}
		stamp = now
		if keys = before.unchanged(d.domain, stamp); keys != nil {
			return keys, stamp, nil
		}
		keys = d.keys(before)
		// If the directory is removed while it is open, List returns fs.ErrNotExist.
		if d.files, err = durable.List(d.dir); err != nil {
			return nil, "", err
		}
	}
	if before != nil && len(before.keys[d.domain]) > 0 {
		keys = before.keys[d.domain]
	}
	return keys, "", nil
}

// withError returns the keys of a domain whose directory cannot be read. It adds the error to them. Keys that were read before stay in use.
func (s *Set) withError(domain string, err error) []*Key {
	if s == nil || len(s.keys[domain]) == 0 {
		return []*Key{{Domain: domain, State: Unusable, Err: err}}
	}
	var keys []*Key
	for _, k := range s.keys[domain] {
		kept := *k
		kept.Err = err
		keys = append(keys, &kept)
	}
	return keys
}

// misnamed returns the error of a file or directory whose name contains upper case or is not made of A-labels.
func misnamed(path, name string) error {
	what := "to lower case"
	if strings.ContainsFunc(filepath.Base(path), func(r rune) bool { return r >= utf8.RuneSelf }) {
		what = "to its A-label form"
	}
	return fmt.Errorf("%s: rename it %s: %s", path, what, name)
}

func (s *Set) add(domain string, keys []*Key, stamp string) {
	if s.keys == nil {
		s.keys, s.stamps = map[string][]*Key{}, map[string]string{}
	}
	// A second directory may have the same name in another case.
	s.keys[domain] = append(slices.Clip(s.keys[domain]), keys...)
	s.stamps[domain] += stamp
}

// unchanged returns the keys of a domain if its stamp has not changed and all keys could be read. Otherwise it returns nil.
func (s *Set) unchanged(domain, stamp string) []*Key {
	if s == nil || s.stamps[domain] != stamp {
		return nil
	}
	if slices.ContainsFunc(s.keys[domain], func(k *Key) bool { return k.Err != nil }) {
		return nil
	}
	return s.keys[domain]
}

func describe(public crypto.PublicKey) (algorithm string, bits int) {
	switch p := public.(type) {
	case *rsa.PublicKey:
		return "rsa", p.N.BitLen()
	case ed25519.PublicKey:
		return "ed25519", 256
	}
	return "", 0
}

func (s *Set) find(domain, selector string) *Key {
	for _, k := range s.keys[domain] {
		if k.Selector == selector {
			return k
		}
	}
	return nil
}

// All returns all keys, sorted by domain and selector.
func (s *Set) All() []*Key {
	var all []*Key
	for _, d := range slices.Sorted(maps.Keys(s.keys)) {
		all = append(all, s.keys[d]...)
	}
	return all
}

// Domains returns the domains with an active key. An active key that becomes unusable remains active. An unmanaged key that never signed is
// not active.
func (s *Set) Domains() []string {
	var domains []string
	for _, d := range slices.Sorted(maps.Keys(s.keys)) {
		if slices.ContainsFunc(s.keys[d], func(k *Key) bool { return k.State == Active }) {
			domains = append(domains, d)
		}
	}
	return domains
}

// Signing returns the keys that sign for a domain: the newest active key of each algorithm, RSA first. If it returns none, the domain's
// mail cannot be signed.
func (s *Set) Signing(domain string) []dkim.Key {
	var signing []dkim.Key
	for _, algorithm := range []string{"rsa", "ed25519"} {
		if k := s.newest(domain, algorithm); k != nil {
			signing = append(signing, dkim.Key{Domain: domain, Selector: k.Selector, Signer: k.Signer})
		}
	}
	return signing
}

// Signs reports whether k is among the keys that Signing returns for its domain.
func (s *Set) Signs(k *Key) bool { return k.usable() && s.newest(k.Domain, k.Algorithm) == k }

func (s *Set) newest(domain, algorithm string) *Key {
	if selector := s.instead[domain+" "+algorithm]; selector != "" {
		if k := s.find(domain, selector); k != nil && k.usable() && k.canReplace() {
			return k
		}
	}
	return s.newestActive(domain, algorithm)
}

func (s *Set) newestActive(domain, algorithm string) *Key {
	var newest *Key
	for _, k := range s.keys[domain] {
		if k.State == Active && k.usable() && k.Algorithm == algorithm && (newest == nil || k.Since.After(newest.Since)) {
			newest = k
		}
	}
	return newest
}

// Unsigned returns the sorted domains of hosted whose mail cannot be signed: no usable key of the domain is active.
func (s *Set) Unsigned(hosted map[string]bool) []string {
	signs := func(k *Key) bool { return s.Signs(k) || k.Elsewhere }
	return slices.DeleteFunc(slices.Sorted(maps.Keys(hosted)), func(domain string) bool { return slices.ContainsFunc(s.Of(domain), signs) })
}

// Misplaced returns the paths of key files that are directly in the keys directory and so belong to no domain.
func (s *Set) Misplaced() []string { return s.misplaced }

// Known returns the sorted names of the domains that have or had keys.
func (s *Set) Known() []string { return slices.Sorted(maps.Keys(s.keys)) }

// Of returns the keys of one domain, sorted by selector.
func (s *Set) Of(domain string) []*Key { return s.keys[domain] }

// NoDirError is the error of Load and LoadMetadata if the keys directory does not exist. It wraps fs.ErrNotExist.
type NoDirError struct{ Dir string }

func (e *NoDirError) Error() string {
	return "the keys directory " + e.Dir + " does not exist; `dkimkey add DOMAIN` creates it"
}

func (e *NoDirError) Unwrap() error { return fs.ErrNotExist }
