package keys

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"signpost/internal/dkim"
)

// Options are what key Create makes.
type Options struct {
	Domain    string
	Selector  string // empty: a dated one
	Algorithm string // "rsa" or "ed25519"
	Bits      int    // rsa: 2048, 3072 or 4096
	Publish   string // publish.method, for the record
	Random    io.Reader
	Ring      bool // the selector may be one whose last key is removed
}

// Create makes a key, writes it and returns its metadata. The key does not sign yet. The caller holds the lock.
func (s Store) Create(o Options) (*Metadata, error) {
	if err := s.tree().MakeDir(s.domainDir(o.Domain)); err != nil {
		return nil, err
	}
	past, err := s.past(o.Domain)
	if err != nil {
		return nil, err
	}
	selector := o.Selector
	if selector == "" {
		selector = s.datedSelector(o.Domain, o.Algorithm, past)
	} else if at, used := past[selector]; used && !o.Ring {
		return nil, fmt.Errorf("selector %s of %s had a key that was removed on %s, and its record may still be needed; choose another one", selector, o.Domain, at.Format(dateFormat))
	}
	oldTTL, err := s.vacate(o.Domain, selector, o.Ring)
	if err != nil {
		return nil, err
	}
	signer, err := generate(o)
	if err != nil {
		return nil, err
	}
	metadata := &Metadata{Domain: o.Domain, Selector: selector, Publish: o.Publish, Created: s.Now().UTC(), OldTTL: oldTTL}
	return metadata, s.place(metadata, signer)
}

// place writes a key and its metadata, the metadata first, and fills in what follows from the key.
func (s Store) place(l *Metadata, signer crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return fmt.Errorf("encoding the key: %w", err)
	}
	if l.Record, err = dkim.FormatKeyRecord(signer.Public()); err != nil {
		return err
	}
	l.Algorithm, l.Bits = describe(signer.Public())
	if err := s.writeMetadata(l); err != nil {
		return err
	}
	if err := s.Lease.check(); err != nil { // who took over has deleted the metadata
		return err
	}
	s.step("write " + l.Selector + ".pem")
	return s.tree().Write(s.pemPath(l.Domain, l.Selector), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), s.Dir, 0o600)
}

// vacate refuses a selector that is taken. RFC 6376 section 3.1: a selector is not used again, so one that has had a key is
// taken, unless it belongs to a ring and nothing is left of its last key; then oldTTL is how long caches may remember that.
func (s Store) vacate(domain, selector string, ring bool) (oldTTL Span, err error) {
	for _, path := range []string{s.pemPath(domain, selector), s.metadataPath(domain, selector)} {
		if !s.tree().Exists(path) {
			continue
		}
		if metadata, err := s.readMetadata(domain, selector); ring && err == nil && metadata.State() == Removed {
			oldTTL = metadata.TTL
			continue
		}
		return 0, fmt.Errorf("selector %s of %s is taken: %s is there", selector, domain, path)
	}
	return oldTTL, nil
}

func generate(o Options) (crypto.Signer, error) {
	switch o.Algorithm {
	case "rsa":
		if !slices.Contains([]int{2048, 3072, 4096}, o.Bits) {
			return nil, fmt.Errorf("an RSA key of %d bits is not made: 2048, 3072 and 4096 are allowed", o.Bits)
		}
		return rsa.GenerateKey(o.Random, o.Bits)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(o.Random)
		return key, err
	}
	return nil, fmt.Errorf("algorithm %q is not known: rsa and ed25519 are", o.Algorithm)
}

// maxDated is how many keys of a day datedSelector numbers. A selector is a DNS label, which has 63 bytes at most.
const maxDated = 1000

// datedSelector returns "sp" (RSA) or "se" (Ed25519) and the day, with letters from the second key of a day on. vacate refuses the
// last one if none is free, or if the directory cannot be read: user signpost can replace it by a link at any time.
func (s Store) datedSelector(domain, algorithm string, past map[string]time.Time) string {
	base := "sp"
	if algorithm == "ed25519" {
		base = "se"
	}
	base += s.Now().UTC().Format("20060102")
	for n := 0; ; n++ {
		selector := base
		if n > 0 {
			selector += letters(n)
		}
		_, used := past[selector]
		free := !used && !s.tree().Exists(s.metadataPath(domain, selector)) && !s.tree().Exists(s.pemPath(domain, selector))
		if free || n == maxDated {
			return selector
		}
	}
}

// letters counts b, c ... y, za, zb: short, and in order.
func letters(n int) string {
	return strings.Repeat("z", n/25) + string(rune('a'+n%25))
}

// Activate makes a key sign from now on although its record was not seen, as the operator wants (--unsafe-activate). The metadata
// records it. The caller holds the lock.
func (s Store) Activate(domain, selector string) (*Metadata, error) {
	metadata, err := s.readMetadata(domain, selector)
	if err != nil {
		return nil, err
	}
	if _, err := s.private(domain, selector); err != nil {
		return nil, err
	}
	if err := s.Host(domain); err != nil {
		return nil, err
	}
	metadata.Activated, metadata.Unsafe = new(s.Now().UTC()), true
	return metadata, s.writeMetadata(metadata)
}

// Import copies a private key that another program signs with. Like every key it waits until its record has been seen; the
// record is taken to be published already, so that rotate never publishes it. The caller holds the lock.
func (s Store) Import(domain, selector, file, method string) (*Metadata, error) {
	signer, err := ReadKeyFile(file)
	if err != nil {
		return nil, err
	}
	if err := s.tree().MakeDir(s.domainDir(domain)); err != nil {
		return nil, err
	}
	if _, err := s.vacate(domain, selector, false); err != nil {
		return nil, err
	}
	now := s.Now().UTC()
	metadata := &Metadata{Domain: domain, Selector: selector, Publish: method, Created: now, Published: &now, Imported: file}
	return metadata, s.place(metadata, signer)
}

// Ed25519Alone is why an Ed25519 key needs an RSA key beside it.
const Ed25519Alone = "many receivers, Gmail and Outlook among them, do not verify Ed25519 (RFC 8463); sign with rsa and ed25519"
