package keys

import (
	"context"
	"fmt"
	"slices"
)

// Rotator.Run calls these functions for the last steps of a key.

func (r *Rotator) retire(k *Key) error {
	l, err := r.MetadataOf(k)
	if err != nil {
		return err
	}
	l.Retired = new(r.Store.Now().UTC())
	return r.finish(l, "retired key "+l.Selector)
}

// recheck reports whether a key can be revoked now. If the record of the key was never found, recheck checks it once more. The record at
// its selector may belong to another key, and Signpost must not change such a record.
func (r *Rotator) recheck(ctx context.Context, k *Key) (bool, error) {
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
		return false, fmt.Errorf("cannot check whether the record belongs to this key: %s", o.Words)
	}
	return true, nil
}

func (r *Rotator) revoke(ctx context.Context, k *Key, rules Rules) error {
	if ok, err := r.recheck(ctx, k); err != nil || !ok {
		return err
	}
	l := k.Metadata
	if l.RecordUnseen() {
		r.Done(l.Domain, "kept the record at selector "+l.Selector+": it does not belong to this key")
	} else if byHand, why, err := r.change(ctx, newChange(Replace, l, rules.TTL, revokedRecord(l.Algorithm))); err != nil {
		return err
	} else if byHand {
		r.remind(l, fmt.Sprintf("%sreplace its record with %q", why, revokedRecord(l.Algorithm)))
		l.ByHand = why != ""
	} else {
		l.ByHand = false
	}
	now := r.Store.Now().UTC()
	l.Revoked, l.Reminded = &now, &now
	if err := r.Store.writeMetadata(l); err != nil {
		return err
	}
	if err := r.Store.removePEM(l.Domain, l.Selector); err != nil {
		return err
	}
	done := "revoked key "
	if l.byHand(rules) {
		done = "deleted private key "
	}
	r.Done(l.Domain, done+l.Selector)
	return nil
}

// confirm checks whether the operator has emptied the record of a revoked key. Until then, anyone with a compromised key can sign for
// the domain, so each run repeats the reminder.
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
			r.remind(l, fmt.Sprintf("%s still has its record; replace it with %q", shown, revokedRecord(l.Algorithm)))
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
	done := "removed the record of key " + l.Selector
	if l.RecordUnseen() {
		done = "kept the record at selector " + l.Selector + ": it does not belong to this key"
	} else if byHand, why, err := r.change(ctx, newChange(Remove, l, rules.TTL, "")); err != nil {
		return err
	} else if byHand {
		done = "the record of key " + l.Selector + " can be removed"
		r.remind(l, why+"remove its record from DNS")
	}
	l.Removed = new(r.Store.Now().UTC())
	return r.finish(l, done)
}

// Compromised marks a key as compromised, so that it stops signing. The next Run revokes it, and activates a successor whose record has
// been visible for long enough.
func (r *Rotator) Compromised(k *Key) error {
	l, err := r.MetadataOf(k)
	if err != nil {
		return err
	}
	if s := l.State(); s == Revoked || s == Removed {
		return fmt.Errorf("key %s is already revoked", l.Selector)
	}
	l.Compromised = true
	if l.Retired == nil {
		l.Retired = new(r.Store.Now().UTC())
	}
	return r.Store.writeMetadata(l)
}

// Leaked calls Compromised under the lock of the domain, which root takes over if necessary. It returns the previous state of the key.
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

// SignNothing deletes the file that records a domain as hosted, so that its mail is sent unsigned. It does nothing if another command has
// activated a key in the meantime. The next activation records the domain as hosted again.
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

// RevokeSteps returns the steps that the operator must take about a compromised key if publish.method is manual. The order of the steps
// matters. The record of the compromised key comes first: anyone with the key can sign for the domain until its record is empty.
func (s *Set) RevokeSteps(k *Key) []string {
	var steps []string
	if k.Metadata == nil || !k.Metadata.RecordUnseen() { // if this is not true, the record belongs to another key
		steps = append(steps, fmt.Sprintf("replace the TXT record at %s with %q", RecordName(k.Domain, k.Selector), revokedRecord(k.Algorithm)))
	}
	if next := NewestPending(s.Of(k.Domain), k.Algorithm, ""); next != nil {
		steps = append(steps, "add the record of key "+next.Selector+" to DNS (dkimkey show "+k.Domain+" "+next.Selector+")",
			"run dkimkey rotate "+k.Domain+" --wait: the key signs when its record has been visible for long enough")
	}
	return steps
}
