package cluster

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"signpost/internal/durable"
)

// RuleID identifies a rule.
type RuleID struct{ Kind, Name string }

func (r RuleID) String() string { return r.Kind + "/" + r.Name }

func (r RuleID) row() rowID { return rowID{r.Kind, r.Name} }

// MarshalText makes RuleID a key of a JSON object.
func (r RuleID) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText parses the text of MarshalText.
func (r *RuleID) UnmarshalText(text []byte) error {
	r.Kind, r.Name, _ = strings.Cut(string(text), "/")
	return nil
}

// keyID identifies a key.
type keyID struct{ domain, selector string }

func (k keyID) String() string { return k.domain + "/" + k.selector }

func (k keyID) row() rowID { return rowID{k.domain, k.selector} }

// MarshalText makes keyID a key of a JSON object.
func (k keyID) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText parses the text of MarshalText.
func (k *keyID) UnmarshalText(text []byte) error {
	k.domain, k.selector, _ = strings.Cut(string(text), "/")
	return nil
}

// state is what this host knows of the cluster: STATE_DIR/cluster/state.json.
type state struct {
	Site    string               `json:"site"`
	Host    string               `json:"host"`
	Version int64                `json:"version"` // the host has read all rows up to this version
	Restore int64                `json:"restore"` // the version of the rule restoreRule
	Epoch   int64                `json:"epoch"`   // the highest epoch of the lease
	Keys    map[keyID]keyState   `json:"keys"`
	Rules   map[RuleID]ruleState `json:"rules"`
	// Revoked has the fingerprints of keys that were revoked or removed. No row can bring back such a private key.
	Revoked map[keyID][]string `json:"revoked"`
	Refused []refusal          `json:"refused"`
}

// keyState is the last row of a key that this host read or wrote.
type keyState struct {
	Version int64  `json:"version"` // 0: the database has no row, or it must be written again
	Hash    string `json:"hash"`    // of the files as in the row; empty: the files differ, because the local state is further
	Born    int64  `json:"born"`
	Stopped int64  `json:"stopped"`
	Deleted bool   `json:"deleted,omitempty"`
	Record  string `json:"record,omitempty"` // the fingerprint of the key
}

// ruleState is the last row of a rule that this host read or wrote.
type ruleState struct {
	Version int64  `json:"version"`
	Body    string `json:"body"` // JSON, or the text of a rule; empty: deleted
	// Base is the body when the file of shared rules was last merged with the database.
	Base  string `json:"base,omitempty"`
	Dirty bool   `json:"dirty,omitempty"` // the body must be written to the database
}

// refusal is a row that this host refused.
type refusal struct {
	Table   string `json:"table"`
	ID      rowID  `json:"id"`
	Version int64  `json:"version"`
	Reason  string `json:"reason"`
}

// rowID is the primary key of a row: domain and selector, kind and name, or a name. A refused row may contain any text.
type rowID [2]string

func (r rowID) String() string { return strings.TrimSuffix(r[0]+"/"+r[1], "/") }

// maxState is the maximum size of the file in bytes. A key needs about 300 bytes.
const maxState = 256 << 20

func parseState(data []byte) (*state, error) {
	s := &state{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, errors.New("it is damaged")
	}
	if s.Site == "" || s.Host == "" || s.Version < 0 || s.Epoch < 0 {
		return nil, errors.New("it is incomplete")
	}
	s.init()
	return s, nil
}

func (s *state) init() {
	if s.Keys == nil {
		s.Keys = map[keyID]keyState{}
	}
	if s.Rules == nil {
		s.Rules = map[RuleID]ruleState{}
	}
	if s.Revoked == nil {
		s.Revoked = map[keyID][]string{}
	}
}

// revoke records that the private key with a fingerprint must not come back.
func (s *state) revoke(id keyID, fingerprint string) {
	if fingerprint != "" && !slices.Contains(s.Revoked[id], fingerprint) {
		s.Revoked[id] = append(s.Revoked[id], fingerprint)
	}
}

// accept removes a row from the refused ones.
func (s *state) accept(table string, id rowID) {
	s.Refused = slices.DeleteFunc(s.Refused, func(r refusal) bool { return r.Table == table && r.ID == id })
}

// ack returns the version up to which this host has the keys.
func (s *state) ack() int64 {
	v := s.Version
	for _, r := range s.Refused {
		if r.Table == "sp_key" && r.Reason != refusedMissing {
			v = min(v, r.Version-1)
		}
	}
	return max(v, 0)
}

// stateFile is the file of the state.
type stateFile struct {
	dir  string // STATE_DIR
	last []byte // what was last written
}

const (
	stateDir  = "cluster"
	stateName = "state.json"
)

// load returns nil if this host has not joined.
func (f *stateFile) load() (*state, error) {
	tree := durable.Tree{f.dir}
	var data []byte
	err := tree.In(filepath.Join(f.dir, stateDir, stateName), func(dir *os.Root, name string) (err error) {
		data, err = durable.Read(dir, name, maxState)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := parseState(data)
	if err != nil {
		return nil, stop(NotJoined, "remove the file and run signpost cluster join", "%s: %v", filepath.Join(f.dir, stateDir, stateName), err)
	}
	f.last = data
	return s, nil
}

// save writes the state if it has changed.
func (f *stateFile) save(s *state) error {
	data, err := json.Marshal(s)
	if err != nil || string(data) == string(f.last) {
		return err
	}
	tree := durable.Tree{f.dir}
	if err := tree.MakeDir(filepath.Join(f.dir, stateDir)); err != nil {
		return err
	}
	if err := tree.Write(filepath.Join(f.dir, stateDir, stateName), data, f.dir, 0o600); err != nil {
		return err
	}
	f.last = data
	return nil
}
