package keys

import (
	"context"
	"fmt"
	"strings"
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
		return false, err
	}
	r.Needs(s.Key.Domain, fmt.Sprintf("key %s: %s: %s", s.Key.Selector, what, strings.Join(behind, ", ")), nil)
	return true, nil
}

// leads returns an error if this host must not change records now. The record of a compromised key is withdrawn in any case.
func (r *Rotator) leads(ctx context.Context) error {
	if r.Hosts == nil || r.Urgent {
		return nil
	}
	return r.Hosts.Leads(ctx)
}
