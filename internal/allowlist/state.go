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

// Limits on the age of a domain's last good answer, while its lookup fails.
const (
	WarnAfter = 7 * day  // above this age, a warning is printed
	DropAfter = 30 * day // above this age, the answer is dropped, because the networks may have new owners
)

// state is the content of FILE.state, which a run writes for the next run.
type state struct {
	Version   int                     `json:"version"`
	Made      time.Time               `json:"made"`                 // the date in the header of the file
	ReloadDue bool                    `json:"reload_due,omitempty"` // --reload has not succeeded since the last change of the file
	Domains   map[string]answered     `json:"domains"`
	Since     map[netip.Prefix]string `json:"since"` // the date on which each network was listed
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

// readState returns the state of the last run, or an empty state and an error.
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
		err = fmt.Errorf("unknown version %d", s.Version)
	case s.Domains == nil || s.Since == nil:
		err = errors.New("a field is missing")
	}
	for domain, a := range s.Domains {
		if slices.ContainsFunc(a.Networks, func(p netip.Prefix) bool { return !p.IsValid() }) {
			err = fmt.Errorf("a network of %q is invalid", domain)
		}
	}
	if err != nil {
		return newState(), fmt.Errorf("%s is damaged (%w) and will be recreated", at.path(), err)
	}
	return s, nil
}

// parts returns the domains of the last list, with their networks.
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

// updateState updates s and returns the parts of the new list. If a domain's lookup failed, the domain keeps its last good answer until
// DropAfter. The same applies if its record no longer permits any address. updateState prints notes and warnings.
func (m *Maker) updateState(s *state, found []finding) []listed {
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
		if f.err == nil && f.answer.Empty() && len(last.Networks) > 0 && m.stopped(f, last, now) {
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

// informNew prints the notes of a domain, except those in the parameter before.
func (m *Maker) informNew(f finding, before []string) {
	for _, note := range f.answer.Notes {
		if !slices.Contains(before, note) {
			m.inform("%s: %s", f.domain, note)
		}
	}
}

// deletes returns what to do about a domain that no longer publishes addresses.
func (m *Maker) deletes(name string) string {
	from := "the domain from the command line"
	if n := m.Lines[name]; n > 0 {
		from = fmt.Sprintf("line %s:%d", m.DomainsFile, n)
	}
	return "delete " + from + " if the domain no longer sends mail"
}

// stopped reports whether a domain whose record no longer permits any address keeps its last networks. It prints a warning.
func (m *Maker) stopped(f finding, last answered, now time.Time) bool {
	on, until := last.At.Format(time.DateOnly), last.At.Add(DropAfter)
	kept := now.Sub(last.At) <= DropAfter
	rest := "its last networks are listed until " + until.Format(time.DateOnly)
	if !kept {
		rest = "its last networks are no longer listed"
	}
	m.warn("%s has stopped publishing addresses: its SPF record permitted addresses on %s, and permits none now; %s; %s", f.domain, on, rest, m.deletes(f.domain))
	return kept
}

// fallsBack reports whether a domain whose lookup failed keeps its last good answer. It prints a warning if action is needed.
func (m *Maker) fallsBack(f finding, last answered, known bool, now time.Time) bool {
	if !known {
		m.warn("%s; there is no earlier answer, so %s", f.why(), f.rest())
		return false
	}
	on, until := last.At.Format(time.DateOnly), last.At.Add(DropAfter).Format(time.DateOnly)
	switch age := now.Sub(last.At); {
	case age > DropAfter:
		m.warn("%s; the last good answer (%s) is too old, so %s", f.why(), on, f.rest())
		return false
	case !f.err.Temporary:
		m.warn("%s; the last good answer (%s) is used until %s; %s", f.why(), on, until, m.deletes(f.domain))
	case age > WarnAfter:
		m.warn("%s; the last good answer (%s) is used until %s", f.why(), on, until)
	}
	return true
}

// rest states which part of a domain is listed if its lookup failed and there is no last good answer.
func (f finding) rest() string {
	if f.answer.Empty() {
		return "the domain is not listed"
	}
	return "only the terms before the failure are listed"
}

// manyFail returns an error if so many lookups failed that the cause is probably local.
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
	return fmt.Errorf("the lookup failed for %d of %d domains (%w); check DNS on this host", failed, len(found), first)
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
