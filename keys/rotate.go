package keys

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Rotator does the steps that are due for keys. It locks one domain at a time, and releases the lock during DNS lookups.
type Rotator struct {
	Store     Store
	Rules     func(domain string) Rules
	Publisher func(domain string) (Publisher, error) // not called if publish.method is manual
	Checker   *Checker
	NewRSA    func(bits int) (*rsa.PrivateKey, error)
	// Done is called for each completed step. Needs is called for each action that the operator must take. The metadata may be nil.
	Done  func(domain, what string)
	Needs func(domain, what string, l *Metadata)
	// Warn is called by RunAll if the clock jumped.
	Warn func(what string)
	// Frozen is set if the clock is not reliable: Run then revokes only compromised keys and removes no record.
	Frozen bool
	// Urgent is set if a key is compromised. It selects Store.TakeOver instead of Store.Lock, and no step waits for Hosts.
	Urgent bool
	// Hosts is set if other hosts sign with the same keys.
	Hosts *Hosts

	unlock func()          // releases the current lock
	keys   *Set            // the keys of the domain when they were last read
	fresh  map[string]bool // keys whose record this run has found
}

const (
	// unreachableGrace is how long an unreachable name server delays a new key.
	unreachableGrace = 24 * time.Hour
	// remindInterval is the time between reminders of a missing record.
	remindInterval = 7 * 24 * time.Hour
)

// Run does each step that is due for one domain, once. A failed step does not affect the others: a compromised key is revoked even if
// another key cannot be published. The next run retries failed steps. Run returns the joined errors of all steps, or a *Busy if another
// process holds the lock of the domain.
func (r *Rotator) Run(ctx context.Context, domain string) error {
	r.keys, r.fresh = nil, map[string]bool{}
	if err := r.lock(ctx, domain); err != nil {
		return err
	}
	defer func() { r.unlock() }()
	set, err := r.load(domain)
	if err != nil {
		return err
	}
	r.reportUnusable(domain, set)
	if err := r.host(domain, set); err != nil {
		return err
	}
	tried := map[string]bool{}
	var failed []error
	if err := r.stop(ctx, domain, set.Of(domain)); err != nil {
		failed = append(failed, fmt.Errorf("%s: %w", domain, err))
	}
	for ctx.Err() == nil {
		if set, err = r.load(domain); err != nil {
			return errors.Join(append(failed, err)...)
		}
		if err := r.clean(domain, set.Of(domain)); err != nil {
			return errors.Join(append(failed, err)...)
		}
		step, ok := r.next(set.Of(domain), domain, tried)
		if !ok {
			return errors.Join(failed...)
		}
		if err := r.do(ctx, domain, step, set); err != nil {
			failed = append(failed, fmt.Errorf("%s: %s: %w", domain, step.describe(), err))
			if lost := (*lostLockError)(nil); errors.As(err, &lost) {
				break
			}
		}
	}
	return errors.Join(append(failed, ctx.Err())...)
}

func (r *Rotator) lock(ctx context.Context, domain string) (err error) {
	take := r.Store.Lock
	if r.Urgent {
		take = r.Store.TakeOver
	}
	if r.unlock, err = take(ctx, domain); err != nil {
		r.unlock = func() {}
	}
	return err
}

// load reads the keys of the domain. It reads each private key once per run.
func (r *Rotator) load(domain string) (*Set, error) {
	set, err := r.Store.LoadDomain(domain, r.keys)
	r.keys = set
	return set, err
}

// look queries DNS for the record of a key. It releases the lock during the query. usable is false if the key changed in the meantime, for
// example because another command retired it.
func (r *Rotator) look(ctx context.Context, k *Key, signer crypto.Signer) (s Observation, usable bool, err error) {
	r.unlock()
	s = r.Checker.Look(ctx, k.Metadata, signer)
	if err := r.lock(ctx, k.Domain); err != nil {
		return s, false, &lostLockError{err}
	}
	set, err := r.load(k.Domain)
	if err != nil {
		return s, false, err
	}
	now := set.find(k.Domain, k.Selector)
	return s, now != nil && now.State == k.State && reflect.DeepEqual(now.Metadata, k.Metadata), nil
}

// host marks the domain as hosted if it has an active key and is not marked yet. This can happen after a partial restore from a backup.
func (r *Rotator) host(domain string, set *Set) error {
	if len(set.Domains()) == 0 || r.Store.tree().Exists(r.Store.hostedPath(domain)) {
		return nil
	}
	return r.Store.Host(domain)
}

// reportUnusable reports each unusable key and the reason. Plan has no steps for these keys.
func (r *Rotator) reportUnusable(domain string, set *Set) {
	for _, k := range set.Of(domain) {
		if k.Err != nil && !k.Elsewhere {
			what := fmt.Sprintf("key %s cannot be used: %v", k.Selector, k.Err)
			if k.Selector == "" { // the directory itself
				what = k.Err.Error()
			}
			r.Needs(domain, what, nil)
		}
	}
}

func (r *Rotator) next(keys []*Key, domain string, tried map[string]bool) (Step, bool) {
	now := r.Store.Now()
	for _, s := range Plan(keys, r.Rules(domain), now) {
		id := s.describe()
		frozen := r.Frozen && (s.Do == DoRemove || s.Do == DoRevoke && !s.Key.Metadata.Compromised)
		if s.Due.After(now) || tried[id] || frozen {
			continue
		}
		// A key is activated only if this run has found its record.
		if s.Do == DoActivate && !r.fresh[domain+" "+s.Key.Selector] {
			continue
		}
		tried[id] = true
		return s, true
	}
	return Step{}, false
}

// clean deletes the files that an interrupted run left. These are temporary files, metadata whose key was never written, and private keys
// whose metadata states that they are deleted.
func (r *Rotator) clean(domain string, keys []*Key) error {
	if err := r.Store.removeWhere(domain, isTemp); err != nil {
		return err
	}
	unfinished := func(name string) bool {
		selector, isMetadata := strings.CutSuffix(name, ".json")
		if !isMetadata || r.Store.tree().Exists(r.Store.pemPath(domain, selector)) {
			return false
		}
		l, err := r.Store.readMetadata(domain, selector)
		if err != nil || !l.unfinished() {
			return false
		}
		r.Store.step("delete " + name)
		return true
	}
	if err := r.Store.removeWhere(domain, unfinished); err != nil {
		return err
	}
	for _, k := range keys {
		if k.State != Revoked && k.State != Removed {
			continue
		}
		if err := r.Store.removePEM(k.Domain, k.Selector); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rotator) do(ctx context.Context, domain string, s Step, set *Set) error {
	if wait, err := r.wait(ctx, s); err != nil || wait {
		return err
	}
	rules := r.Rules(domain)
	switch s.Do {
	case DoCreate:
		return r.create(domain, s.Algorithm, rules, set.Of(domain))
	case DoPublish:
		if err := r.Publish(ctx, s.Key.Metadata); err != nil || s.Key.Metadata.Published != nil {
			return err
		}
		return r.check(ctx, s.Key, rules) // the operator may have added the record to a foreign zone
	case DoCheck:
		return r.check(ctx, s.Key, rules)
	case DoActivate:
		return r.activate(ctx, s.Key)
	case DoRetire:
		return r.retire(s.Key)
	case DoRevoke:
		return r.revoke(ctx, s.Key, rules)
	case DoConfirm:
		return r.confirm(ctx, s.Key)
	case DoRemove:
		return r.remove(ctx, s.Key.Metadata, rules)
	}
	return nil
}

func (r *Rotator) create(domain, algorithm string, rules Rules, keys []*Key) error {
	o := Options{Domain: domain, Algorithm: algorithm, Bits: rules.Bits, Publish: rules.Method, NewRSA: r.NewRSA}
	if len(rules.Ring[algorithm]) > 0 {
		if err := r.chooseSelector(&o, rules, keys); err != nil {
			return err
		}
		if o.Selector == "" {
			return nil // all selectors are still in use; a later run will find a free one
		}
	}
	metadata, err := r.Store.Create(o)
	if err != nil {
		return err
	}
	r.Done(domain, fmt.Sprintf("created %s key %s", algorithm, metadata.Selector))
	if rules.Manual() {
		r.remind(metadata, "add its record to DNS")
		metadata.Reminded = new(r.Store.Now().UTC())
		return r.Store.writeMetadata(metadata)
	}
	return nil
}

func (r *Rotator) remind(l *Metadata, what string) {
	r.Needs(l.Domain, fmt.Sprintf("key %s: %s", l.Selector, what), l)
}

// Publish publishes the record of a key. publish.method must not be manual. If the zone is foreign, Publish reminds the operator of the
// record, and the key stays in its state until the record is found.
func (r *Rotator) Publish(ctx context.Context, l *Metadata) error {
	byHand, why, err := r.change(ctx, newChange(Add, l, r.Rules(l.Domain).TTL, l.Record))
	if err != nil {
		return err
	}
	if now := r.Store.Now().UTC(); byHand {
		reminded := l.Reminded != nil && now.Sub(*l.Reminded) < remindInterval
		if reminded && l.ByHand {
			return nil
		}
		if !reminded {
			r.remind(l, why+"add its record to DNS")
			l.Reminded = &now
		}
		l.ByHand = true
		return r.Store.writeMetadata(l)
	}
	l.ByHand = false
	l.Published = new(r.Store.Now().UTC())
	r.Done(l.Domain, "published key "+l.Selector)
	return r.Store.writeMetadata(l)
}

// Look checks the record of a key outside of Run and records the result. It does not activate the key.
func (r *Rotator) Look(ctx context.Context, domain, selector string) error {
	quiet := *r
	quiet.keys, quiet.fresh, quiet.Done = nil, map[string]bool{}, func(_, _ string) {}
	if err := quiet.lock(ctx, domain); err != nil {
		return err
	}
	defer func() { quiet.unlock() }()
	set, err := quiet.load(domain)
	if err != nil {
		return err
	}
	k := set.find(domain, selector)
	if k == nil || k.Err != nil {
		return fmt.Errorf("key %s can no longer be read", selector)
	}
	return quiet.check(ctx, k, r.Rules(domain))
}

// check checks the record of a pending key, or of an active key whose record was never found, and records the result.
func (r *Rotator) check(ctx context.Context, k *Key, rules Rules) error {
	observation, usable, err := r.look(ctx, k, k.Signer)
	if err != nil || !usable {
		return err
	}
	o := observation.Outcome()
	l, now := k.Metadata, r.Store.Now().UTC()
	before := *l
	l.Finding = o.Words
	if observation.TTL > 0 {
		l.TTL = Span(observation.TTL)
	}
	switch {
	case o.Differs:
		l.Silent = nil
		if l.Activated == nil { // an active key keeps this time, because its predecessors are already retired
			l.Seen = nil
			// Caches may have the wrong record, and the corrected record may have a shorter TTL.
			l.OldTTL = max(l.OldTTL, Span(observation.TTL))
		}
		r.remindLate(l, now, rules)
	case o.Silent:
		if l.Silent == nil {
			l.Silent = &now
		}
		if now.Sub(*l.Silent) < unreachableGrace {
			break
		}
		if !o.Enough {
			r.remindLate(l, now, rules)
			break
		}
		r.Needs(l.Domain, fmt.Sprintf("warning: key %s proceeds, although at least one name server has not answered for a day: %s", l.Selector, o.Words), nil)
		r.seen(l, observation, now)
	default:
		l.Silent = nil
		r.seen(l, observation, now)
	}
	if reflect.DeepEqual(before, *l) {
		return nil // avoids a synchronous write
	}
	return r.Store.writeMetadata(l)
}

func (r *Rotator) seen(l *Metadata, s Observation, now time.Time) {
	if l.Published == nil {
		l.Published = &now
	}
	if l.Seen == nil {
		l.Seen = &now
		what := "the record of key " + l.Selector + " is visible in DNS"
		if l.Activated == nil {
			what += "; the key may sign from " + now.Add(time.Duration(s.Wait)).Format(timeFormat)
		}
		r.Done(l.Domain, what)
	}
	l.Wait = max(l.Wait, Span(s.Wait))
	r.fresh[l.Domain+" "+l.Selector] = true
}

// remindLate reminds the operator of a record that is still missing in DNS.
func (r *Rotator) remindLate(l *Metadata, now time.Time, rules Rules) {
	since, after := l.Created, remindInterval
	if !rules.Manual() {
		if l.Published == nil {
			return
		}
		since, after = *l.Published, unreachableGrace
	}
	if l.Reminded != nil {
		since = *l.Reminded
	}
	if now.Sub(since) < after {
		return
	}
	l.Reminded = &now
	what := "its record is still not in DNS: " + l.Finding
	if l.Imported != "" && l.Activated == nil {
		what += "; rotate does not publish the records of imported keys: publish it, or revoke the key"
	}
	r.remind(l, what)
}

func (r *Rotator) activate(ctx context.Context, k *Key) error {
	if err := r.leads(ctx); err != nil {
		return err
	}
	l := k.Metadata
	// The domain is recorded as hosted before the first signature, so that sign.on_missing_key applies as soon as the key is missing.
	r.Store.step("host " + l.Domain)
	if err := r.Store.Host(l.Domain); err != nil {
		return err
	}
	l.Activated = new(r.Store.Now().UTC())
	return r.finish(l, "activated key "+l.Selector)
}

// finish writes the metadata of a key and reports the completed step.
func (r *Rotator) finish(l *Metadata, done string) error {
	if err := r.Store.writeMetadata(l); err != nil {
		return err
	}
	r.Done(l.Domain, done)
	return nil
}
