package keys

import (
	"encoding/json"
	"fmt"
	"time"
)

// State is where a key stands in its life.
type State string

// The states, in their order.
const (
	Generated State = "generated" // made; the world does not know it
	Published State = "published" // handed to DNS; not every server shows it yet
	Verified  State = "verified"  // every server shows it, and a probe signed with it verifies; caches may not know it yet
	Active    State = "active"    // signs, if it is the newest of its algorithm
	Retiring  State = "retiring"  // signs no more; stays published for the mail that it signed
	Revoked   State = "revoked"   // the record's p= is empty; the private key is gone
	Removed   State = "removed"   // nothing is left but the memory that the selector was used
	Unusable  State = "unusable"  // the file cannot be used, and nothing shows that the key has ever signed
)

// Life is SELECTOR.json. The state of a key follows from what is recorded here: times of what was done, and what was seen.
type Life struct {
	Domain    string    `json:"domain"`
	Selector  string    `json:"selector"`
	Algorithm string    `json:"algorithm"` // "rsa" or "ed25519"
	Bits      int       `json:"bits"`
	Record    string    `json:"record"`  // the TXT record, in one piece
	Publish   string    `json:"publish"` // how the record gets into DNS: publish.method when the key was made
	Created   time.Time `json:"created"`

	Published *time.Time `json:"published,omitempty"` // when the record was handed over; manual: first seen
	Seen      *time.Time `json:"seen,omitempty"`      // since when every server shows it; taken back where one shows another
	Wait      Span       `json:"wait,omitempty"`      // how long it has to have been seen before it signs
	Silent    *time.Time `json:"silent,omitempty"`    // since when a server could not be asked, while the others show it
	Finding   string     `json:"finding,omitempty"`   // what the last check found, in words
	Reminded  *time.Time `json:"reminded,omitempty"`  // when its owner was last told to publish it, or to empty it
	TTL       Span       `json:"ttl,omitempty"`       // of the record, as it was seen last
	// OldTTL is the longest TTL of another record that the selector had before: caches may still have it.
	OldTTL Span `json:"old_ttl,omitempty"`

	Activated *time.Time `json:"activated,omitempty"`
	// Unsafe remembers that the key was made to sign without its record having been seen in DNS.
	Unsafe bool `json:"unsafe_activated,omitempty"`
	// Requested is when the operator asked for a successor that takes over as soon as it may.
	Requested   *time.Time `json:"rotate_requested,omitempty"`
	Imported    string     `json:"imported,omitempty"` // the file that the key came from, where another program made it
	Retired     *time.Time `json:"retired,omitempty"`
	Compromised bool       `json:"compromised,omitempty"`
	Revoked     *time.Time `json:"revoked,omitempty"`
	Confirmed   *time.Time `json:"confirmed,omitempty"` // where a person publishes: when DNS was seen to show the key no more
	Removed     *time.Time `json:"removed,omitempty"`
}

// State follows from the times.
func (l *Life) State() State {
	switch {
	case l.Removed != nil:
		return Removed
	case l.Revoked != nil:
		return Revoked
	case l.Retired != nil:
		return Retiring
	case l.Activated != nil:
		return Active
	case l.Seen != nil:
		return Verified
	case l.Published != nil:
		return Published
	}
	return Generated
}

// since is when the key came into its state.
func (l *Life) since() time.Time {
	for _, t := range []*time.Time{l.Removed, l.Revoked, l.Retired, l.Activated, l.Seen, l.Published} {
		if t != nil {
			return *t
		}
	}
	return l.Created
}

// pending says that the key is on its way to sign.
func (l *Life) pending() bool {
	s := l.State()
	return s == Generated || s == Published || s == Verified
}

// unfinished reports whether the private key may never have been written, if it is missing: the metadata is written first, and an
// imported key is published from the start.
func (l *Life) unfinished() bool {
	s := l.State()
	return s == Generated || s == Published && l.Imported != ""
}

// RecordUnseen reports whether the record at the selector may be of another key: this one was imported, and its own was never seen.
func (l *Life) RecordUnseen() bool { return l.Imported != "" && l.Seen == nil }

// revokedRecord is the record of a key that must not be believed any more: RFC 6376 section 3.6.1.
func (l *Life) revokedRecord() string { return "v=DKIM1; k=" + l.Algorithm + "; p=" }

// Span is a time.Duration that reads as a person writes it.
type Span time.Duration

// MarshalJSON writes "1h0m0s".
func (s Span) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).String()) }

// UnmarshalJSON reads it back.
func (s *Span) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no duration", text)
	}
	*s = Span(d)
	return nil
}
