package keys

import (
	"cmp"
	"fmt"
	"time"
)

// Status is a key as a person asks after it.
type Status struct {
	*Key
	Signs bool
	Next  string // what comes next, in words
	Steps []Step // its own, those to come too
}

// oldKey is when one is reminded of a key that nobody rotates: M3AAWG asks for a new one every six months.
const oldKey = 180 * 24 * time.Hour

// Status gives every key, by domain and selector.
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
			all = append(all, st)
		}
	}
	return all
}

func (s Status) next(plan []Step, rules Rules, now time.Time) string {
	if s.Elsewhere {
		return "a systemd credential, which only the daemon reads"
	}
	if s.Err != nil {
		return "mend it: " + s.Err.Error()
	}
	due, heir := map[Action]time.Time{}, time.Time{}
	for _, step := range plan {
		if step.Key == s.Key {
			due[step.Do] = step.Due
		} else if step.Do == DoActivate && step.Algorithm == s.Algorithm {
			heir = step.Due
		}
	}
	when := func(a Action) string { return due[a].UTC().Format("2006-01-02 15:04") }
	byHand := s.Life == nil
	next := ""
	switch s.State {
	case Generated:
		next = "rotate publishes its record"
		if rules.Manual() {
			next = "put its record into DNS (dkimkey show " + s.Domain + " " + s.Selector + "); rotate looks for it"
		}
	case Published:
		next = "rotate looks for its record"
		if byHand {
			next = "signs when the daemon has seen its record"
		}
	case Verified:
		next = "stands by"
		if _, ok := due[DoActivate]; ok {
			next = "signs from " + when(DoActivate) + " on"
		}
	case Active:
		switch {
		case !s.Signs:
			next = "a newer key signs; rotate retires it"
		case !heir.IsZero():
			next = "signs; hands over on " + heir.UTC().Format("2006-01-02")
		case rules.RotateEvery == 0 && now.Sub(s.Since) > oldKey:
			next = fmt.Sprintf("signs, for %d days: dkimkey add %s makes a successor", int(now.Sub(s.Since).Hours()/24), s.Domain)
		default:
			next = "signs"
		}
	case Retiring:
		next = "its record is revoked on " + when(DoRevoke)
	case Revoked:
		next = "its record is removed on " + when(DoRemove)
	case Removed:
		next = "nothing is left of it"
	}
	life := cmp.Or(s.Life, s.Observed)
	if life != nil && (s.State == Generated || s.State == Published) && life.Finding != "" {
		next += "; last seen: " + life.Finding
	}
	if byHand {
		next += "; put there by hand"
	}
	return next
}
