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
	"time"

	"signpost/internal/dkim"
)

// Key is one private key as it was found.
type Key struct {
	Domain    string
	Selector  string
	Algorithm string // "rsa" or "ed25519"
	Bits      int
	State     State
	Life      *Life // nil for a key that was put there by hand
	Observed  *Life // what the daemon has seen of one that was put there by hand; nil: nothing yet
	Since     time.Time
	Signer    crypto.Signer // nil where Err says why, and where it is unread
	Err       error         // the file is there and cannot be used
	Elsewhere bool          // it is a systemd credential, which only the daemon's unit can read
	unread    bool          // the file is there and could be used, as far as one sees from outside: Lives
}

// usable says that the private key is there.
func (k *Key) usable() bool { return k.Signer != nil || k.unread }

// Set is all keys at one moment. It does not change.
type Set struct {
	keys    map[string][]*Key // by domain, then by selector
	instead map[string]string // domain and algorithm -> selector that signs whatever its state: see Guard
}

// Lives reads the keys folder for whoever only shows it: no private key is read. So a damaged file is not noticed, and of a key put
// there by hand the algorithm is known only where its record has been seen.
func (s Store) Lives() (*Set, error) {
	s.lives = true
	return s.Load(nil)
}

// Load reads the keys folder. A key that cannot be read is taken from before, where that has it, and stands in the Set with
// its error otherwise. An error is about the folder as a whole.
func (s Store) Load(before *Set) (*Set, error) {
	dir := s.Dir
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the keys folder %s does not exist; `dkimkey add DOMAIN` makes it", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("the keys folder cannot be read: %w", err)
	}
	set := &Set{keys: map[string][]*Key{}}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if fi, err := os.Stat(path); err != nil || !fi.IsDir() {
			continue
		}
		domain, err := dkim.Domain(e.Name())
		if err != nil {
			continue
		}
		keys, err := s.loadDomain(e.Name(), domain, before)
		if err != nil {
			return nil, err
		}
		if len(keys) > 0 {
			set.keys[domain] = keys
		}
	}
	return set, nil
}

func (s Store) loadDomain(folder, domain string, before *Set) ([]*Key, error) {
	entries, err := os.ReadDir(filepath.Join(s.Dir, folder))
	if err != nil {
		return nil, fmt.Errorf("the keys folder cannot be read: %w", err)
	}
	var keys []*Key
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name, isPEM := strings.CutSuffix(e.Name(), ".pem")
		if !isPEM {
			// A life without a key: one that is over, or one whose key is missing.
			var isLife bool
			if name, isLife = strings.CutSuffix(e.Name(), ".json"); !isLife {
				continue
			}
			if _, err := os.Lstat(s.pemPath(folder, name)); err == nil {
				continue
			}
		}
		k := s.loadKey(folder, domain, name)
		if !isPEM && k.Life != nil && k.State == Generated {
			continue // between the life and the key of one that is being made, or was
		}
		if k.Err != nil && before != nil && !errors.Is(k.Err, fs.ErrNotExist) {
			if old := before.find(domain, k.Selector); old != nil && old.Signer != nil {
				kept := *old
				kept.Err = k.Err
				k = &kept
			}
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func (s Store) loadKey(folder, domain, name string) *Key {
	k := &Key{Domain: domain, Selector: strings.ToLower(name), State: Active}
	path := s.pemPath(folder, name)
	if selector, err := dkim.Domain(name); err != nil {
		k.Err = fmt.Errorf("%s: %q is no selector; rename the file to SELECTOR.pem", path, name)
		return k
	} else {
		k.Selector = selector
	}
	life, err := s.readLife(folder, name)
	switch {
	case err == nil:
		k.Life, k.State, k.Since = life, life.State(), life.since()
		k.Algorithm, k.Bits = life.Algorithm, life.Bits
		if k.State == Revoked || k.State == Removed {
			return k // its private key is gone
		}
	case errors.Is(err, fs.ErrNotExist):
		if fi, err := os.Stat(path); err == nil {
			k.Since = fi.ModTime()
		}
	default:
		// The life says whether the key may sign; without it nobody knows.
		k.State, k.Err = Generated, err
		return k
	}
	if s.lives {
		k.unread, err = true, seePEM(path)
	} else {
		k.Signer, err = readPEM(path)
	}
	if err != nil {
		k.Err, k.unread = err, false
		if target, linkErr := os.Readlink(path); linkErr == nil && errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(target, "/run/credentials/") {
			k.Elsewhere = true
		}
		return k
	}
	if k.Signer != nil {
		k.Algorithm, k.Bits = describe(k.Signer.Public())
	}
	if k.Life == nil {
		// Put there by hand: it signs once its record has been seen.
		k.State = Published
		if k.Observed = s.observed(k); k.Observed != nil {
			k.Algorithm, k.Bits = k.Observed.Algorithm, k.Observed.Bits
		}
		if k.Observed != nil && k.Observed.Activated != nil {
			k.State, k.Since = Active, *k.Observed.Activated
		}
	}
	return k
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

// All gives every key, by domain and selector.
func (s *Set) All() []*Key {
	var all []*Key
	for _, d := range slices.Sorted(maps.Keys(s.keys)) {
		all = append(all, s.keys[d]...)
	}
	return all
}

// Domains are those with a key that counts as active, usable or not.
func (s *Set) Domains() []string {
	var domains []string
	for _, d := range slices.Sorted(maps.Keys(s.keys)) {
		if slices.ContainsFunc(s.keys[d], func(k *Key) bool { return k.State == Active }) {
			domains = append(domains, d)
		}
	}
	return domains
}

// Signing gives the keys that sign for a domain now: the newest active one of each algorithm, RSA first. None means that
// the domain's mail cannot be signed.
func (s *Set) Signing(domain string) []dkim.Key {
	var signing []dkim.Key
	for _, algorithm := range []string{"rsa", "ed25519"} {
		if k := s.newest(domain, algorithm); k != nil {
			signing = append(signing, dkim.Key{Domain: domain, Selector: k.Selector, Signer: k.Signer})
		}
	}
	return signing
}

// Signs says whether a key is among those that Signing gives for its domain.
func (s *Set) Signs(k *Key) bool { return k.usable() && s.newest(k.Domain, k.Algorithm) == k }

func (s *Set) newest(domain, algorithm string) *Key {
	if selector := s.instead[domain+" "+algorithm]; selector != "" {
		if k := s.find(domain, selector); k != nil && k.usable() {
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

// Waiting is NewestPending of a domain.
func (s *Set) Waiting(domain, algorithm, selector string) *Key {
	return NewestPending(s.keys[domain], algorithm, selector)
}

// Known are all domains that have keys, or had.
func (s *Set) Known() []string { return slices.Sorted(maps.Keys(s.keys)) }

// Of gives the keys of one domain, by selector.
func (s *Set) Of(domain string) []*Key { return s.keys[domain] }
