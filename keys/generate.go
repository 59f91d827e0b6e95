package keys

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"signpost/internal/dkim"
)

// Options describe the key that Create makes.
type Options struct {
	Domain    string
	Selector  string                                  // empty: a dated one
	Algorithm string                                  // "rsa" or "ed25519"
	Bits      int                                     // rsa: 2048, 3072 or 4096
	Publish   string                                  // publish.method, for the metadata
	NewRSA    func(bits int) (*rsa.PrivateKey, error) // rsa: NewRSA, except in tests
	Ring      bool                                    // the selector may be the former selector of a removed key
}

// Create creates a key, writes it and returns its metadata. The key does not sign yet. The caller holds the lock.
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
		return nil, fmt.Errorf("selector %s of %s had a key that was removed on %s, and its record may still be needed; choose another selector", selector, o.Domain, at.Format(dateFormat))
	}
	oldTTL, err := s.checkSelector(o.Domain, selector, o.Ring)
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

// setKey sets the algorithm, bits and record of the metadata.
func (l *Metadata) setKey(signer crypto.Signer) (err error) {
	l.Algorithm, l.Bits = describe(signer.Public())
	l.Record, err = dkim.FormatKeyRecord(signer.Public())
	return err
}

// place writes the metadata and then the key. It sets the algorithm, bits and record of the metadata.
func (s Store) place(l *Metadata, signer crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return fmt.Errorf("encoding the key: %w", err)
	}
	if err := l.setKey(signer); err != nil {
		return err
	}
	if err := s.writeMetadata(l); err != nil {
		return err
	}
	if err := s.Lease.check(); err != nil { // the process that took over the lock has deleted the metadata
		return err
	}
	s.step("write " + l.Selector + ".pem")
	return s.tree().Write(s.pemPath(l.Domain, l.Selector), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), s.Dir, 0o600)
}

// checkSelector returns an error if a selector is taken. A selector that ever had a key is taken, because it must not be used again (RFC
// 6376 section 3.1). In a ring, a selector is free again when its last key has been removed. In that case, oldTTL is the time for which
// caches may have the old record.
func (s Store) checkSelector(domain, selector string, ring bool) (oldTTL Span, err error) {
	for _, path := range []string{s.pemPath(domain, selector), s.metadataPath(domain, selector)} {
		if !s.tree().Exists(path) {
			continue
		}
		if metadata, err := s.readMetadata(domain, selector); ring && err == nil && metadata.State() == Removed {
			oldTTL = metadata.TTL
			continue
		}
		return 0, fmt.Errorf("selector %s of %s is taken: %s exists", selector, domain, path)
	}
	return oldTTL, nil
}

// NewRSA returns a new RSA key.
func NewRSA(bits int) (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, bits) }

func generate(o Options) (crypto.Signer, error) {
	switch o.Algorithm {
	case "rsa":
		if !slices.Contains([]int{2048, 3072, 4096}, o.Bits) {
			return nil, fmt.Errorf("RSA keys of %d bits are not supported: 2048, 3072 and 4096 are allowed", o.Bits)
		}
		return o.NewRSA(o.Bits)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("unknown algorithm %q: rsa and ed25519 are allowed", o.Algorithm)
}

// maxDated is the maximum number of dated selectors per day. A selector is a DNS label of at most 63 bytes.
const maxDated = 1000

// datedSelector returns "sp" (RSA) or "se" (Ed25519), followed by the date. It appends letters for the second and later keys of a day. If
// no selector is free or the directory cannot be read, it returns the last candidate, which checkSelector then rejects. The directory may
// be unreadable because user signpost can replace it by a link at any time.
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

// letters returns suffix number n, from 1. The suffixes are b, c ... y, za, zb ..., in alphabetical order.
func letters(n int) string {
	return strings.Repeat("z", n/25) + string(rune('a'+n%25))
}

// Activate activates a key without a check of its record (--unsafe-activate), and records this in the metadata. The caller holds the
// lock.
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

// Ed25519Alone explains why a domain with an Ed25519 key also needs an RSA key.
const Ed25519Alone = "many receivers, Gmail and Outlook among them, do not verify Ed25519 (RFC 8463); sign with rsa and ed25519"
