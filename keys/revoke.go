package keys

import (
	"context"
	"fmt"
	"slices"
)

// The last steps of a key, called by Rotator.Run.

func (r *Rotator) retire(k *Key) error {
	l, err := r.MetadataOf(k)
	if err != nil {
		return err
	}
	l.Retired = new(r.Store.Now().UTC())
	return r.finish(l, "key "+l.Selector+" signs no more")
}

// lookAgain checks once more the record of an imported key that was never seen, and reports whether the key can be revoked
// now. The record at its selector may be of another key, which Signpost must not change.
func (r *Rotator) lookAgain(ctx context.Context, k *Key) (bool, error) {
	if !k.Metadata.RecordUnseen() {
		return true, nil
	}
	s, usable, err := r.look(ctx, k, nil)
	if err != nil || !usable {
		return false, err
	}
	if slices.ContainsFunc(s.Servers, func(v ServerAnswer) bool { return v.Status == Same }) {
		k.Metadata.Seen = new(r.Store.Now().UTC())
	} else if o := s.Outcome(); o.Silent {
		return false, fmt.Errorf("cannot see whether the record is of this key: %s", o.Words)
	}
	return true, nil
}

func (r *Rotator) revoke(ctx context.Context, k *Key, rules Rules) error {
	if ok, err := r.lookAgain(ctx, k); err != nil || !ok {
		return err
	}
	l := k.Metadata
	if l.RecordUnseen() {
		r.Done(l.Domain, "left the record at "+l.Selector+" as it is: it is not of this key")
	} else if rules.Manual() {
		r.remind(l, fmt.Sprintf("replace its record by %q", revokedRecord(l.Algorithm)))
	} else if err := r.change(ctx, newChange(Replace, l, rules.TTL, revokedRecord(l.Algorithm))); err != nil {
		return err
	}
	now := r.Store.Now().UTC()
	l.Revoked, l.Reminded = &now, &now
	if err := r.Store.writeMetadata(l); err != nil {
		return err
	}
	if err := r.Store.removePEM(l.Domain, l.Selector); err != nil {
		return err
	}
	done := "revoked "
	if rules.Manual() {
		done = "deleted the private key of "
	}
	r.Done(l.Domain, done+l.Selector)
	return nil
}

// confirm checks whether a person has emptied the record of a revoked key. Until then, whoever has a leaked key can sign for the
// domain, so each run reminds of it.
func (r *Rotator) confirm(ctx context.Context, k *Key) error {
	s, usable, err := r.look(ctx, k, nil)
	if err != nil || !usable {
		return err
	}
	l := k.Metadata
	shown, silent := "", s.Err != nil
	for _, v := range s.Servers {
		if v.Status == Same {
			shown = v.Server
		}
		silent = silent || v.Status == NoReply
	}
	now := r.Store.Now().UTC()
	switch {
	case shown != "":
		if l.Compromised || l.Reminded == nil || now.Sub(*l.Reminded) >= remindInterval {
			r.remind(l, fmt.Sprintf("%s still shows its record; replace it by %q", shown, revokedRecord(l.Algorithm)))
			l.Reminded = &now
			return r.Store.writeMetadata(l)
		}
		return nil
	case silent:
		return nil // unknown
	}
	l.Confirmed = &now
	return r.Store.writeMetadata(l)
}

func (r *Rotator) remove(ctx context.Context, l *Metadata, rules Rules) error {
	done := "removed the record of " + l.Selector
	if l.RecordUnseen() {
		done = "left the record at " + l.Selector + " as it is: it is not of this key"
	} else if rules.Manual() {
		done = "the record of " + l.Selector + " can be removed"
		r.remind(l, "remove its record from DNS")
	} else if err := r.change(ctx, newChange(Remove, l, rules.TTL, "")); err != nil {
		return err
	}
	l.Removed = new(r.Store.Now().UTC())
	return r.finish(l, done)
}

// Compromised records that a key has leaked: it stops signing. The next Run revokes it in any case, and activates a successor
// that has been seen for long enough.
func (r *Rotator) Compromised(k *Key) error {
	l, err := r.MetadataOf(k)
	if err != nil {
		return err
	}
	if s := l.State(); s == Revoked || s == Removed {
		return fmt.Errorf("%s is revoked already", l.Selector)
	}
	l.Compromised = true
	if l.Retired == nil {
		l.Retired = new(r.Store.Now().UTC())
	}
	return r.Store.writeMetadata(l)
}

// Leaked is Compromised under the lock of the domain, which it takes over if need be. It returns the key as it was before.
func (r *Rotator) Leaked(ctx context.Context, domain, selector string) (before Key, err error) {
	unlock, err := r.Store.TakeOver(ctx, domain)
	if err != nil {
		return before, err
	}
	defer unlock()
	k, _, err := r.Store.find(domain, selector)
	if err != nil {
		return before, err
	}
	before = *k
	return before, r.Compromised(k)
}

// SignNothing lets mail of a domain leave unsigned, unless another command has activated a key meanwhile. The next key that is
// activated records the domain as hosted again.
func (r *Rotator) SignNothing(ctx context.Context, domain string) error {
	unlock, err := r.Store.TakeOver(ctx, domain)
	if err != nil {
		return err
	}
	defer unlock()
	set, err := r.Store.LoadDomain(domain, nil)
	if err != nil || len(set.Domains()) > 0 {
		return err
	}
	return r.Store.Unhost(domain)
}

// RevokeSteps returns what a person who publishes has to do about a key that has leaked, in order. The record of the leaked key comes
// first: whoever has the key can sign for the domain until its record is empty.
func (s *Set) RevokeSteps(k *Key) []string {
	var steps []string
	if k.Metadata == nil || !k.Metadata.RecordUnseen() { // else the record is of another key
		steps = append(steps, fmt.Sprintf("replace the TXT record at %s by %q", RecordName(k.Domain, k.Selector), revokedRecord(k.Algorithm)))
	}
	if next := NewestPending(s.Of(k.Domain), k.Algorithm, ""); next != nil {
		steps = append(steps, "put the record of key "+next.Selector+" into DNS (dkimkey show "+k.Domain+" "+next.Selector+")",
			"dkimkey rotate "+k.Domain+" --wait: it signs when the world has seen it")
	}
	return steps
}
