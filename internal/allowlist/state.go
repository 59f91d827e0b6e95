package allowlist

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"time"

	"signpost/internal/spfset"
)

const day = 24 * time.Hour

// Ages of the last good answer of a domain that cannot be looked up.
const (
	WarnAfter = 7 * day  // action is needed
	DropAfter = 30 * day // it is dropped: its networks may belong to others
)

// state is FILE.state, which a run writes for the next one.
type state struct {
	Version   int                     `json:"version"`
	Made      time.Time               `json:"made"`                 // the day in the file's header
	ReloadDue bool                    `json:"reload_due,omitempty"` // the file has changed, and --reload has not succeeded since
	Domains   map[string]answered     `json:"domains"`
	Since     map[netip.Prefix]string `json:"since"` // the day on which each network was listed
}

// answered is the last good answer of a domain.
type answered struct {
	At       time.Time      `json:"at"`
	Networks []netip.Prefix `json:"networks"`
	Notes    []string       `json:"notes,omitempty"`
}

const stateVersion = 1

func newState() *state {
	return &state{Version: stateVersion, Domains: map[string]answered{}, Since: map[netip.Prefix]string{}}
}

// readState returns the state that the last run wrote, or an empty one and the error that makes it unusable.
func readState(at *place) (s *state, lost error) {
	data, err := at.read()
	if err != nil {
		return newState(), err
	}
	s = &state{}
	err = json.Unmarshal(data, s)
	switch {
	case err != nil:
	case s.Version != stateVersion:
		err = fmt.Errorf("its version is %d", s.Version)
	case s.Domains == nil || s.Since == nil:
		err = errors.New("something is missing")
	}
	for domain, a := range s.Domains {
		if slices.ContainsFunc(a.Networks, func(p netip.Prefix) bool { return !p.IsValid() }) {
			err = fmt.Errorf("a network of %q is none", domain)
		}
	}
	if err != nil {
		return newState(), fmt.Errorf("%s is broken (%w); a new one is made", at.path(), err)
	}
	return s, nil
}

// parts returns the domains of the last list.
func (s *state) parts() (all []listed) {
	for _, domain := range slices.Sorted(maps.Keys(s.Domains)) {
		all = append(all, listed{domain: domain, set: spfset.Of(s.Domains[domain].Networks...)})
	}
	return all
}

func (s *state) write(at *place) error {
	data, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	d, err := at.newDraft(append(data, '\n'))
	if err != nil {
		return err
	}
	return at.use(d)
}

// fold updates the state and returns the parts of the new list. A domain that could not be looked up keeps its last good answer until that is
// too old. fold prints what needs action.
func (m *Maker) fold(s *state, found []finding) []listed {
	var all []listed
	kept := map[string]answered{}
	for _, f := range found {
		last, known := s.Domains[f.domain]
		now := m.Now()
		if f.err != nil && m.fallsBack(f, last, known, now) {
			kept[f.domain] = last
			all = append(all, listed{f.domain, spfset.Of(last.Networks...), last.Notes})
			continue
		}
		m.informNew(f, last.Notes)
		if f.err == nil {
			kept[f.domain] = answered{At: now.UTC(), Networks: f.answer.Networks.Prefixes(), Notes: f.answer.Notes}
		} else if f.answer.Empty() {
			continue
		}
		all = append(all, listed{f.domain, f.answer.Networks, f.answer.Notes})
	}
	s.Domains = kept
	return all
}

// informNew prints the notes of a domain that the last run did not have.
func (m *Maker) informNew(f finding, before []string) {
	for _, note := range f.answer.Notes {
		if !slices.Contains(before, note) {
			m.inform("%s: %s", f.domain, note)
		}
	}
}

// fallsBack reports whether a domain that could not be looked up keeps its last good answer. Otherwise only what was found is listed.
func (m *Maker) fallsBack(f finding, last answered, known bool, now time.Time) bool {
	if !known {
		m.warn("%s; there is no earlier answer, so that %s", f.why(), f.rest())
		return false
	}
	on, until := last.At.Format(time.DateOnly), last.At.Add(DropAfter).Format(time.DateOnly)
	switch age := now.Sub(last.At); {
	case age > DropAfter:
		m.warn("%s; the last good answer, of %s, is too old, so that %s", f.why(), on, f.rest())
		return false
	case age > WarnAfter || !f.err.Temporary:
		m.warn("%s; the answer of %s stays listed until %s", f.why(), on, until)
	}
	return true
}

// rest returns what is listed of a domain that could not be looked up.
func (f finding) rest() string {
	if f.answer.Empty() {
		return "it is not listed"
	}
	return "only what passes before that is listed"
}

// manyFail returns an error if so many domains failed that the cause is probably local.
func manyFail(found []finding) error {
	var first *spfset.Error
	failed, temporary := 0, 0
	for _, f := range found {
		if f.err == nil || !f.answer.Empty() {
			continue
		}
		if failed++; first == nil {
			first = f.err
		}
		if f.err.Temporary {
			temporary++
		}
	}
	if failed < len(found) && (temporary < 2 || 2*temporary < len(found)) {
		return nil
	}
	return fmt.Errorf("%d of %d domains could not be looked up (%w), so that something may be wrong with DNS here", failed, len(found), first)
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
