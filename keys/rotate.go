package keys

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
)

// Rotator does what is due for keys. It locks one domain at a time, and releases the lock while it waits for DNS.
type Rotator struct {
	Store     Store
	Rules     func(domain string) Rules
	Publisher func(domain string) (Publisher, error) // not called where publishing is manual
	Checker   *Checker
	Random    io.Reader
	// Done is called for each step that was done, Needs for what a person has to do, with the key's metadata or nil.
	Done  func(domain, what string)
	Needs func(domain, what string, l *Metadata)
	// Warn is called by RunAll for a clock that jumped.
	Warn func(what string)
	// Frozen: the clock cannot be trusted, so nothing is revoked or removed.
	Frozen bool
	// Urgent: locks are taken over, as in Store.TakeOver.
	Urgent bool

	unlock func()          // releases the lock that is held
	keys   *Set            // of the domain, as they were last read
	fresh  map[string]bool // keys that this run has seen
}

const (
	// unreachableGrace is how long a name server that does not answer delays a new key.
	unreachableGrace = 24 * time.Hour
	// remindInterval is the time between reminders of a record that is missing.
	remindInterval = 7 * 24 * time.Hour
)

// Run does each step that is due for one domain, once. A step that fails holds up no other: a key that cannot be published does not
// keep a leaked one from being revoked. The next run tries it again. The error joins those of all steps; it is a *Busy if another
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
	r.complain(domain, set)
	if err := r.host(domain, set); err != nil {
		return err
	}
	tried := map[string]bool{}
	var failed []error
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

// load reads the keys of the domain, each private key once in a run.
func (r *Rotator) load(domain string) (*Set, error) {
	set, err := r.Store.LoadDomain(domain, r.keys)
	r.keys = set
	return set, err
}

// look queries DNS for the record of a key, without the lock. usable is false if the key changed meanwhile, for example because
// another command retired it.
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

// host records a domain as hosted that has an active key and no such record, as after a backup was restored in part.
func (r *Rotator) host(domain string, set *Set) error {
	if len(set.Domains()) == 0 || r.Store.tree().Exists(r.Store.hostedPath(domain)) {
		return nil
	}
	return r.Store.Host(domain)
}

// complain reports which keys cannot be used, and why: nothing is planned for them.
func (r *Rotator) complain(domain string, set *Set) {
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

func (s Step) describe() string {
	if s.Key == nil {
		return string(s.Do) + " " + s.Algorithm + " key"
	}
	return string(s.Do) + " " + s.Key.Selector
}

func (r *Rotator) next(keys []*Key, domain string, tried map[string]bool) (Step, bool) {
	now := r.Store.Now()
	for _, s := range Plan(keys, r.Rules(domain), now) {
		id := s.describe()
		frozen := r.Frozen && (s.Do == DoRemove || s.Do == DoRevoke && !s.Key.Metadata.Compromised)
		if s.Due.After(now) || tried[id] || frozen {
			continue
		}
		// A key signs only on what was seen in this run.
		if s.Do == DoActivate && !r.fresh[domain+" "+s.Key.Selector] {
			continue
		}
		tried[id] = true
		return s, true
	}
	return Step{}, false
}

// clean deletes what an interrupted run left: temporary files, metadata whose key was never written, and private keys whose
// metadata records that they are gone.
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
	rules := r.Rules(domain)
	switch s.Do {
	case DoCreate:
		return r.create(domain, s.Algorithm, rules, set.Of(domain))
	case DoPublish:
		return r.Publish(ctx, s.Key.Metadata)
	case DoCheck:
		return r.check(ctx, s.Key, rules)
	case DoActivate:
		return r.activate(s.Key)
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
	o := Options{Domain: domain, Algorithm: algorithm, Bits: rules.Bits, Publish: rules.Method, Random: r.Random}
	if len(rules.Ring[algorithm]) > 0 {
		if err := r.chooseSelector(&o, rules, keys); err != nil {
			return err
		}
		if o.Selector == "" {
			return nil // each selector is still in use; a later run finds one free
		}
	}
	metadata, err := r.Store.Create(o)
	if err != nil {
		return err
	}
	r.Done(domain, fmt.Sprintf("made %s key %s", algorithm, metadata.Selector))
	if rules.Manual() {
		r.remind(metadata, "put its record into DNS")
		metadata.Reminded = new(r.Store.Now().UTC())
		return r.Store.writeMetadata(metadata)
	}
	return nil
}

func (r *Rotator) remind(l *Metadata, what string) {
	r.Needs(l.Domain, fmt.Sprintf("key %s: %s", l.Selector, what), l)
}

// Publish publishes the record of a key. publish.method must not be manual.
func (r *Rotator) Publish(ctx context.Context, l *Metadata) error {
	if err := r.change(ctx, newChange(Add, l, r.Rules(l.Domain).TTL, l.Record)); err != nil {
		return err
	}
	l.Published = new(r.Store.Now().UTC())
	r.Done(l.Domain, "published "+l.Selector)
	return r.Store.writeMetadata(l)
}

// Look checks the record of a key outside of Run and records what was seen. It activates no key.
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
		return fmt.Errorf("key %s cannot be read any more", selector)
	}
	return quiet.check(ctx, k, r.Rules(domain))
}

// check looks for the record of a key that is pending, or active and never seen, and records what was seen.
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
		if l.Activated == nil { // an active key that was seen once keeps that: its predecessors are retired already
			l.Seen = nil
			// Caches may have what was shown. When it is corrected, the new record may have a shorter TTL.
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
		r.Needs(l.Domain, fmt.Sprintf("warning: %s goes on although not every name server has answered for a day: %s", l.Selector, o.Words), nil)
		r.seen(l, observation, now)
	default:
		l.Silent = nil
		r.seen(l, observation, now)
	}
	if reflect.DeepEqual(before, *l) {
		return nil // a write waits for the disk
	}
	return r.Store.writeMetadata(l)
}

func (r *Rotator) seen(l *Metadata, s Observation, now time.Time) {
	if l.Published == nil {
		l.Published = &now
	}
	if l.Seen == nil {
		l.Seen = &now
		what := l.Selector + " is seen by the world"
		if l.Activated == nil {
			what += "; it may sign from " + now.Add(time.Duration(s.Wait)).Format(timeFormat) + " on"
		}
		r.Done(l.Domain, what)
	}
	l.Wait = max(l.Wait, Span(s.Wait))
	r.fresh[l.Domain+" "+l.Selector] = true
}

// remindLate reminds a person of a record that has not appeared in DNS.
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
		what += "; rotate does not publish the record of an imported key: publish it, or revoke the key"
	}
	r.remind(l, what)
}

func (r *Rotator) activate(k *Key) error {
	l := k.Metadata
	// Recorded before the first signature: from here on a missing key fails closed.
	r.Store.step("host " + l.Domain)
	if err := r.Store.Host(l.Domain); err != nil {
		return err
	}
	l.Activated = new(r.Store.Now().UTC())
	return r.finish(l, "key "+l.Selector+" signs from now on")
}

// finish writes the metadata of a key, and reports what was done.
func (r *Rotator) finish(l *Metadata, done string) error {
	if err := r.Store.writeMetadata(l); err != nil {
		return err
	}
	r.Done(l.Domain, done)
	return nil
}
