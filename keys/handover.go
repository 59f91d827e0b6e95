package keys

import (
	"slices"
	"time"
)

// requested reports whether the operator wants an active key replaced as soon as its successor may sign.
func (k *Key) requested() bool { return k.Metadata != nil && k.Metadata.Requested != nil }

// created returns when a key was made, or the zero time for an unmanaged key: every key of dkimkey counts as newer.
func (k *Key) created() time.Time {
	if k.Metadata == nil {
		return time.Time{}
	}
	return k.Metadata.Created
}

// ready returns when a key may sign at the earliest. ok is false if its record has not been seen.
func (k *Key) ready() (at time.Time, ok bool) {
	if k.State != Verified {
		return time.Time{}, false
	}
	return k.Metadata.Seen.Add(time.Duration(k.Metadata.Wait)), true
}

// first returns the next key to sign if no key of the algorithm signs, and when it may sign: the earliest key, or the newest of
// those that may sign now. A name server that does not answer delays a key by unreachableGrace.
func (l keyring) first(now time.Time) (best *Key, due time.Time) {
	for _, k := range l.pending {
		at, ok := k.ready()
		if !ok {
			continue
		}
		if k.Metadata.Silent != nil {
			at = latest(at, k.Metadata.Silent.Add(unreachableGrace))
		}
		if best == nil || latest(at, now).Before(latest(due, now)) {
			best, due = k, at
		}
	}
	return best, due
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// handover is the change from an active key to the next one.
type handover struct {
	algorithm string
	next      *Key      // nil: there is none, or none that is to take over
	due       time.Time // not before; zero: as soon as next may sign
	awaited   bool      // next is still to be made
}

// handover returns the next hand-over of a keyring with an active key. Where keys do not stand by, a key that is newer than the
// active one was made to replace it at once; an older one waits until rotate_every has passed or the operator wants a rotation.
func (l keyring) handover(r Rules, now time.Time) handover {
	h := handover{algorithm: l.algorithm, next: l.next(r, now)}
	none := len(l.pending) == 0
	switch {
	case l.active.requested():
		h.awaited = none
	case r.standby():
		h.due, h.awaited = l.active.Since.Add(r.RotateEvery), none
	case h.next == nil || h.next.Metadata.Created.After(l.active.created()):
	case r.RotateEvery > 0:
		h.due = l.active.Since.Add(r.RotateEvery)
	default:
		h.next = nil
	}
	return h
}

// next returns the newest pending key. One whose record does not come up in time is passed over, so that an import with a wrong
// selector, or a key that cannot be published, does not end the rotation.
func (l keyring) next(r Rules, now time.Time) *Key {
	grace := publishGrace
	if r.Manual() {
		grace = manualGrace
	}
	for _, k := range l.pending {
		if k.State == Verified || now.Sub(k.Metadata.Created) <= grace {
			return k
		}
	}
	return nil
}

// pairWindow is how far apart the hand-overs of a pair may be due and still happen together.
const pairWindow = 24 * time.Hour

// activations returns the steps that activate keys. A first key signs as soon as it may. Hand-overs that are due at the same time happen together, when the last of
// the next keys may sign. Each is a step of its own: if a run is interrupted between the two of a pair, the next run does the other.
func activations(all []keyring, r Rules, now time.Time) []Step {
	var steps []Step
	var changes []handover
	for _, l := range all {
		if l.active != nil {
			changes = append(changes, l.handover(r, now))
		} else if k, due := l.first(now); k != nil {
			steps = append(steps, Step{DoActivate, l.algorithm, k, due})
		}
	}
	slices.SortStableFunc(changes, func(a, b handover) int { return a.due.Compare(b.due) })
	for len(changes) > 0 {
		end := 1
		for end < len(changes) && !changes[end].due.After(changes[0].due.Add(pairWindow)) {
			end++
		}
		steps = append(steps, together(changes[:end])...)
		changes = changes[end:]
	}
	return steps
}

// together returns the steps of hand-overs that happen when all next keys may sign, and not before the last one is due.
func together(changes []handover) []Step {
	var steps []Step
	due := changes[len(changes)-1].due
	for _, h := range changes {
		if h.awaited {
			return nil
		}
		if h.next == nil {
			continue
		}
		ready, ok := h.next.ready()
		if !ok {
			return nil
		}
		due = latest(due, ready)
		steps = append(steps, Step{Do: DoActivate, Algorithm: h.algorithm, Key: h.next})
	}
	for i := range steps {
		steps[i].Due = due
	}
	return steps
}

// RotateNow requests a rotation of a domain's keys today: Plan makes a successor for each that signs, unless one is pending, and
// the successors sign as soon as they may. It reports whether a rotation was started: none is while one is under way,
// or if no key signs. With dry, only the keys in memory change, so that Plan returns what would happen.
func (r *Rotator) RotateNow(domain string, keys []*Key, dry bool) (bool, error) {
	all := keyrings(keys, nil)
	at, started := r.Store.Now().UTC(), false
	underWay := slices.ContainsFunc(all, func(l keyring) bool {
		if l.active == nil || !l.active.requested() {
			return false
		}
		at = *l.active.Metadata.Requested
		return true
	})
	for _, l := range all {
		// Of a pair only one may have the request, because the run that recorded it was interrupted, or because the other one
		// has its successor already: a key that began to sign after the request.
		if l.active == nil || l.active.requested() || underWay && l.active.Since.After(at) {
			continue
		}
		metadata, err := r.MetadataOf(l.active)
		if err != nil {
			return false, err
		}
		metadata.Requested, l.active.Metadata, started = &at, metadata, true
		if dry {
			continue
		}
		if err := r.finish(metadata, "key "+metadata.Selector+" is to be replaced now"); err != nil {
			return false, err
		}
	}
	return started, nil
}

// Awaited returns the pending keys of a domain that sign as soon as they may, at most one of each algorithm. A standby
// key is not among them.
func Awaited(keys []*Key, r Rules, now time.Time) []*Key {
	var all []*Key
	for _, l := range keyrings(keys, r.Algorithms) {
		var next *Key
		if l.active == nil {
			if next, _ = l.first(now); next == nil && len(l.pending) > 0 {
				next = l.pending[0]
			}
		} else if h := l.handover(r, now); h.due.IsZero() {
			next = h.next
		}
		if next != nil {
			all = append(all, next)
		}
	}
	return all
}

// NewestPending returns the newest key of an algorithm that does not sign yet, or nil; selector "" means any.
func NewestPending(keys []*Key, algorithm, selector string) *Key {
	for _, k := range keyringOf(keys, algorithm).pending {
		if selector == "" || k.Selector == selector {
			return k
		}
	}
	return nil
}

// NewestActive returns the key of an algorithm that signs, or nil.
func NewestActive(keys []*Key, algorithm string) *Key { return keyringOf(keys, algorithm).active }
