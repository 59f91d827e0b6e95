package keys

import (
	"encoding/json"
	"fmt"
	"time"

	"signpost/internal/dkim"
)

// State is a stage in the life cycle of a key.
type State string

// The states, in order.
const (
	Generated State = "generated" // created; its record is not published
	Published State = "published" // its record is published, but not every server has it yet
	Verified  State = "verified"  // every server has the record and a probe verifies; caches may have an older answer
	Active    State = "active"    // signs if it is the newest active key of its algorithm
	Retiring  State = "retiring"  // no longer signs; its record stays in DNS for the mail that it signed
	Revoked   State = "revoked"   // the record's p= is empty; the private key is deleted
	Removed   State = "removed"   // the record is removed; the metadata reserves the selector
	Unusable  State = "unusable"  // the file cannot be used, and there is no sign that the key was ever active
)

// Metadata is the content of SELECTOR.json. The times in it determine the state of the key.
type Metadata struct {
	Domain    string    `json:"domain"`
	Selector  string    `json:"selector"`
	Algorithm string    `json:"algorithm"` // "rsa" or "ed25519"
	Bits      int       `json:"bits"`
	Record    string    `json:"record"`  // the TXT record, in one piece
	Publish   string    `json:"publish"` // publish.method when the key was created
	Created   time.Time `json:"created"`

	Published *time.Time `json:"published,omitempty"` // when the record was published; with publish.method manual: when it was first found
	Seen      *time.Time `json:"seen,omitempty"`      // the time since which every server has the record; reset if a server has another record
	Wait      Span       `json:"wait,omitempty"`      // how long the record must be visible before the key signs
	Silent    *time.Time `json:"silent,omitempty"`    // the time since which a server has not answered, while the others have the record
	Finding   string     `json:"finding,omitempty"`   // the result of the last check, as text
	Reminded  *time.Time `json:"reminded,omitempty"`  // the last reminder to publish or empty the record
	ByHand    bool       `json:"by_hand,omitempty"`   // the operator publishes the record, because its zone is foreign: see ForeignZone
	TTL       Span       `json:"ttl,omitempty"`       // the TTL of the record at the last check
	// OldTTL is the longest TTL of an earlier record at the selector: caches may still have it.
	OldTTL Span `json:"old_ttl,omitempty"`

	Activated *time.Time `json:"activated,omitempty"`
	// Unsafe is set if the key was activated without a check of its record.
	Unsafe bool `json:"unsafe_activated,omitempty"`
	// Requested is the time at which the operator requested a rotation. The successor of the key then takes over as soon as it may sign.
	Requested   *time.Time `json:"rotate_requested,omitempty"`
	Imported    string     `json:"imported,omitempty"` // Foreign.Source of the key if another program created it
	Retired     *time.Time `json:"retired,omitempty"`
	Stopped     *time.Time `json:"stopped,omitempty"` // in a cluster: when a run first found that each host knows that the key is retired
	Compromised bool       `json:"compromised,omitempty"`
	Revoked     *time.Time `json:"revoked,omitempty"`
	Confirmed   *time.Time `json:"confirmed,omitempty"` // if the operator publishes the record: when a check first found that DNS no longer has the key
	Removed     *time.Time `json:"removed,omitempty"`
}

// State returns the state.
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

// since returns the time at which the key entered its present state.
func (m *Metadata) since() time.Time {
	for _, t := range []*time.Time{m.Removed, m.Revoked, m.Retired, m.Activated, m.Seen, m.Published} {
		if t != nil {
			return *t
		}
	}
	return m.Created
}

// Pending reports whether a key has not been activated yet.
func (s State) Pending() bool { return s == Generated || s == Published || s == Verified }

// unfinished reports whether a run may have been interrupted between writing the metadata and writing the private key. An imported key is
// in state published at that time.
func (m *Metadata) unfinished() bool {
	s := m.State()
	return s == Generated || s == Published && m.Imported != ""
}

// RecordUnseen reports whether the record at the selector may belong to another key. This is so if the record of this key was never found
// and Signpost has not published it. If the operator publishes the records, RecordUnseen is true only for imported keys, because dkimkey has
// asked the operator to publish the records of all other keys.
func (m *Metadata) RecordUnseen() bool {
	return m.Seen == nil && (m.Imported != "" || m.Published == nil && m.Publish != "manual" && !m.ByHand)
}

// byHand reports whether the operator publishes the record of a key.
func (m *Metadata) byHand(r Rules) bool { return r.Manual() || m != nil && m.ByHand }

// revokedRecord returns the record of a revoked key: RFC 6376 section 3.6.1.
func revokedRecord(algorithm string) string { return "v=DKIM1; k=" + algorithm + "; p=" }

// MetadataOf returns the metadata of a key. For an unmanaged key, it derives the metadata from the key and does not save it.
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
	if k.State == Active { // since its record was found
		m.Seen, m.Activated = &since, &since
	}
	return m, nil
}

// Span is a time.Duration that is encoded in JSON as a string, such as "1h0m0s".
type Span time.Duration

// MarshalJSON returns the duration in the format of time.Duration.String.
func (s Span) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).String()) }

// UnmarshalJSON parses a duration as time.ParseDuration does.
func (s *Span) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration", text)
	}
	*s = Span(d)
	return nil
}
