package keys

import (
	"context"
	"fmt"
	"slices"
)

// AddOptions describe the keys that Add creates for a domain.
type AddOptions struct {
	Domain     string
	Algorithms []string
	Bits       int
	Selector   string // empty: a dated selector, or the next selector of the ring
	Unsafe     bool   // the keys sign immediately; if there is a pending key, Add activates it and creates none
}

// Added is a key that Add created, or a pending key that it activated.
type Added struct {
	*Metadata
	New bool
}

// Add creates the keys of a domain, one of each algorithm. It calls begin before it creates each key. If an error occurs, it also returns
// the keys that it has already created.
func (r *Rotator) Add(ctx context.Context, o AddOptions, begin func(algorithm string)) (all []Added, err error) {
	unlock, err := r.Store.Lock(ctx, o.Domain)
	if err != nil {
		return nil, err
	}
	defer unlock()
	rules := r.Rules(o.Domain)
	for _, algorithm := range o.Algorithms {
		begin(algorithm)
		m, isNew, err := r.addOne(rules, Options{Domain: o.Domain, Selector: o.Selector, Algorithm: algorithm, Bits: o.Bits, Publish: rules.Method, NewRSA: r.NewRSA}, o.Unsafe)
		if err != nil {
			return all, err
		}
		if o.Unsafe {
			if m.Published == nil && !rules.Manual() {
				if err := r.Publish(ctx, m); err != nil {
					return all, err
				}
			}
			if m, err = r.Store.Activate(m.Domain, m.Selector); err != nil {
				return all, err
			}
		}
		all = append(all, Added{m, isNew})
	}
	return all, nil
}

// addOne creates a key. If activate is true and there are pending keys, it creates none and returns the newest pending key.
func (r *Rotator) addOne(rules Rules, o Options, activate bool) (m *Metadata, isNew bool, err error) {
	set, err := r.Store.LoadDomain(o.Domain, nil)
	if err != nil {
		return nil, false, err
	}
	if activate {
		if k := NewestPending(set.Of(o.Domain), o.Algorithm, o.Selector); k != nil {
			return k.Metadata, false, nil
		}
	}
	if ring := rules.Ring[o.Algorithm]; len(ring) > 0 && o.Selector == "" {
		if err := r.chooseSelector(&o, rules, set.Of(o.Domain)); err != nil {
			return nil, false, err
		}
		if o.Selector == "" {
			return nil, false, fmt.Errorf("each selector of keys.selectors %v is in use; dkimkey status shows until when", ring)
		}
	}
	m, err = r.Store.Create(o)
	return m, true, err
}

// chooseSelector sets o.Selector to the next free selector of the ring, or to "" if all are in use.
func (r *Rotator) chooseSelector(o *Options, rules Rules, keys []*Key) error {
	all, err := r.Store.WithPast(o.Domain, keys)
	o.Ring, o.Selector = true, rules.FreeSelector(all, o.Algorithm, r.Store.Now())
	return err
}

// SignsUntilRotation returns the active key if it signs until the next rotation. It returns nil if the key m replaces the active key as
// soon as m may sign.
func (r *Rotator) SignsUntilRotation(m *Metadata) (*Key, error) {
	set, err := r.Store.LoadDomain(m.Domain, nil)
	if err != nil {
		return nil, err
	}
	of := set.Of(m.Domain)
	if slices.ContainsFunc(Awaited(of, r.Rules(m.Domain), r.Store.Now()), func(k *Key) bool { return k.Algorithm == m.Algorithm }) {
		return nil, nil
	}
	return NewestActive(of, m.Algorithm), nil
}

// find returns a key and all keys of its domain.
func (s Store) find(domain, selector string) (*Key, []*Key, error) {
	set, err := s.LoadDomain(domain, nil)
	if err != nil {
		return nil, nil, err
	}
	k, of := set.find(domain, selector), set.Of(domain)
	if k == nil {
		return nil, nil, fmt.Errorf("key %s no longer exists", selector)
	}
	return k, of, nil
}

// WithoutKeys returns the domains that have no key.
func (s Store) WithoutKeys(domains []string) ([]string, error) {
	var without []string
	for _, domain := range domains {
		set, err := s.LoadDomain(domain, nil)
		if err != nil {
			return nil, err
		}
		if len(set.Of(domain)) == 0 {
			without = append(without, domain)
		}
	}
	return without, nil
}

// OnlyEd25519 reports whether all active and pending keys of a domain are Ed25519 keys.
func OnlyEd25519(keys []*Key) bool {
	has := func(algorithm string) bool {
		return slices.ContainsFunc(keys, func(k *Key) bool { return k.Algorithm == algorithm && (k.State.Pending() || k.State == Active) })
	}
	return has("ed25519") && !has("rsa")
}
