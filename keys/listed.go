package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"
)

// STATE_DIR/listed.json records the domains that `dkimkey add --retire-missing` has added, and the days on which they were missing from the
// list. A domain that stays missing is removed.

const listedFile = "listed.json"

// ListedDomain is a domain that was added from a list.
type ListedDomain struct {
	Added   time.Time `json:"added"`
	Missing []string  `json:"missing_days,omitempty"` // the UTC days of the runs that did not find the domain since the list last had it, in order
}

// Listed has the domains that were added from a list.
type Listed map[string]*ListedDomain

const (
	// MissingDays is the number of runs, each on another day, in which a domain must be missing before it is removed.
	MissingDays = 3
	// mayRetire and mayRetirePercent limit how many domains a run removes. The larger limit counts. If more domains are missing, the list is
	// probably wrong.
	mayRetire        = 3
	mayRetirePercent = 2
)

// Listed reads STATE_DIR/listed.json. It returns an empty Listed if the file does not exist.
func (s Store) Listed() (Listed, error) {
	l := Listed{}
	data, err := s.ReadState(listedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil && (json.Unmarshal(data, &l) != nil || l == nil || slices.Contains(slices.Collect(maps.Values(l)), nil)) {
		err = errors.New("it is damaged; restore it from a backup, or delete it: then no domain counts as added from a list")
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(s.State, listedFile), err)
	}
	return l, nil
}

// WriteListed writes STATE_DIR/listed.json.
func (s Store) WriteListed(l Listed) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	s.step("write " + listedFile)
	return s.WriteState(listedFile, append(data, '\n'))
}

// Compare records which domains are missing from a list. It returns the missing domains, and those of them that are due for removal. It
// forgets the domains that are not in known, because they were removed in another way. If the clock was set back, it counts from the
// beginning, because a day in the future did not count.
func (l Listed) Compare(list []string, known map[string]bool, now time.Time) (missing, due []string) {
	has := map[string]bool{}
	for _, d := range list {
		has[d] = true
	}
	today := now.UTC().Format(time.DateOnly)
	for _, name := range slices.Sorted(maps.Keys(l)) {
		d := l[name]
		switch {
		case !known[name]:
			delete(l, name)
			continue
		case has[name]:
			d.Missing = nil
			continue
		}
		switch n := len(d.Missing); {
		case n > 0 && d.Missing[n-1] > today:
			d.Missing = []string{today}
		case n == 0 || d.Missing[n-1] < today:
			d.Missing = append(d.Missing, today)
		}
		missing = append(missing, name)
		if len(d.Missing) >= MissingDays {
			due = append(due, name)
		}
	}
	return missing, due
}

// MayRetire returns how many domains a run may remove.
func (l Listed) MayRetire() int { return max(mayRetire, len(l)*mayRetirePercent/100) }
