package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"signpost/internal/dkim"
)

// Rotator does what is due in the lives of keys. The caller holds the store's lock.
type Rotator struct {
	Store     Store
	Hosted    Hosted
	Rules     func(domain string) Rules
	Publisher func(domain string) (Publisher, error) // not called where publishing is manual
	Checker   *Checker
	Random    io.Reader
	// Done is told of each thing that was done, Needs of what a person has to do, with the record where there is one.
	Done  func(domain, what string)
	Needs func(domain, what string, l *Life)
	fresh map[string]bool // keys that this run has seen
	// Frozen: the clock cannot be trusted, so nothing is revoked or removed.
	Frozen bool
}

const (
	// patience is how long a server that does not answer holds a new key up.
	patience = 24 * time.Hour
	// remindEvery is how often the owner of a record that is not there is told.
	remindEvery = 7 * 24 * time.Hour
)

// Run does all that is due for one domain, each thing once. An error ends this domain's run; the next one begins where
// this one ended.
func (r *Rotator) Run(ctx context.Context, domain string) error {
	if err := r.complain(domain); err != nil {
		return err
	}
	tried := map[string]bool{}
	r.fresh = map[string]bool{}
	for ctx.Err() == nil {
		set, err := r.Store.Load(nil)
		if err != nil {
			return err
		}
		if err := r.clean(domain, set.Of(domain)); err != nil {
			return err
		}
		step, ok := r.next(set.Of(domain), domain, tried)
		if !ok {
			return nil
		}
		if err := r.do(ctx, domain, step, set); err != nil {
			return fmt.Errorf("%s: %s: %w", domain, step.describe(), err)
		}
	}
	return ctx.Err()
}

// complain says which keys cannot be used, and why: nothing is planned for them.
func (r *Rotator) complain(domain string) error {
	set, err := r.Store.Load(nil)
	if err != nil {
		return err
	}
	for _, k := range set.Of(domain) {
		if k.Err != nil && !k.Elsewhere {
			r.Needs(domain, fmt.Sprintf("key %s cannot be used: %v", k.Selector, k.Err), nil)
		}
	}
	return nil
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
		frozen := r.Frozen && (s.Do == DoRemove || s.Do == DoRevoke && !s.Key.Life.Compromised)
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

// clean takes away what a run left that was interrupted: lives whose key was never written, and private keys whose life
// says that they are gone.
func (r *Rotator) clean(domain string, keys []*Key) error {
	lives, err := filepath.Glob(r.Store.lifePath(domain, "*"))
	if err != nil {
		return err
	}
	for _, path := range lives {
		selector := strings.TrimSuffix(filepath.Base(path), ".json")
		l, err := r.Store.readLife(domain, selector)
		if err != nil || l.State() != Generated {
			continue
		}
		if _, err := os.Lstat(r.Store.pemPath(domain, selector)); errors.Is(err, fs.ErrNotExist) {
			r.Store.step("delete " + selector + ".json")
			if err := os.Remove(path); err != nil {
				return err
			}
		}
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
		return r.Publish(ctx, s.Key.Life)
	case DoCheck:
		return r.check(ctx, s.Key, rules)
	case DoActivate:
		return r.activate(s.Key)
	case DoRetire:
		return r.retire(s.Key)
	case DoRevoke:
		return r.revoke(ctx, s.Key.Life, rules)
	case DoConfirm:
		return r.confirm(ctx, s.Key.Life)
	case DoRemove:
		return r.remove(ctx, s.Key.Life, rules)
	}
	return nil
}

func (r *Rotator) create(domain, algorithm string, rules Rules, keys []*Key) error {
	o := Options{Domain: domain, Algorithm: algorithm, Bits: rules.Bits, Publish: rules.Method, Random: r.Random}
	if len(rules.Ring[algorithm]) > 0 {
		o.Ring = true
		if o.Selector = rules.FreeSelector(keys, algorithm, r.Store.Now()); o.Selector == "" {
			return nil // each selector is still in use; a later run finds one free
		}
	}
	life, err := r.Store.Create(o)
	if err != nil {
		return err
	}
	r.Done(domain, fmt.Sprintf("made %s key %s", algorithm, life.Selector))
	if rules.Manual() {
		r.remind(life, "put its record into DNS")
		now := r.Store.Now().UTC()
		life.Reminded = &now
		return r.Store.writeLife(life)
	}
	return nil
}

func (r *Rotator) remind(l *Life, what string) {
	r.Needs(l.Domain, fmt.Sprintf("key %s: %s", l.Selector, what), l)
}

func (r *Rotator) change(ctx context.Context, c Change) error {
	p, err := r.Publisher(c.Domain)
	if err != nil {
		return err
	}
	r.Store.step("publish " + c.Action)
	return p.Publish(ctx, c)
}

// Publish hands the record of a key over to DNS, where that is not for a person to do.
func (r *Rotator) Publish(ctx context.Context, l *Life) error {
	if err := r.change(ctx, newChange(Add, l, r.Rules(l.Domain).TTL, l.Record)); err != nil {
		return err
	}
	now := r.Store.Now().UTC()
	l.Published = &now
	r.Done(l.Domain, "published "+l.Selector)
	return r.Store.writeLife(l)
}

// Look looks for the record of a key outside of Run and records in k.Life what was seen. No key signs on that.
func (r *Rotator) Look(ctx context.Context, k *Key) error {
	quiet := *r
	quiet.fresh, quiet.Done = map[string]bool{}, func(_, _ string) {}
	return quiet.check(ctx, k, r.Rules(k.Domain))
}

// check looks for the record of a key that is pending, or active and never seen, and records what was seen.
func (r *Rotator) check(ctx context.Context, k *Key, rules Rules) error {
	sight := r.Checker.Look(ctx, k.Life, k.Signer)
	o := sight.Outcome()
	l, now := k.Life, r.Store.Now().UTC()
	l.Finding = o.Words
	if sight.TTL > 0 {
		l.TTL = Span(sight.TTL)
	}
	switch {
	case o.Differs:
		l.Silent = nil
		if l.Activated == nil { // an active key that was seen once keeps that: its predecessors are retired already
			l.Seen = nil
		}
		r.remindLate(l, now, rules)
	case o.Silent:
		// A server that cannot be asked holds a key up, for a day.
		if l.Silent == nil {
			l.Silent = &now
		}
		if now.Sub(*l.Silent) < patience {
			break
		}
		if !o.Enough {
			r.remindLate(l, now, rules)
			break
		}
		r.Needs(l.Domain, fmt.Sprintf("warning: %s goes on although not every name server has answered for a day: %s", l.Selector, o.Words), nil)
		r.seen(l, sight, now)
	default:
		l.Silent = nil
		r.seen(l, sight, now)
	}
	return r.Store.writeLife(l)
}

func (r *Rotator) seen(l *Life, s Sight, now time.Time) {
	if l.Published == nil {
		l.Published = &now
	}
	if l.Seen == nil {
		l.Seen = &now
		what := l.Selector + " is seen by the world"
		if l.Activated == nil {
			what += "; it may sign from " + now.Add(s.Wait).Format("2006-01-02 15:04") + " on"
		}
		r.Done(l.Domain, what)
	}
	l.Wait = Span(max(time.Duration(l.Wait), s.Wait))
	r.fresh[l.Domain+" "+l.Selector] = true
}

// remindLate tells a person about a record that does not come up.
func (r *Rotator) remindLate(l *Life, now time.Time, rules Rules) {
	since, after := l.Created, remindEvery
	if !rules.Manual() {
		if l.Published == nil {
			return
		}
		since, after = *l.Published, patience
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
	l := k.Life
	// Recorded before the first signature: from here on a missing key fails closed.
	r.Store.step("host " + l.Domain)
	if err := r.Hosted.Add(l.Domain); err != nil {
		return err
	}
	now := r.Store.Now().UTC()
	l.Activated = &now
	if err := r.Store.writeLife(l); err != nil {
		return err
	}
	r.Done(l.Domain, "key "+l.Selector+" signs from now on")
	return nil
}

func (r *Rotator) retire(k *Key) error {
	l, err := r.LifeOf(k)
	if err != nil {
		return err
	}
	now := r.Store.Now().UTC()
	l.Retired = &now
	if err := r.Store.writeLife(l); err != nil {
		return err
	}
	r.Done(l.Domain, "key "+l.Selector+" signs no more")
	return nil
}

// LifeOf gives the life of a key; one that was put there by hand gets one, which is not written.
func (r *Rotator) LifeOf(k *Key) (*Life, error) { return lifeOf(k, r.Rules(k.Domain).Method) }

func lifeOf(k *Key, method string) (*Life, error) {
	if k.Life != nil {
		return k.Life, nil
	}
	if k.Signer == nil {
		return nil, k.Err
	}
	record, err := dkim.FormatKeyRecord(k.Signer.Public())
	if err != nil {
		return nil, err
	}
	since := k.Since.UTC()
	l := &Life{Domain: k.Domain, Selector: k.Selector, Algorithm: k.Algorithm, Bits: k.Bits, Record: record, Publish: method,
		Created: since, Published: &since}
	if k.State == Active { // since its record was seen
		l.Seen, l.Activated = &since, &since
	}
	return l, nil
}
