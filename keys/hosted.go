package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"signpost/internal/domain"
)

// STATE_DIR/hosted/DOMAIN records that a domain is hosted, from just before its first key is activated until `dkimkey remove DOMAIN`.
// Without this record, a lost key would look like a domain that was never signed, and its mail would leave unsigned.

func (s Store) hostedPath(domain string) string { return filepath.Join(s.State, "hosted", domain) }

// Host records that a domain is hosted. The caller holds the domain's lock.
func (s Store) Host(domain string) error {
	path := s.hostedPath(domain)
	err := s.tree().MakeDir(filepath.Dir(path))
	if err == nil && !s.tree().Exists(path) {
		err = s.tree().Write(path, []byte(s.Now().UTC().Format(time.RFC3339)+"\n"), filepath.Dir(path), 0o600)
	}
	if err != nil {
		return fmt.Errorf("recording the hosted domain %s: %w", domain, err)
	}
	return nil
}

// Unhost deletes the record that a domain is hosted. The caller holds the domain's lock.
func (s Store) Unhost(domain string) error {
	if err := s.tree().Remove(s.hostedPath(domain)); err != nil {
		return fmt.Errorf("deleting the record of the hosted domain %s: %w", domain, err)
	}
	return nil
}

// Hosted returns all domains that are recorded as hosted. There are none where there is no such directory.
func (s Store) Hosted() (map[string]bool, error) {
	hosted := map[string]bool{}
	dir, err := s.tree().Open(filepath.Join(s.State, "hosted"))
	if errors.Is(err, fs.ErrNotExist) {
		return hosted, nil
	}
	if err == nil {
		defer dir.Close()
		var entries []fs.DirEntry
		entries, err = fs.ReadDir(dir.FS(), ".")
		for _, e := range entries {
			if d, err := domain.Parse(e.Name()); err == nil {
				hosted[d] = true
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the hosted domains: %w", err)
	}
	return hosted, nil
}
