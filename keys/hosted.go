package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"signpost/internal/dkim"
)

// Hosted remembers which domains are ours: STATE_DIR/hosted/DOMAIN, one small file each, from a domain's first active key
// until `dkimkey remove DOMAIN`. Without this memory a lost key would look like a domain that was never signed, and its
// mail would leave unsigned.
type Hosted struct {
	Dir string // STATE_DIR/hosted
	Now func() time.Time
}

// Add records a domain. It does nothing where it is recorded already.
func (h Hosted) Add(domain string) error {
	if err := makeDir(h.Dir); err != nil {
		return fmt.Errorf("recording the hosted domain %s: %w", domain, err)
	}
	path := filepath.Join(h.Dir, domain)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := writeDurable(path, []byte(h.Now().UTC().Format(time.RFC3339)+"\n"), h.Dir); err != nil {
		return fmt.Errorf("recording the hosted domain %s: %w", domain, err)
	}
	return nil
}

// Remove forgets a domain.
func (h Hosted) Remove(domain string) error {
	err := os.Remove(filepath.Join(h.Dir, domain))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the hosted domain %s: %w", domain, err)
	}
	return nil
}

// Read gives all recorded domains. No folder means that there is none yet.
func (h Hosted) Read() (map[string]bool, error) {
	entries, err := os.ReadDir(h.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the hosted domains: %w", err)
	}
	hosted := map[string]bool{}
	for _, e := range entries {
		if d, err := dkim.Domain(e.Name()); err == nil {
			hosted[d] = true
		}
	}
	return hosted, nil
}
