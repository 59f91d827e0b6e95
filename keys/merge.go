package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

// The hosts of a cluster change keys only while they hold the lease. If two hosts have changed the same key nevertheless, for example with
// dkimkey revoke during an outage, Merge decides which of the changes stays.

// stage returns the position in the life cycle of a key. Published and verified are one stage: a check may find that the record is no longer
// correct, so a key can return from verified to published.
func (f *Files) stage() int {
	if f.Deleted {
		return 6
	}
	switch f.state() {
	case Generated:
		return 1
	case Published, Verified:
		return 2
	case Active:
		return 3
	case Retiring:
		return 4
	case Revoked, Removed:
		return 5
	}
	return 0 // unmanaged
}

func (f *Files) created() time.Time {
	if f.metadata == nil {
		return time.Time{}
	}
	return f.metadata.Created
}

// further reports whether f must not be replaced by other.
func (f *Files) further(other *Files) bool {
	switch {
	case other == nil:
		return true
	case f.record == other.record || f.record == "" || other.record == "":
	case f.Gone() != other.Gone():
		// In a ring, a selector gets a new key after its last key was removed.
		if !f.created().Equal(other.created()) {
			return f.created().After(other.created())
		}
	case f.Active() != other.Active():
		return f.Active() // otherwise, the mail of the domain would not be signed
	}
	if f.state() == Removed && other.state() == Revoked {
		return !other.Deleted
	}
	return f.stage() > other.stage()
}

// Merge returns the files that a host must have, if its own files are local and another host sent other. A key never goes back in its life
// cycle, and stays compromised. If both are in the same stage, other wins, so that all hosts come to the same result. The result is local or
// other, unless properties of both are needed. The parameter local may be nil.
func Merge(local, other *Files) (*Files, error) {
	if local == nil || local.Missing && !local.further(other) {
		return other, nil
	}
	if local.further(other) {
		return local, nil
	}
	l, o := local.metadata, other.metadata
	if l == nil || o == nil || other.Deleted || l.Record != o.Record {
		return other, nil
	}
	m := *o
	m.Compromised = m.Compromised || l.Compromised
	if m.Published == nil {
		m.Published = l.Published // otherwise, the record would not be removed
	}
	if m.Requested == nil && m.Retired == nil {
		m.Requested = l.Requested
	}
	if m.Compromised == o.Compromised && m.Published == o.Published && m.Requested == o.Requested {
		return other, nil
	}
	return FilesFrom(&m, other.PEM)
}

// removalMark is the name in STATE_DIR/removed/DOMAIN under which the time of the removal is recorded. It is not a selector.
const removalMark = ""

// ParseRemoved returns the time at which a domain was removed: STATE_DIR/removed/DOMAIN has data. It is zero if data is nil.
func ParseRemoved(data []byte) (time.Time, error) {
	past, err := parsePast(data)
	return past[removalMark], err
}

func parsePast(data []byte) (map[string]time.Time, error) {
	past := map[string]time.Time{}
	if data == nil {
		return past, nil
	}
	if json.Unmarshal(data, &past) != nil {
		return nil, errors.New("the list of removed selectors is damaged")
	}
	return past, nil
}

// MergeRemoved adds the removed selectors of another host to STATE_DIR/removed/DOMAIN. It keeps the later time of a selector. The caller
// holds the lock.
func (s Store) MergeRemoved(domain string, data []byte) error {
	other, err := parsePast(data)
	if err != nil {
		return err
	}
	past, err := s.past(domain)
	if err != nil {
		return err
	}
	before := maps.Clone(past)
	for selector, at := range other {
		if at.After(past[selector]) {
			past[selector] = at
		}
	}
	if maps.EqualFunc(before, past, time.Time.Equal) {
		return nil
	}
	if err := s.MakeState("removed"); err != nil {
		return err
	}
	if err := s.writeJSON(s.pastPath(domain), past, s.State); err != nil {
		return fmt.Errorf("recording the removed selectors of %s: %w", domain, err)
	}
	return nil
}
