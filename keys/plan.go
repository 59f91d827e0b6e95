package keys

import (
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

// Manual says that a person publishes.
func (r Rules) Manual() bool { return r.Method == "manual" }

// standby says that the next key is always made and published ahead, ready for the day when the one that signs leaks.
func (r Rules) standby() bool { return !r.Manual() && r.RotateEvery > 0 }

// Action is one kind of step.
type Action string

// The actions, in the order of a key's life.
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

// Since is when a step became due, or will: what Plan wants done at once has been due since the key came into its state.
func (s Step) Since(now time.Time) time.Time {
	if s.Key != nil && s.Due.Equal(now) && s.Key.Since.Before(now) {
		return s.Key.Since
	}
	return s.Due
}

// line is an algorithm's keys in their parts.
type line struct {
	algorithm string
	active    *Key // the newest
	older     []*Key
	next      *Key // the oldest that is on its way
	byHand    bool // there is one that is the daemon's business: put there by hand and not seen yet, or a credential
}

func lines(keys []*Key, algorithms []string) []line {
	var all []line
	for _, a := range []string{"rsa", "ed25519"} {
		l := line{algorithm: a}
		for _, k := range keys {
			l.byHand = l.byHand || k.Elsewhere
			if k.Algorithm != a || k.Err != nil {
				continue
			}
			switch {
			case k.byHandWaits():
				l.byHand = true
			case k.State == Active:
				if l.active == nil || k.Since.After(l.active.Since) {
					if l.active != nil {
						l.older = append(l.older, l.active)
					}
					l.active = k
				} else {
					l.older = append(l.older, k)
				}
			case k.Life != nil && k.Life.pending() && (l.next == nil || k.Life.Created.Before(l.next.Life.Created)):
				l.next = k
			}
		}
		if slices.Contains(algorithms, a) || l.active != nil || l.next != nil {
			all = append(all, l)
		}
	}
	return all
}

// Plan gives all steps of a domain that has keys, those due and those to come. It is pure: the state of each key and the
// time say everything, so that an interrupted run is simply run again.
func Plan(keys []*Key, r Rules, now time.Time) []Step {
	var steps []Step
	all := lines(keys, r.Algorithms)
	signs := slices.ContainsFunc(all, func(l line) bool { return l.active != nil })
	for _, l := range all {
		if l.next != nil {
			steps = append(steps, l.advance(r, now)...)
		} else if due, ok := l.createAt(r, now, signs || slices.ContainsFunc(keys, func(k *Key) bool { return !k.Foreign })); ok {
			steps = append(steps, Step{DoCreate, l.algorithm, nil, due})
		}
		for _, k := range l.older {
			steps = append(steps, Step{DoRetire, l.algorithm, k, now})
		}
	}
	steps = append(steps, activations(all, r)...)
	for _, k := range keys {
		switch {
		case k.State == Retiring && k.Life.Compromised:
			steps = append(steps, Step{DoRevoke, k.Algorithm, k, now}) // at once, whatever else
		// While nothing signs, no record goes away: one of them may be what is left.
		case k.State == Retiring && signs:
			steps = append(steps, Step{DoRevoke, k.Algorithm, k, k.Since.Add(r.RetireAfter)})
		case k.State == Revoked:
			if r.Manual() && k.Life.Confirmed == nil {
				steps = append(steps, Step{DoConfirm, k.Algorithm, k, now})
			}
			steps = append(steps, Step{DoRemove, k.Algorithm, k, k.Since.Add(r.KeepRevoked)})
		}
	}
	return steps
}

// createAt says when the next key of an algorithm is to be made. A domain that was never added gets none.
func (l line) createAt(r Rules, now time.Time, known bool) (time.Time, bool) {
	switch {
	case !known:
		return time.Time{}, false
	case l.active == nil && l.byHand:
		return time.Time{}, false
	case l.active == nil: // a new algorithm in the configuration, or every key lost
		return now, slices.Contains(r.Algorithms, l.algorithm)
	case r.standby():
		return now, true
	case r.RotateEvery > 0:
		return l.active.Since.Add(r.RotateEvery), true
	}
	return time.Time{}, false
}

// advance are the steps of a key that does not sign yet, up to being ready.
func (l line) advance(r Rules, now time.Time) []Step {
	k := l.next
	if k.State == Generated && !r.Manual() {
		return []Step{{DoPublish, l.algorithm, k, now}}
	}
	return []Step{{DoCheck, l.algorithm, k, now}}
}

// ready is when a key may sign at the earliest.
func (k *Key) ready() (time.Time, bool) {
	if k == nil || k.State != Verified {
		return time.Time{}, false
	}
	return k.Life.Seen.Add(time.Duration(k.Life.Wait)), true
}

// sameTurn is how far apart the keys of a pair may have begun to sign and still take turns together.
const sameTurn = 24 * time.Hour

// activations: a first key signs as soon as it may. Where keys stand by, the successors of those whose turn is over take
// over together, when the last of them may. Each is a step of its own: a run that is interrupted between two of a pair goes
// on with the other one.
func activations(all []line, r Rules) []Step {
	var steps []Step
	var heirs []line
	for _, l := range all {
		ready, ok := l.next.ready()
		switch {
		case l.active != nil:
			heirs = append(heirs, l)
		case ok:
			steps = append(steps, Step{DoActivate, l.algorithm, l.next, ready})
		}
	}
	turn := func(l line) time.Time {
		if r.standby() {
			return l.active.Since.Add(r.RotateEvery)
		}
		return time.Time{}
	}
	slices.SortFunc(heirs, func(a, b line) int { return turn(a).Compare(turn(b)) })
	for len(heirs) > 0 {
		end := 1
		for end < len(heirs) && !turn(heirs[end]).After(turn(heirs[0]).Add(sameTurn)) {
			end++
		}
		steps = append(steps, handOver(heirs[:end], turn(heirs[end-1]), r.standby())...)
		heirs = heirs[end:]
	}
	return steps
}

// handOver lets the successors of lines take over when all of them may, and not before due.
func handOver(lines []line, due time.Time, standby bool) []Step {
	var steps []Step
	for _, l := range lines {
		if l.next == nil {
			if standby {
				return nil // it is being made
			}
			continue // nobody asked for one
		}
		ready, ok := l.next.ready()
		if !ok {
			return nil
		}
		if ready.After(due) {
			due = ready
		}
		steps = append(steps, Step{Do: DoActivate, Algorithm: l.algorithm, Key: l.next})
	}
	for i := range steps {
		steps[i].Due = due
	}
	return steps
}

// FreeSelector is the ring's next: one that was never used, then the one longest out of use. A selector whose old record
// may be in a cache, or whose signatures may be under way, still has a life that is not over. "" says that none is free.
func (r Rules) FreeSelector(keys []*Key, algorithm string, now time.Time) string {
	best, bestAt := "", time.Time{}
	for _, selector := range r.Ring[algorithm] {
		i := slices.IndexFunc(keys, func(k *Key) bool { return k.Selector == selector })
		if i < 0 {
			return selector
		}
		k := keys[i]
		if k.State == Removed && now.After(k.Since.Add(time.Duration(k.Life.TTL))) && (best == "" || k.Since.Before(bestAt)) {
			best, bestAt = selector, k.Since
		}
	}
	return best
}
