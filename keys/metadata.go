package keys

import (
	"encoding/json"
	"fmt"
	"time"

	"signpost/internal/dkim"
)

// State is the stage of a key's life cycle.
type State string

// The states, in their order.
const (
	Generated State = "generated" // made; its record is not published
	Published State = "published" // its record is published; not every server shows it yet
	Verified  State = "verified"  // every server shows it, and a probe signed with it verifies; caches may not have it yet
	Active    State = "active"    // signs, if it is the newest of its algorithm
	Retiring  State = "retiring"  // no longer signs; stays published for the mail that it signed
	Revoked   State = "revoked"   // the record's p= is empty; the private key is gone
	Removed   State = "removed"   // only the metadata is left, which keeps the selector from being used again
	Unusable  State = "unusable"  // the file cannot be used, and nothing shows that the key has ever signed
)

// Metadata is SELECTOR.json. The state of a key follows from it: from the times of what was done and what was seen.
type Metadata struct {
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
	Reminded  *time.Time `json:"reminded,omitempty"`  // when its owner was last asked to publish it, or to empty it
	TTL       Span       `json:"ttl,omitempty"`       // of the record, as it was seen last
	// OldTTL is the longest TTL of another record that the selector had before: caches may still have it.
	OldTTL Span `json:"old_ttl,omitempty"`

	Activated *time.Time `json:"activated,omitempty"`
	// Unsafe states that the key was made to sign before its record was seen in DNS.
	Unsafe bool `json:"unsafe_activated,omitempty"`
	// Requested is when the operator asked for a successor that takes over as soon as it may.
	Requested   *time.Time `json:"rotate_requested,omitempty"`
	Imported    string     `json:"imported,omitempty"` // the file that the key came from, if another program made it
	Retired     *time.Time `json:"retired,omitempty"`
	Compromised bool       `json:"compromised,omitempty"`
	Revoked     *time.Time `json:"revoked,omitempty"`
	Confirmed   *time.Time `json:"confirmed,omitempty"` // manual: when DNS was first seen not to show the key any more
	Removed     *time.Time `json:"removed,omitempty"`
}

// State returns the state, which follows from the times.
func (m *Metadata) State() State {
	switch {
	case m.Removed != nil:
		return Removed
	case m.Revoked != nil:
		return Revoked
	case m.Retired != nil:
		return Retiring
	case m.Activated != nil:
		return Active
	case m.Seen != nil:
		return Verified
	case m.Published != nil:
		return Published
	}
	return Generated
}

// since returns when the key entered its state.
func (m *Metadata) since() time.Time {
	for _, t := range []*time.Time{m.Removed, m.Revoked, m.Retired, m.Activated, m.Seen, m.Published} {
		if t != nil {
			return *t
		}
	}
	return m.Created
}

// Pending reports whether a key has yet to sign for the first time.
func (s State) Pending() bool { return s == Generated || s == Published || s == Verified }

// unfinished reports whether the private key may never have been written, if it is missing: the metadata is written first, and an
// imported key is published from the start.
func (m *Metadata) unfinished() bool {
	s := m.State()
	return s == Generated || s == Published && m.Imported != ""
}

// RecordUnseen reports whether the record at the selector may be of another key: that of this one was never seen, and Signpost has
// not published it. With manual publishing, only another program's key counts: its owner has been asked to publish the others.
func (m *Metadata) RecordUnseen() bool {
	return m.Seen == nil && (m.Imported != "" || m.Published == nil && m.Publish != "manual")
}

// revokedRecord returns the record that revokes a key: RFC 6376 section 3.6.1.
func revokedRecord(algorithm string) string { return "v=DKIM1; k=" + algorithm + "; p=" }

// MetadataOf returns the metadata of a key. That of an unmanaged key is derived from the key and is not written.
func (r *Rotator) MetadataOf(k *Key) (*Metadata, error) {
	return metadataOf(k, r.Rules(k.Domain).Method)
}

func metadataOf(k *Key, method string) (*Metadata, error) {
	if k.Metadata != nil {
		return k.Metadata, nil
	}
	if k.Signer == nil {
		return nil, k.Err
	}
	record, err := dkim.FormatKeyRecord(k.Signer.Public())
	if err != nil {
		return nil, err
	}
	since := k.Since.UTC()
	m := &Metadata{Domain: k.Domain, Selector: k.Selector, Algorithm: k.Algorithm, Bits: k.Bits, Record: record, Publish: method,
		Created: since, Published: &since, Imported: k.Selector + ".pem"}
	if k.State == Active { // since its record was seen
		m.Seen, m.Activated = &since, &since
	}
	return m, nil
}

// Span is a time.Duration that is written as time.Duration.String writes it.
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
