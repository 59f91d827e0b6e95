package keys

import (
	"crypto"
	"fmt"
	"io"
	"os"
)

// Import copies a private key that another program signs with. Like every key it waits until its record has been seen; the
// record is taken to be published already, so that rotate never publishes it. The caller holds the lock.
func (s Store) Import(domain, selector, file, method string) (*Life, error) {
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
	life := &Life{Domain: domain, Selector: selector, Publish: method, Created: now, Published: &now, Imported: file}
	return life, s.place(life, signer)
}

// ReadKeyFile reads a private key that another program uses, whatever the mode of its file.
func ReadKeyFile(file string) (crypto.Signer, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPEM))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	signer, err := parsePEM(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return signer, nil
}
