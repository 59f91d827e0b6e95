package keys

import (
	"cmp"
	"slices"
	"time"
)

// Rules are the operator's choices for a domain's keys: [keys] and [publish].
type Rules struct {
	Algorithms  []string
	Bits        int
	RotateEvery time.Duration // 0: never
	RetireAfter time.Duration
	KeepRevoked time.Duration
	Ring        map[string][]string // algorithm -> selectors; empty: dated ones
	Method      string              // publish.method
	TTL         time.Duration
}

// Manual reports whether a person publishes the records.
func (r Rules) Manual() bool { return r.Method == "manual" }

// standby reports whether the next key is always made and published in advance, so that it is ready if the active key leaks.
func (r Rules) standby() bool { return !r.Manual() && r.RotateEvery > 0 }

// Action is one kind of step.
type Action string

// The actions, in the order in which a key goes through them.
const (
	DoCreate   Action = "create"
	DoPublish  Action = "publish"
	DoCheck    Action = "check"
	DoActivate Action = "activate"
	DoRetire   Action = "retire"
	DoRevoke   Action = "revoke"
	DoConfirm  Action = "confirm" // where a person publishes: look whether the record is empty
	DoRemove   Action = "remove"
)

// Step is something that is to be done for a domain, now or at a time to come.
type Step struct {
	Do        Action
	Algorithm string
	Key       *Key // nil for DoCreate
	Due       time.Time
}

// Since is when a step became due, or will: what Plan wants done at once has been due since the key came into its state. A key
// whose record is already known to be in DNS is checked again at each run, so that check is never overdue.
func (s Step) Since(now time.Time) time.Time {
	again := s.Do == DoCheck && s.Key.State == Verified
	if s.Key != nil && s.Due.Equal(now) && s.Key.Since.Before(now) && !again {
		return s.Key.Since
	}
	return s.Due
}

// keyring holds the keys of one algorithm.
type keyring struct {
	algorithm string
	active    *Key   // the newest active key: it signs
	older     []*Key // the other active keys
	pending   []*Key // keys that do not sign yet, the newest first; that one is the next to sign
	unmanaged bool   // the daemon decides about a key: an unmanaged one that was not seen yet, or a credential
}

// keyrings returns the keyrings that have keys, and those of the algorithms given.
func keyrings(keys []*Key, algorithms []string) []keyring {
	var all []keyring
	for _, a := range []string{"rsa", "ed25519"} {
		if l := keyringOf(keys, a); slices.Contains(algorithms, a) || l.active != nil || len(l.pending) > 0 {
			all = append(all, l)
		}
	}
	return all
}

func keyringOf(keys []*Key, algorithm string) keyring {
	l := keyring{algorithm: algorithm}
	for _, k := range keys {
		l.unmanaged = l.unmanaged || k.Elsewhere
		if k.Algorithm != algorithm || k.Err != nil {
			continue
		}
		switch {
		case k.awaited():
			l.unmanaged = true
		case k.State == Active && l.active == nil:
			l.active = k
		case k.State == Active && k.Since.After(l.active.Since):
			l.active, l.older = k, append(l.older, l.active)
		case k.State == Active:
			l.older = append(l.older, k)
		case k.Metadata != nil && k.State.Pending():
			l.pending = append(l.pending, k)
		}
	}
	slices.SortFunc(l.pending, func(a, b *Key) int {
		return cmp.Or(b.Metadata.Created.Compare(a.Metadata.Created), cmp.Compare(b.Selector, a.Selector))
	})
	return l
}

// Plan returns all steps of a domain that has keys, those due and those to come. They follow from the states of the keys and the
// time alone, so that an interrupted run is simply repeated.
func Plan(keys []*Key, r Rules, now time.Time) []Step {
	var steps []Step
	all := keyrings(keys, r.Algorithms)
	seen := slices.ContainsFunc(all, func(l keyring) bool { return l.active != nil && l.active.seen() })
	for _, l := range all {
		for _, k := range l.pending {
			steps = append(steps, advance(k, r, now))
		}
		if due, ok := l.createAt(r, now, slices.ContainsFunc(keys, func(k *Key) bool { return !k.Foreign })); ok {
			steps = append(steps, Step{DoCreate, l.algorithm, nil, due})
		}
		steps = append(steps, l.settle(r, now)...)
	}
	steps = append(steps, activations(all, r, now)...)
	for _, k := range keys {
		switch {
		case k.State == Retiring && k.Metadata.Compromised:
			steps = append(steps, Step{DoRevoke, k.Algorithm, k, now}) // at once, whatever else
		// While no key signs whose record has been seen, no record is removed: one of them may be the only good one.
		case k.State == Retiring && seen:
			steps = append(steps, Step{DoRevoke, k.Algorithm, k, k.Since.Add(r.RetireAfter)})
		case k.State == Revoked:
			if r.Manual() && k.Metadata.Confirmed == nil {
				steps = append(steps, Step{DoConfirm, k.Algorithm, k, now})
			}
			steps = append(steps, Step{DoRemove, k.Algorithm, k, k.Since.Add(r.KeepRevoked)})
		}
	}
	return steps
}

// createAt returns when the next key of an algorithm is to be made. A domain that was never added gets none.
func (l keyring) createAt(r Rules, now time.Time, known bool) (time.Time, bool) {
	switch {
	case !known, len(l.pending) > 0, l.active == nil && l.unmanaged:
		return time.Time{}, false
	case l.active == nil: // a new algorithm in the configuration, or every key lost
		return now, slices.Contains(r.Algorithms, l.algorithm)
	case r.standby(), l.active.requested():
		return now, true
	case r.RotateEvery > 0:
		return l.active.Since.Add(r.RotateEvery), true
	}
	return time.Time{}, false
}

// advance returns the step of a key that does not sign yet, until it is ready.
func advance(k *Key, r Rules, now time.Time) Step {
	if k.State == Generated && !r.Manual() {
		return Step{DoPublish, k.Algorithm, k, now}
	}
	return Step{DoCheck, k.Algorithm, k, now}
}

// settle returns the steps of the active keys. The older ones are retired only when the record of the newest has been seen: until
// then theirs may be the only one that others can verify. An active key that was never seen is checked until it is.
func (l keyring) settle(r Rules, now time.Time) []Step {
	if l.active == nil {
		return nil
	}
	var steps []Step
	seen := l.active.seen()
	if !seen {
		do := DoCheck
		if l.active.Metadata.Published == nil && !r.Manual() { // it was made while a person published
			do = DoPublish
		}
		steps = append(steps, Step{do, l.algorithm, l.active, now})
	}
	for _, k := range l.older {
		if seen {
			steps = append(steps, Step{DoRetire, l.algorithm, k, now})
		} else if !k.seen() {
			steps = append(steps, Step{DoCheck, l.algorithm, k, now})
		}
	}
	return steps
}

// seen reports whether the record of an active key has been seen in DNS. An unmanaged key is active only because it was.
func (k *Key) seen() bool { return k.Metadata == nil || k.Metadata.Seen != nil }

// FreeSelector returns the next selector of a ring: one that was never used, or else the one longest out of use. A selector is
// not free while its old record may be in a cache, or its signatures in transit. FreeSelector returns "" if none is free.
func (r Rules) FreeSelector(keys []*Key, algorithm string, now time.Time) string {
	best, bestAt := "", time.Time{}
	for _, selector := range r.Ring[algorithm] {
		i := slices.IndexFunc(keys, func(k *Key) bool { return k.Selector == selector })
		if i < 0 {
			return selector
		}
		k := keys[i]
		if k.State == Removed && now.After(k.Since.Add(time.Duration(k.Metadata.TTL))) && (best == "" || k.Since.Before(bestAt)) {
			best, bestAt = selector, k.Since
		}
	}
	return best
}
