package keys

import (
	"cmp"
	"slices"
	"time"
)

// Rules are the settings for a domain's keys: [keys] and [publish].
type Rules struct {
	Algorithms  []string
	Bits        int
	RotateEvery time.Duration // 0: never
	RetireAfter time.Duration
	KeepRevoked time.Duration
	Ring        map[string][]string // the selectors for each algorithm; if empty, selectors are dated
	Method      string              // publish.method
	TTL         time.Duration
}

// Manual reports whether the operator publishes the records.
func (r Rules) Manual() bool { return r.Method == "manual" }

// standby reports whether the next key is created and published in advance, so that it is ready if the active key is compromised.
func (r Rules) standby() bool { return !r.Manual() && r.RotateEvery > 0 }

// Action is the type of a step.
type Action string

// The actions, in the order of a key's life cycle.
const (
	DoCreate   Action = "create"
	DoPublish  Action = "publish"
	DoCheck    Action = "check"
	DoActivate Action = "activate"
	DoRetire   Action = "retire"
	DoRevoke   Action = "revoke"
	DoConfirm  Action = "confirm" // if the operator publishes the record: check whether it is empty
	DoRemove   Action = "remove"
)

// Step is an action that is due for a domain, now or in the future.
type Step struct {
	Do        Action
	Algorithm string
	Key       *Key // nil for DoCreate
	Due       time.Time
}

// Since returns the time at which a step became due or will become due. If Plan returns a step with the current time, the step has been due
// since the key entered its state. The check of a verified key is repeated in each run, so it is never overdue.
func (s Step) Since(now time.Time) time.Time {
	again := s.Do == DoCheck && s.Key.State == Verified
	if s.Key != nil && s.Due.Equal(now) && s.Key.Since.Before(now) && !again {
		return s.Key.Since
	}
	return s.Due
}

func (s Step) describe() string {
	if s.Key == nil {
		return string(s.Do) + " " + s.Algorithm + " key"
	}
	return string(s.Do) + " " + s.Key.Selector
}

// keyring holds the keys of one algorithm.
type keyring struct {
	algorithm string
	active    *Key   // the newest active key, which signs
	older     []*Key // the other active keys
	pending   []*Key // keys that do not sign yet, the newest first
	unmanaged bool   // the daemon will activate a key: a systemd credential, or an unmanaged key whose record was not found yet
}

// keyrings returns the keyrings that have active or pending keys, and also an empty keyring for each other algorithm of the configuration.
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

// Plan returns all steps of a domain, due and future. They depend only on the states of the keys, the rules and the time, so that an
// interrupted run can be repeated.
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
			steps = append(steps, Step{DoRevoke, k.Algorithm, k, now}) // immediately, in any case
		// No record is revoked before the record of an active key has been found, because the old record may be the only correct one.
		case k.State == Retiring && seen:
			steps = append(steps, Step{DoRevoke, k.Algorithm, k, k.revokeAt(r)})
		case k.State == Revoked:
			if k.Metadata.byHand(r) && k.Metadata.Confirmed == nil {
				steps = append(steps, Step{DoConfirm, k.Algorithm, k, now})
			}
			steps = append(steps, Step{DoRemove, k.Algorithm, k, k.Since.Add(r.KeepRevoked)})
		}
	}
	return steps
}

// createAt returns the time at which the next key of an algorithm must be created. ok is false if none is needed, or if the domain was
// never added.
func (l keyring) createAt(r Rules, now time.Time, known bool) (time.Time, bool) {
	switch {
	case !known, len(l.pending) > 0, l.active == nil && l.unmanaged:
		return time.Time{}, false
	case l.active == nil: // a new algorithm in the configuration, or all keys are lost
		return now, slices.Contains(r.Algorithms, l.algorithm)
	case r.standby(), l.active.requested():
		return now, true
	case r.RotateEvery > 0:
		return l.active.Since.Add(r.RotateEvery), true
	}
	return time.Time{}, false
}

// advance returns the next step of a pending key before its activation.
func advance(k *Key, r Rules, now time.Time) Step {
	if k.State == Generated && !r.Manual() {
		return Step{DoPublish, k.Algorithm, k, now}
	}
	return Step{DoCheck, k.Algorithm, k, now}
}

// settle returns the steps of the active keys. The older keys are retired only after the record of the newest key was found. Until then,
// the record of an older key may be the only correct one. An active key is checked until its record is found.
func (l keyring) settle(r Rules, now time.Time) []Step {
	if l.active == nil {
		return nil
	}
	var steps []Step
	seen := l.active.seen()
	if !seen {
		do := DoCheck
		if l.active.Metadata.Published == nil && !r.Manual() { // publish.method was manual when the key was created
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

// seen reports whether the record of an active key was found in DNS. An unmanaged key is active only if its record was found.
func (k *Key) seen() bool { return k.Metadata == nil || k.Metadata.Seen != nil }

// FreeSelector returns the next selector of a ring: one that was never used, or else the one that has been unused for the longest time.
// A selector is not free while caches may have its old record, or while mail with its signatures may be in transit. FreeSelector returns ""
// if none is free.
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
