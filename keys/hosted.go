package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"signpost/internal/domain"
)

// The file STATE_DIR/hosted/DOMAIN records that a domain is hosted. It is created just before the first key of the domain is activated, and
// `dkimkey remove DOMAIN` deletes it. Without this record, a domain whose key was lost would look like a domain that never had a key. Its
// mail would be sent unsigned.

func (s Store) hostedPath(domain string) string { return filepath.Join(s.State, "hosted", domain) }

// Host marks a domain as hosted. The caller holds the domain's lock.
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

// Unhost deletes the file that records a domain as hosted. The caller holds the domain's lock.
func (s Store) Unhost(domain string) error {
	if err := s.tree().Remove(s.hostedPath(domain)); err != nil {
		return fmt.Errorf("deleting the record of the hosted domain %s: %w", domain, err)
	}
	return nil
}

// Hosted returns all domains that are recorded as hosted. It returns an empty map if the directory does not exist.
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

// STATE_DIR/removed/DOMAIN records the selectors of a removed domain. Mail that was signed with these selectors may be in transit. Their
// records therefore stay in DNS for a while, and a new key must use another selector (RFC 6376 section 3.1). The file also records when the
// domain was removed. If the hosts of a cluster share their keys, only this record shows that missing files were deleted on purpose.

// reuseAfter is the time after the removal of a domain until a ring may use its selectors again. `dkimkey remove` asks the operator
// to keep the records for this time.
const reuseAfter = 14 * 24 * time.Hour

func (s Store) pastPath(domain string) string { return filepath.Join(s.State, "removed", domain) }

// past returns the time at which each selector of a domain was removed. It returns an empty map if the domain was never removed.
func (s Store) past(domain string) (map[string]time.Time, error) {
	past := map[string]time.Time{}
	data, err := s.tree().Read(s.pastPath(domain))
	if errors.Is(err, fs.ErrNotExist) {
		return past, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.pastPath(domain), err)
	}
	if json.Unmarshal(data, &past) != nil {
		return nil, fmt.Errorf("%s is damaged; remove it to allow all selectors of the domain again", s.pastPath(domain))
	}
	return past, nil
}

// rememberSelectors records the selectors of a domain's keys before they are removed.
func (s Store) rememberSelectors(domain string) error {
	set, err := s.LoadDomain(domain, nil)
	if err != nil {
		return err
	}
	past, err := s.past(domain)
	if err != nil {
		return err
	}
	for _, k := range set.Of(domain) {
		if k.Selector != "" && !k.Foreign && k.MayBePublished() {
			past[strings.ToLower(k.Selector)] = s.Now().UTC()
		}
	}
	if len(past) == 0 && len(set.Of(domain)) == 0 {
		return nil
	}
	past[removalMark] = s.Now().UTC()
	if err := s.MakeState("removed"); err != nil {
		return err
	}
	return s.writeJSON(s.pastPath(domain), past, s.State)
}

// MayBePublished reports whether the record of a key may be in DNS now, or may have been in DNS before.
func (k *Key) MayBePublished() bool {
	return k.Metadata == nil || k.State != Generated || k.Metadata.Publish == "manual" || k.Metadata.ByHand
}

// WithPast returns the given keys, and the keys that the domain had before it was removed. Rules.FreeSelector needs both.
func (s Store) WithPast(domain string, keys []*Key) ([]*Key, error) {
	past, err := s.past(domain)
	if err != nil {
		return nil, err
	}
	all := append([]*Key{}, keys...)
	delete(past, removalMark)
	for selector, at := range past {
		all = append(all, &Key{Domain: domain, Selector: selector, State: Removed, Since: at, Metadata: &Metadata{TTL: Span(reuseAfter)}})
	}
	return all, nil
}

// RemoveDomain deletes the keys of a domain, and then the file that records the domain as hosted. The domain counts as hosted until its
// keys are deleted, so that no message is signed by only one key of a pair. It returns the keys before the removal and the keys that could
// not be removed.
func (s Store) RemoveDomain(ctx context.Context, domain string) (before, left []*Key, err error) {
	unlock, err := s.Lock(ctx, domain)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	set, err := s.LoadDomain(domain, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Remove(domain); err != nil {
		return nil, nil, err
	}
	if err := s.Unhost(domain); err != nil {
		return nil, nil, err
	}
	now, err := s.LoadDomain(domain, nil)
	if err != nil {
		return nil, nil, err
	}
	return set.Of(domain), now.Of(domain), nil
}
