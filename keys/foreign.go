package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Foreign is a private key with which another program signs.
type Foreign struct {
	Domain, Selector string
	Source           string // the path of the key file; if Text is set, the place of the key, for errors and the metadata
	Text             string // the key, if it is not in a file of its own
}

// Private returns the private key. It does not check the mode of the file. An error never contains a byte of the key.
func (f Foreign) Private() (crypto.Signer, error) {
	data := []byte(f.Text)
	if f.Text == "" {
		file, err := os.Open(f.Source)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if data, err = io.ReadAll(io.LimitReader(file, maxPEM)); err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.Source, err)
		}
	}
	signer, err := parseForeign(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Source, err)
	}
	return signer, nil
}

// parseForeign parses a key in PEM, or a key that rspamd accepts in base64 without PEM. An Ed25519 key in base64 consists of the seed, which
// may be followed by the public key ("rspamadm dkim_keygen -t ed25519"). Base64 of any other length is the DER of a PEM block.
func parseForeign(data []byte) (crypto.Signer, error) {
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data)))
	switch {
	case err != nil || len(raw) == 0:
		return parsePEM(data)
	case len(raw) == ed25519.SeedSize:
		return ed25519.NewKeyFromSeed(raw), nil
	case len(raw) == ed25519.PrivateKeySize:
		key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
		if !bytes.Equal(key, raw) {
			return nil, errors.New("the public key in the last 32 bytes does not belong to the private key")
		}
		return key, nil
	}
	signer, err := parsePEM(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	if err != nil {
		if pkcs1, err := parsePEM(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: raw})); err == nil {
			return pkcs1, nil
		}
	}
	return signer, err
}

// prepare reads a key of another program and returns the metadata that it gets. It changes nothing. Rotate never publishes the record of
// such a key, because the key counts as published.
func (s Store) prepare(f Foreign, method string) (*Metadata, crypto.Signer, error) {
	signer, err := f.Private()
	if err != nil {
		return nil, nil, err
	}
	if _, err := s.checkSelector(f.Domain, f.Selector, false); err != nil {
		return nil, nil, err
	}
	now := s.Now().UTC()
	m := &Metadata{Domain: f.Domain, Selector: f.Selector, Publish: method, Created: now, Published: &now, Imported: f.Source}
	return m, signer, m.setKey(signer)
}

// Import copies a private key with which another program signs. Like every key, it does not sign until its record is visible in DNS. The
// caller holds the lock.
func (s Store) Import(f Foreign, method string) (*Metadata, error) {
	m, signer, err := s.prepare(f, method)
	if err != nil {
		return nil, err
	}
	if err := s.tree().MakeDir(s.domainDir(f.Domain)); err != nil {
		return nil, err
	}
	return m, s.place(m, signer)
}

// Import calls Store.Import under the lock of the domain. If unsafe is true, it also activates the key.
func (r *Rotator) Import(ctx context.Context, f Foreign, unsafe bool) (*Metadata, error) {
	unlock, err := r.Store.Lock(ctx, f.Domain)
	if err != nil {
		return nil, err
	}
	defer unlock()
	m, err := r.Store.Import(f, r.Rules(f.Domain).Method)
	if err == nil && unsafe {
		m, err = r.Store.Activate(f.Domain, f.Selector)
	}
	return m, err
}

// Preview does the checks of Import, and compares the key's record with DNS. It changes no file, and returns the metadata that the key would
// have.
func (r *Rotator) Preview(ctx context.Context, f Foreign) (*Metadata, Outcome, error) {
	m, signer, err := r.Store.prepare(f, r.Rules(f.Domain).Method)
	if err != nil {
		return nil, Outcome{}, err
	}
	return m, r.Checker.Look(ctx, m, signer).Outcome(), nil
}

// ReportImport calls Done with the time from which an imported key signs. If the key cannot sign, it calls Needs with the reason.
func (r *Rotator) ReportImport(domain, selector string) error {
	k, of, err := r.Store.find(domain, selector)
	if err == nil {
		err = k.Err
	}
	if err != nil {
		return err
	}
	if k.Metadata.Seen == nil {
		does := "the key does not sign until it is"
		if k.State == Active {
			does = "the key signs anyway (--unsafe-activate)"
		}
		r.Needs(domain, fmt.Sprintf("key %s: its record is not visible in DNS: %s; %s; see \"dkimkey check %s\"", selector, k.Metadata.Finding, does, domain), nil)
		return nil
	}
	rules, now, what := r.Rules(domain), r.Store.Now(), "it is a standby"
	for _, s := range Plan(of, rules, now) {
		if s.Do != DoActivate || s.Key != k {
			continue
		}
		what = "it signs from " + s.Due.UTC().Format(timeFormat) + ": "
		if slices.Contains(Awaited(of, rules, now), k) {
			what += fmt.Sprintf("run \"dkimkey rotate %s --wait\", or \"dkimkey add %s --selector %s --algorithm %s --unsafe-activate\"", domain, domain, selector, k.Algorithm)
		} else {
			what += fmt.Sprintf("to use it as soon as possible, run \"dkimkey rotate %s --now\"", domain)
		}
	}
	if k.State == Active {
		what = "it signs"
	}
	r.Done(domain, fmt.Sprintf("key %s: its record is visible at all name servers; %s", selector, what))
	return nil
}
