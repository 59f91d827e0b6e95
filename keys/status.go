package keys

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Status is a key as it is shown to people.
type Status struct {
	*Key
	Signs  bool
	Next   string // what happens next
	Action string // what a person has to do; empty: nothing
	Steps  []Step // its own, due and to come
}

const (
	// oldKey is the age from which a key that is not rotated is mentioned: M3AAWG asks for a new one every six months.
	oldKey = 180 * 24 * time.Hour
	// publishGrace is how long a record that a program publishes may take to be seen.
	publishGrace = 24 * time.Hour
	// manualGrace is the same for a record that a person publishes or empties; rotate reminds that person as often.
	manualGrace = 7 * 24 * time.Hour
	// activateGrace is more than the time between two daily runs of rotate.
	activateGrace = 48 * time.Hour
)

const (
	dateFormat = "2006-01-02"
	timeFormat = "2006-01-02 15:04"
)

// Status returns every key, by domain and selector.
func (s *Set) Status(rules func(domain string) Rules, now time.Time) []Status {
	var all []Status
	for _, domain := range s.Known() {
		plan := Plan(s.Of(domain), rules(domain), now)
		for _, k := range s.Of(domain) {
			st := Status{Key: k, Signs: s.Signs(k)}
			for _, step := range plan {
				if step.Key == k {
					st.Steps = append(st.Steps, step)
				}
			}
			st.Next = st.next(plan, rules(domain), now)
			st.Action = st.action(rules(domain), now)
			all = append(all, st)
		}
	}
	return all
}

// Unseen reports whether a key was activated without the interlock and its record has not been seen since.
func (k *Key) Unseen() bool {
	return k.Metadata != nil && k.State == Active && k.Metadata.Unsafe && k.Metadata.Seen == nil
}

func (s Status) next(plan []Step, rules Rules, now time.Time) string {
	if s.Elsewhere {
		return "a systemd credential, which only the daemon reads"
	}
	if s.Err != nil {
		return "cannot be used: " + s.Err.Error()
	}
	var successor time.Time
	for _, step := range plan {
		if step.Key != s.Key && step.Do == DoActivate && step.Algorithm == s.Algorithm {
			successor = step.Due
		}
	}
	unmanaged := s.Metadata == nil
	next := ""
	switch s.State {
	case Generated:
		next = "rotate publishes its record"
		if rules.Manual() {
			next = "put its record into DNS (dkimkey show " + s.Domain + " " + s.Selector + "); rotate looks for it"
		}
	case Published:
		next = "rotate looks for its record"
		switch {
		case unmanaged:
			next = "signs when the daemon has seen its record"
		case s.Metadata.Imported != "":
			next = "imported; rotate looks for its record, which has to be in DNS already"
		}
	case Verified:
		next = "stands by"
		if due, ok := s.due(DoActivate); ok {
			next = "signs from " + due.UTC().Format(timeFormat) + " on"
		}
	case Active:
		switch {
		case !s.Signs:
			next = "a newer key signs; rotate retires this one when the record of the newer one has been seen"
		case s.Unseen():
			next = "signs; its record has not been seen in DNS"
		case !successor.IsZero():
			next = "signs; hands over on " + successor.UTC().Format(dateFormat)
		case rules.RotateEvery == 0 && now.Sub(s.Since) > oldKey:
			next = fmt.Sprintf("signs, for %d days: dkimkey rotate %s --now replaces it", int(now.Sub(s.Since).Hours()/24), s.Domain)
		default:
			next = "signs"
		}
	case Retiring:
		next = s.retiring()
	case Revoked:
		next = "its record is removed"
		if due, ok := s.due(DoRemove); ok {
			next += " on " + due.UTC().Format(timeFormat)
		}
	case Removed:
		next = "nothing is left of it"
	}
	if m := cmp.Or(s.Metadata, s.Observed); m != nil && (s.State == Generated || s.State == Published) && m.Finding != "" {
		next += "; last seen: " + m.Finding
	}
	if unmanaged {
		next += "; put there by hand"
	}
	return next
}

// retiring returns what happens next to a retired key. While no key signs, Plan keeps its record unless the key leaked: it may be
// the only good one.
func (s Status) retiring() string {
	due, planned := s.due(DoRevoke)
	switch {
	case s.Metadata.Compromised:
		return "compromised; rotate revokes its record at once"
	case planned:
		return "its record is revoked on " + due.UTC().Format(timeFormat)
	}
	return "its record stays until another key signs"
}

func (s Status) due(a Action) (time.Time, bool) {
	for _, step := range s.Steps {
		if step.Do == a {
			return step.Due, true
		}
	}
	return time.Time{}, false
}

// action returns what a person has to do about a key, and how.
func (s Status) action(rules Rules, now time.Time) string {
	name := s.Domain + " " + s.Selector
	waited := now.Sub(s.Since)
	unmanaged := s.Metadata == nil
	grace := publishGrace
	if unmanaged || rules.Manual() {
		grace = manualGrace
	}
	show := "dkimkey show " + name + " prints the record to publish"
	switch {
	case s.Elsewhere:
		return ""
	case s.Foreign:
		return s.Err.Error()
	case s.Err != nil:
		return fmt.Sprintf("cannot be used: %v; correct the file, or move it out of the keys directory", s.Err)
	case s.Unseen():
		return "signs, and its record has never been seen in DNS: publish it (dkimkey show " + name + "), then dkimkey rotate " + s.Domain
	case s.State == Generated && !rules.Manual() && waited > grace:
		return "its record has not been published since " + s.Since.UTC().Format(dateFormat) + ": dkimkey rotate " + s.Domain + " prints why"
	case (s.State == Generated || s.State == Published) && waited > grace:
		return fmt.Sprintf("waits for its record since %s%s: %s; dkimkey check %s", s.Since.UTC().Format(dateFormat), s.lastSeen(), show, s.Domain)
	case s.State == Verified:
		if due, ok := s.due(DoActivate); ok && now.Sub(due) > activateGrace {
			return "could sign since " + due.UTC().Format(timeFormat) + ": dkimkey rotate has to run daily (dkimkey-rotate.timer)"
		}
	case s.State == Retiring && s.Metadata.Compromised:
		return "compromised, and its record is still in DNS: dkimkey rotate " + s.Domain
	case s.State == Revoked && rules.Manual() && s.Metadata.Confirmed == nil && (s.Metadata.Compromised || waited > grace):
		return fmt.Sprintf("revoked, and its record has not been seen to be empty: replace it by %q, then dkimkey rotate %s", revokedRecord(s.Metadata.Algorithm), s.Domain)
	}
	return ""
}

func (s Status) lastSeen() string {
	if m := cmp.Or(s.Metadata, s.Observed); m != nil && m.Finding != "" {
		return " (last seen: " + m.Finding + ")"
	}
	return ""
}

// Remedy returns what gets a key of a hosted domain to sign again.
func Remedy(domain string, keys []*Key) string {
	is := func(f func(k *Key) bool) bool { return slices.ContainsFunc(keys, f) }
	switch {
	case is(func(k *Key) bool { return k.Metadata != nil && k.Err == nil && k.State.Pending() }):
		return "dkimkey rotate " + domain + " --wait"
	case is(func(k *Key) bool { return k.Err != nil }):
		return "correct the key above"
	case is(func(k *Key) bool { return k.State == Published }):
		return "publish the record of the key that waits"
	}
	return "dkimkey add " + domain
}
