package keys

import (
	"fmt"
	"io"
	"os"
)

// Import takes a key over that signs already, with another program. It goes on signing here, and rotates from here on.
// The caller holds the lock.
func (s Store) Import(domain, selector, file, method string) (*Life, error) {
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
	if err := s.tree().makeDir(s.domainDir(domain)); err != nil {
		return nil, err
	}
	if _, err := s.vacate(domain, selector, false); err != nil {
		return nil, err
	}
	if err := s.Host(domain); err != nil {
		return nil, err
	}
	now := s.Now().UTC()
	life := &Life{Domain: domain, Selector: selector, Publish: method, Created: now, Published: &now, Activated: &now, Imported: file}
	return life, s.place(life, signer)
}
