package keys

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Hosts makes a Rotator wait for the other hosts that sign with the same keys. Its functions must be safe for concurrent use.
type Hosts struct {
	// Behind returns, as text for the operator, the hosts for which a step must wait. To activate a key, each host must have its private
	// key. To withdraw the record of a key, no host may sign with the key any more.
	Behind func(ctx context.Context, domain, selector string, withdraw bool) ([]string, error)
	// Leads returns an error if another host may change keys and records at this time.
	Leads func(ctx context.Context) error
}

// wait reports whether a step of a key must wait for other hosts. It then calls Needs with their names.
//
// A compromised key never waits: it is withdrawn although other hosts may still sign with it, and its successor is activated although other
// hosts may not have the successor yet.
func (r *Rotator) wait(ctx context.Context, s Step) (bool, error) {
	if r.Hosts == nil || r.Urgent {
		return false, nil
	}
	what, withdraw := "", true
	switch {
	case s.Do == DoActivate:
		what, withdraw = "not activated yet, because other hosts do not have its private key", false
	case s.Do == DoRevoke && !s.Key.Metadata.Compromised:
		what = "not revoked yet, because other hosts may still sign with it"
	case s.Do == DoRemove:
		what = "its record is not removed yet, because other hosts may still sign with it"
	default:
		return false, nil
	}
	behind, err := r.Hosts.Behind(ctx, s.Key.Domain, s.Key.Selector, withdraw)
	if err != nil || len(behind) == 0 {
		return s.Do == DoRevoke && s.Key.Metadata.Stopped == nil, err
	}
	r.Needs(s.Key.Domain, fmt.Sprintf("key %s: %s: %s", s.Key.Selector, what, strings.Join(behind, ", ")), nil)
	return true, nil
}

// stop records for each retired key when the last of the other hosts has stopped to sign with it. The mail that such a host sent in the
// meantime may be in transit, so the record stays in DNS for RetireAfter from then on.
func (r *Rotator) stop(ctx context.Context, domain string, keys []*Key) error {
	if r.Hosts == nil || r.Urgent {
		return nil
	}
	for _, k := range keys {
		if k.State != Retiring || k.Metadata.Compromised || k.Metadata.Stopped != nil {
			continue
		}
		behind, err := r.Hosts.Behind(ctx, domain, k.Selector, true)
		if err != nil {
			return err
		}
		if len(behind) > 0 {
			continue
		}
		k.Metadata.Stopped = new(r.Store.Now().UTC())
		if err := r.Store.writeMetadata(k.Metadata); err != nil {
			return err
		}
	}
	return nil
}

// stopGrace is how long after its retirement a host may sign with a key without an effect on its revocation. It is the time between two
// runs, and less than the reserve in the default of keys.retire_after.
const stopGrace = 24 * time.Hour

// revokeAt returns the time at which a retired key is revoked.
func (k *Key) revokeAt(r Rules) time.Time {
	at := k.Since.Add(r.RetireAfter)
	if k.Metadata.Stopped != nil {
		at = latest(at, k.Metadata.Stopped.Add(r.RetireAfter-stopGrace))
	}
	return at
}

// leads returns an error if this host must not change records now. The record of a compromised key is withdrawn in any case.
func (r *Rotator) leads(ctx context.Context) error {
	if r.Hosts == nil || r.Urgent {
		return nil
	}
	return r.Hosts.Leads(ctx)
}
