package keys

import (
	"slices"
	"time"
)

// requested reports whether the operator has requested a rotation of an active key. Its successor then replaces it as soon as the successor
// may sign.
func (k *Key) requested() bool { return k.Metadata != nil && k.Metadata.Requested != nil }

// created returns the time at which a key was created. For an unmanaged key it returns the zero time, so that every managed key counts as
// newer.
func (k *Key) created() time.Time {
	if k.Metadata == nil {
		return time.Time{}
	}
	return k.Metadata.Created
}

// ready returns the earliest time at which a key may sign. ok is false if its record is not visible in DNS.
func (k *Key) ready() (at time.Time, ok bool) {
	if k.State != Verified {
		return time.Time{}, false
	}
	return k.Metadata.Seen.Add(time.Duration(k.Metadata.Wait)), true
}

// first is for an algorithm without a key that signs. It returns the key that signs next, and the time from which that key may sign. If
// several keys may sign now, first returns the newest of them. If none may sign yet, it returns the key that may sign earliest. An
// unreachable name server delays a key by unreachableGrace.
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
	next      *Key      // nil: no key takes over
	due       time.Time // the earliest time of the hand-over; zero: as soon as next may sign
	awaited   bool      // next must still be created
}

// handover returns the next hand-over of a keyring with an active key. Without standby keys, a pending key that is newer than the active
// key takes over as soon as it may sign. A pending key that is older waits until rotate_every has passed or the operator requests a
// rotation.
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

// next returns the newest pending key. It skips a key whose record does not appear in time. An import with a wrong selector, or a key that
// cannot be published, therefore does not stop the rotation.
func (l keyring) next(r Rules, now time.Time) *Key {
	for _, k := range l.pending {
		grace := publishGrace
		if k.Metadata.byHand(r) {
			grace = manualGrace
		}
		if k.State == Verified || now.Sub(k.Metadata.Created) <= grace {
			return k
		}
	}
	return nil
}

// pairWindow is the longest time between the due times of two hand-overs that happen together.
const pairWindow = 24 * time.Hour

// activations returns the steps that activate keys. If no key of an algorithm signs yet, the first one is activated as soon as it may sign.
// Hand-overs that are due within pairWindow happen together, as soon as all the new keys may sign. Each hand-over is a separate step. If a
// run is interrupted after the first hand-over of a pair, the next run does the second.
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

// together returns the steps of several hand-overs. They happen when the last of them is due and all the new keys may sign.
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

// RotateNow requests a rotation of a domain's keys and reports whether it started one. Plan then returns steps that create a successor for
// each active key that has none. Each successor is activated as soon as it may sign. RotateNow starts no rotation in two cases: another one
// is in progress, or no key signs. If dry is true, only the keys in memory change, so that Plan returns the steps that a request would
// cause.
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
		// It is possible that only one key of a pair has the request. Either the run that recorded the request was interrupted, or the
		// other key was already replaced. In the second case, the successor of the other key was activated after the request.
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
		if err := r.finish(metadata, "requested a successor for key "+metadata.Selector); err != nil {
			return false, err
		}
	}
	return started, nil
}

// Awaited returns the pending keys of a domain that will be activated as soon as they may sign, at most one of each algorithm. It does not
// return standby keys.
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

// NewestPending returns the newest pending key of an algorithm, or nil. Selector "" matches any selector.
func NewestPending(keys []*Key, algorithm, selector string) *Key {
	for _, k := range keyringOf(keys, algorithm).pending {
		if selector == "" || k.Selector == selector {
			return k
		}
	}
	return nil
}

// NewestActive returns the key that signs for an algorithm, or nil.
func NewestActive(keys []*Key, algorithm string) *Key { return keyringOf(keys, algorithm).active }
