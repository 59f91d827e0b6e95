package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// STATE_DIR/removed/DOMAIN records the selectors of a domain that was removed. Mail that their keys signed is still under way, and
// their records stay in DNS until it has arrived: a key that is made later takes another selector (RFC 6376 section 3.1).

// reuseAfter is how long a selector of a ring is not used again after its domain was removed: the time for which
// `dkimkey remove` asks that its record be kept.
const reuseAfter = 14 * 24 * time.Hour

func (s Store) pastPath(domain string) string { return filepath.Join(s.State, "removed", domain) }

// past returns when each selector of a removed domain was removed. It is empty if the domain never was.
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
		return nil, fmt.Errorf("%s is damaged; remove it to use any selector of the domain again", s.pastPath(domain))
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
	if len(past) == 0 {
		return nil
	}
	data, err := json.MarshalIndent(past, "", "  ")
	if err != nil {
		return err
	}
	if err := s.MakeState("removed"); err != nil {
		return err
	}
	return s.tree().Write(s.pastPath(domain), append(data, '\n'), s.State, 0o600)
}

// MayBePublished reports whether the record of a key may be, or have been, in DNS.
func (k *Key) MayBePublished() bool {
	return k.Life == nil || k.State != Generated || k.Life.Publish == "manual"
}

// WithPast returns keys and, for Rules.FreeSelector, those of the domain before it was removed.
func (s Store) WithPast(domain string, keys []*Key) ([]*Key, error) {
	past, err := s.past(domain)
	if err != nil {
		return nil, err
	}
	all := append([]*Key{}, keys...)
	for selector, at := range past {
		all = append(all, &Key{Domain: domain, Selector: selector, State: Removed, Since: at, Life: &Life{TTL: Span(reuseAfter)}})
	}
	return all, nil
}
