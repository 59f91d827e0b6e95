package keys

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Status is a key with its next step and the action that it needs, for display.
type Status struct {
	*Key
	Signs  bool
	Next   string // what happens next
	Action string // what the operator must do; empty: nothing. For an unusable file, it has only remedies that Err does not state
	Fix    string // the command or the record that Action requires, or the record that the operator must add to DNS; empty if there is none
	Steps  []Step // the steps of this key, due and future
}

const (
	// oldKey is the age of a key from which the status recommends a rotation: M3AAWG recommends a new key every six months.
	oldKey = 180 * 24 * time.Hour
	// publishGrace is the time within which a record must become visible in DNS if a program publishes it.
	publishGrace = 24 * time.Hour
	// manualGrace is the time within which the operator must publish or empty a record. rotate repeats its reminder at this interval.
	manualGrace = 7 * 24 * time.Hour
	// activateGrace is more than the time between two daily runs of rotate.
	activateGrace = 48 * time.Hour
)

const (
	dateFormat = "2006-01-02"
	timeFormat = "2006-01-02 15:04"
)

// Status returns every key, sorted by domain and selector.
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
			st.Fix = st.fix(rules(domain))
			all = append(all, st)
		}
	}
	return all
}

// Unusable reports whether the key's file cannot be used, which always needs an action. Err is the cause, and its text is not in Action.
func (s Status) Unusable() bool { return s.Err != nil && !s.Elsewhere }

// Unseen reports whether a key was activated by --unsafe-activate, and no check has found its record in DNS since then.
func (k *Key) Unseen() bool {
	return k.Metadata != nil && k.State == Active && k.Metadata.Unsafe && k.Metadata.Seen == nil
}

func (s Status) next(plan []Step, rules Rules, now time.Time) string {
	if s.Elsewhere {
		return "a systemd credential, which only the daemon can read"
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
		if s.Metadata.byHand(rules) {
			next = "add its record to DNS (dkimkey show " + s.Domain + " " + s.Selector + "); rotate checks it"
		}
	case Published:
		next = "rotate checks its record"
		switch {
		case unmanaged:
			next = "signs when the daemon finds its record in DNS"
		case s.Metadata.Imported != "":
			next = "imported; rotate checks its record, which must already be in DNS"
		}
	case Verified:
		next = "standby"
		if due, ok := s.due(DoActivate); ok {
			next = "signs from " + due.UTC().Format(timeFormat)
		}
	case Active:
		switch {
		case !s.Signs:
			next = "a newer key signs; rotate retires this key when the record of the newer key is visible in DNS"
		case s.Unseen():
			next = "signs; its record was not found in DNS"
		case !successor.IsZero():
			next = "signs; its successor takes over on " + successor.UTC().Format(dateFormat)
		case rules.RotateEvery == 0 && now.Sub(s.Since) > oldKey:
			next = fmt.Sprintf("signs; active for %d days, replace it: dkimkey rotate %s --now", int(now.Sub(s.Since).Hours()/24), s.Domain)
		default:
			next = "signs"
		}
	case Retiring:
		next = s.retiring()
	case Revoked:
		next = "its record will be removed"
		if due, ok := s.due(DoRemove); ok {
			next += " on " + due.UTC().Format(timeFormat)
		}
	case Removed:
		next = "only its metadata is kept"
	}
	if m := cmp.Or(s.Metadata, s.Observed); m != nil && (s.State == Generated || s.State == Published) && m.Finding != "" {
		next += "; last check: " + m.Finding
	}
	if unmanaged {
		next += "; unmanaged"
	}
	return next
}

// retiring returns what happens next to a retiring key. While no key signs, Plan keeps the record of the retiring key, because it may be
// the only correct record. Plan does not keep the record of a compromised key.
func (s Status) retiring() string {
	due, planned := s.due(DoRevoke)
	switch {
	case s.Metadata.Compromised:
		return "compromised; rotate revokes its record immediately"
	case planned:
		return "its record will be revoked on " + due.UTC().Format(timeFormat)
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

// action returns what the operator must do about a key, or "".
func (s Status) action(rules Rules, now time.Time) string {
	name := s.Domain + " " + s.Selector
	waited := now.Sub(s.Since)
	unmanaged := s.Metadata == nil
	grace := publishGrace
	byHand := s.Metadata.byHand(rules)
	if unmanaged || byHand {
		grace = manualGrace
	}
	show := "dkimkey show " + name + " prints the record to publish"
	switch {
	case s.Elsewhere:
		return ""
	case s.Foreign || errors.Is(s.Err, fs.ErrPermission): // the file needs no correction
		return ""
	case s.Err != nil:
		return "correct the file, or move it out of the keys directory"
	case s.Unseen():
		return "signs, but its record was never found in DNS: publish it (dkimkey show " + name + "), then run dkimkey rotate " + s.Domain
	case s.State == Generated && !byHand && waited > grace:
		return "its record has been unpublished since " + s.Since.UTC().Format(dateFormat) + ": dkimkey rotate " + s.Domain + " prints the reason"
	case (s.State == Generated || s.State == Published) && waited > grace:
		return fmt.Sprintf("waiting for its record since %s%s: %s; see dkimkey check %s", s.Since.UTC().Format(dateFormat), s.lastSeen(), show, s.Domain)
	case s.State == Verified:
		if due, ok := s.due(DoActivate); ok && now.Sub(due) > activateGrace {
			return "not activated, although it may sign since " + due.UTC().Format(timeFormat) + ": run dkimkey rotate daily (dkimkey-rotate.timer)"
		}
	case s.State == Retiring && s.Metadata.Compromised:
		return "compromised, but its record is still in DNS: run dkimkey rotate " + s.Domain
	case s.State == Revoked && byHand && s.Metadata.Confirmed == nil && (s.Metadata.Compromised || waited > grace):
		return fmt.Sprintf("revoked, but its record is not confirmed to be empty: replace it with %q, then run dkimkey rotate %s", revokedRecord(s.Metadata.Algorithm), s.Domain)
	}
	return ""
}

// fix returns the command or the record for Action, or the record of a new key that the operator publishes.
func (s Status) fix(rules Rules) string {
	zone := func(record string) string { // without tabs, which doctor.Finding does not show
		return strings.TrimSpace(strings.ReplaceAll(ZoneText(s.Domain, s.Selector, record, rules.TTL), "\t", "    "))
	}
	switch {
	case s.Err != nil || s.Action == "" && (s.State != Generated || !s.Metadata.byHand(rules)):
		return ""
	case s.State == Revoked:
		return zone(revokedRecord(s.Metadata.Algorithm))
	case s.State == Published || s.Unseen() || s.State == Generated && s.Metadata.byHand(rules):
		if s.Metadata != nil && s.Metadata.Record != "" {
			return zone(s.Metadata.Record)
		}
		return "dkimkey show " + s.Domain + " " + s.Selector
	}
	return "dkimkey rotate " + s.Domain
}

func (s Status) lastSeen() string {
	if m := cmp.Or(s.Metadata, s.Observed); m != nil && m.Finding != "" {
		return " (last check: " + m.Finding + ")"
	}
	return ""
}

// Remedy returns the command or action that lets a key of a hosted domain sign again.
func Remedy(domain string, keys []*Key) string {
	is := func(f func(k *Key) bool) bool { return slices.ContainsFunc(keys, f) }
	switch {
	case is(func(k *Key) bool { return k.Metadata != nil && k.Err == nil && k.State.Pending() }):
		return "dkimkey rotate " + domain + " --wait"
	case is(func(k *Key) bool { return k.Err != nil }):
		return "correct the key above"
	case is(func(k *Key) bool { return k.State == Published }):
		return "publish the record of the pending key"
	}
	return "dkimkey add " + domain
}
