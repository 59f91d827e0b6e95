package cluster

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"signpost/internal/domain"
	"signpost/keys"
)

// member is the body of a rule of kind host. The times are in ms.
type member struct {
	Joined int64 `json:"joined"`
	Left   int64 `json:"left,omitempty"`
}

// members returns the sorted names of the registered hosts.
func (s *state) members() []string {
	var names []string
	for id, r := range s.Rules {
		var m member
		if id.Kind == kindHost && json.Unmarshal([]byte(r.Body), &m) == nil && m.Joined > m.Left {
			names = append(names, id.Name)
		}
	}
	slices.Sort(names)
	return names
}

// takeRule is like takeKey, for a rule.
func (h *Host) takeRule(ctx context.Context, row ruleRow, full bool) (verified bool, err error) {
	refuse := func(reason string) (bool, error) {
		h.refuse("sp_rule", row.id.row(), row.version, reason)
		known, ok := h.state.Rules[row.id]
		if full && reason == refusedForged && (ok || slices.Contains(SharedKinds(), row.id.Kind)) { // the next push replaces the row, or deletes the rule
			h.state.Rules[row.id] = ruleState{Version: row.version, Body: known.Body, Base: known.Base, Dirty: true}
		}
		return false, nil
	}
	if err := row.check(h.keys, h.state.Site); err != nil {
		return refuse(refusedBecause(err))
	}
	known := h.state.Rules[row.id]
	restored := row.version < known.Version
	if restored && !full {
		return refuse(refusedOlder)
	}
	next := ruleState{Version: row.version, Body: row.body, Base: known.Base}
	switch row.id.Kind {
	case kindHosted, kindRemoved:
		if d, err := domain.Parse(row.id.Name); err != nil || d != row.id.Name {
			return refuse(refusedInvalid)
		}
		if _, err := keys.ParseRemoved([]byte(row.body)); row.id.Kind == kindRemoved && err != nil {
			return refuse(refusedInvalid)
		}
		if row.version == known.Version {
			break
		}
		if err := h.putDomainRule(ctx, row, restored); err != nil {
			return false, err
		}
	case kindSite:
		h.state.Restore = row.version
	default:
		if restored {
			next.Body, next.Dirty = known.Body, true
		}
	}
	h.state.Rules[row.id] = next
	h.state.accept("sp_rule", row.id.row())
	return true, nil
}

// putDomainRule writes the files of the kinds hosted and removed. A domain with an active key stays hosted.
func (h *Host) putDomainRule(ctx context.Context, row ruleRow, restored bool) error {
	store := h.Store
	store.LockTimeout = lockTimeout
	unlock, err := store.Lock(ctx, row.id.Name)
	if err != nil {
		return err
	}
	defer unlock()
	switch {
	case row.id.Kind == kindRemoved:
		return store.MergeRemoved(row.id.Name, []byte(row.body))
	case restored:
		return nil
	case row.body != "":
		return store.Host(row.id.Name)
	}
	files, err := store.FilesOf(row.id.Name)
	if err != nil || slices.ContainsFunc(slices.Collect(maps.Values(files)), (*keys.Files).Active) {
		return err
	}
	return store.Unhost(row.id.Name)
}
