package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"

	"signpost/internal/dkim"
)

// Put writes the files of a key that another host sent. A key has metadata at each moment, and a revoked key is deleted after its metadata
// states so. The domain is recorded as hosted before a key signs. The caller holds the lock.
func (s Store) Put(f *Files) error {
	if f.Deleted {
		return s.delete(f.Domain, f.Selector)
	}
	if err := s.tree().MakeDir(s.domainDir(f.Domain)); err != nil {
		return err
	}
	if f.Active() {
		if err := s.Host(f.Domain); err != nil {
			return err
		}
	}
	if f.Metadata == nil {
		return s.putPEM(f)
	}
	if err := s.removeOther(f); err != nil {
		return err
	}
	if err := s.Lease.check(); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, f.Metadata, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	s.step("write " + f.Selector + ".json")
	if err := s.tree().Write(s.metadataPath(f.Domain, f.Selector), b.Bytes(), s.Dir, 0o600); err != nil {
		return err
	}
	if f.Gone() {
		return s.removePEM(f.Domain, f.Selector)
	}
	return s.putPEM(f)
}

func (s Store) putPEM(f *Files) error {
	path := s.pemPath(f.Domain, f.Selector)
	if old, err := s.tree().Read(path); err == nil && bytes.Equal(old, f.PEM) {
		return nil
	}
	if err := s.Lease.check(); err != nil {
		return err
	}
	s.step("write " + f.Selector + ".pem")
	return s.tree().Write(path, f.PEM, s.Dir, 0o600)
}

// removeOther deletes the private key of an earlier key at the selector, so that it is not used with the metadata of the new key.
func (s Store) removeOther(f *Files) error {
	signer, err := s.private(f.Domain, f.Selector)
	if err != nil {
		return nil // there is none, or it cannot be used
	}
	if record, err := dkim.FormatKeyRecord(signer.Public()); err == nil && record == f.record {
		return nil
	}
	return s.removePEM(f.Domain, f.Selector)
}

// delete deletes the files of a key, and the directory of the domain if it is empty then.
func (s Store) delete(domain, selector string) error {
	if err := s.removePEM(domain, selector); err != nil {
		return err
	}
	if err := s.tree().Remove(s.metadataPath(domain, selector)); err != nil {
		return err
	}
	switch err := s.tree().Remove(s.domainDir(domain)); {
	case errors.Is(err, syscall.ENOTEMPTY):
		return nil
	case err != nil:
		return fmt.Errorf("removing the directory of %s: %w", domain, err)
	}
	return s.forget(domain)
}

// Deactivate makes an active key wait until its record is found in DNS. It does nothing if the key is not active. The caller holds the
// lock.
func (s Store) Deactivate(domain, selector string) error {
	m, err := s.readMetadata(domain, selector)
	if err != nil || m.State() != Active {
		return err
	}
	m.Activated, m.Seen, m.Unsafe = nil, nil, false
	return s.writeMetadata(m)
}
