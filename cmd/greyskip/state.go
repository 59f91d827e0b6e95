package main

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

const (
	sayAfter  = 7 * day  // a domain's last good answer is this old: a person should look
	dropAfter = 30 * day // it is no longer believed: networks are given to others
)

// state is FILE.state, what a run leaves for the next one.
type state struct {
	Version   int                     `json:"version"`
	Made      time.Time               `json:"made"`                 // the day in the file's header
	ReloadDue bool                    `json:"reload_due,omitempty"` // the file has changed, and --reload has not succeeded since
	Domains   map[string]answered     `json:"domains"`
	Since     map[netip.Prefix]string `json:"since"` // the day on which each network was listed
}

// answered is a domain's last good answer.
type answered struct {
	At       time.Time      `json:"at"`
	Networks []netip.Prefix `json:"networks"`
	Notes    []string       `json:"notes,omitempty"`
}

const stateVersion = 1

func newState() *state {
	return &state{Version: stateVersion, Domains: map[string]answered{}, Since: map[netip.Prefix]string{}}
}

// readState returns the state that the last run wrote, or an empty one. lost is why there is none that can be used.
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

// parts are those of the last list.
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
	return d.use()
}

// fold takes what was found into the state, and gives what is to be listed: a domain that could not be looked up keeps its
// last good answer while that is not too old. It says what a person has to know.
func (e *env) fold(s *state, found []finding) []listed {
	var all []listed
	kept := map[string]answered{}
	for _, f := range found {
		last, known := s.Domains[f.domain]
		now := e.now()
		if f.err != nil && e.fallsBack(f, last, known, now) {
			kept[f.domain] = last
			all = append(all, listed{f.domain, spfset.Of(last.Networks...), last.Notes})
			continue
		}
		e.sayNew(f, last.Notes)
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

// sayNew says what is not listed of a domain, once.
func (e *env) sayNew(f finding, before []string) {
	for _, note := range f.answer.Notes {
		if !slices.Contains(before, note) {
			e.say("%s: %s", f.domain, note)
		}
	}
}

// fallsBack says whether a domain that could not be looked up has a last good answer that may be believed. Otherwise it is listed
// as far as it could be looked up.
func (e *env) fallsBack(f finding, last answered, known bool, now time.Time) bool {
	if !known {
		e.need("%s; there is no earlier answer, so that %s", f.why(), f.rest())
		return false
	}
	on, until := last.At.Format(time.DateOnly), last.At.Add(dropAfter).Format(time.DateOnly)
	switch age := now.Sub(last.At); {
	case age > dropAfter:
		e.need("%s; the last good answer, of %s, is too old, so that %s", f.why(), on, f.rest())
		return false
	case age > sayAfter || !f.err.Temporary:
		e.need("%s; the answer of %s stays listed until %s", f.why(), on, until)
	}
	return true
}

// rest says what is listed of a domain that could not be looked up.
func (f finding) rest() string {
	if f.answer.Empty() {
		return "it is not listed"
	}
	return "only what passes before that is listed"
}

// manyFail says why it is more likely that something is wrong here than with the domains; nil where it is not.
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
