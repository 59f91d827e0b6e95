package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"signpost/keys"
)

// errConflict is the error of a transaction that found a row changed. Nothing is written. The next pull merges the row.
var errConflict = errors.New("another host changed the row")

// change is a row that differs from the files of this host.
type change struct {
	key   *keys.Files // nil: a rule
	known keyState
	id    RuleID
	base  int64 // the version of the row; 0: there is none
	body  string
}

func (c change) keyID() keyID { return keyID{c.key.Domain, c.key.Selector} }

// push writes the changes of this host to the database, one transaction for each domain.
func (h *Host) push(ctx context.Context) error {
	local, err := h.scan()
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(local.domains)) {
		changes, err := h.changesOf(ctx, name, local)
		if err == nil && len(changes) > 0 {
			err = h.write(ctx, changes)
		}
		if down := (*Unreachable)(nil); errors.As(err, &down) || ctx.Err() != nil {
			failed = append(failed, err)
			break
		} else if err != nil && !errors.Is(err, errConflict) {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
	}
	if len(failed) == 0 {
		failed = append(failed, h.pushRules(ctx))
	}
	return errors.Join(failed...)
}

// write writes changes in one transaction, and then records them in the state.
func (h *Host) write(ctx context.Context, changes []change) error {
	st, key := h.state, h.sealKey()
	var written []func()
	var first int64
	err := h.DB.write(ctx, st.Site, int64(len(changes)), func(s session, version int64) error {
		first = version
		for i, c := range changes {
			done, err := h.writeOne(ctx, s, key, c, first+int64(i))
			if err != nil {
				return err
			}
			written = append(written, done)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, done := range written {
		done()
	}
	if st.Version == first-1 { // no other host has written in between
		st.Version = first + int64(len(changes)) - 1
	}
	h.Log.Info("cluster changes written", "rows", len(changes), "version", first+int64(len(changes))-1)
	return nil
}

// writeOne writes one row. The result records it in the state.
func (h *Host) writeOne(ctx context.Context, s session, key siteKey, c change, version int64) (done func(), err error) {
	if c.key == nil {
		row := ruleRow{c.id, version, key.id, c.body, key.ruleMAC(h.state.Site, c.id, version, c.body)}
		ok, err := s.putRule(ctx, c.base, row)
		if err == nil && !ok {
			err = errConflict
		}
		return func() {
			next := ruleState{Version: version, Body: c.body}
			if slices.Contains(SharedKinds(), c.id.Kind) {
				next.Base = c.body
			}
			h.state.Rules[c.id] = next
			h.state.accept("sp_rule", c.id.row())
		}, err
	}
	id, record := c.keyID(), c.key.Fingerprint()
	if record == "" {
		record = c.known.Record
	}
	p := payload{c.key.Metadata, string(c.key.PEM), c.key.Deleted, c.known.Born, c.known.Stopped}
	if p.Born == 0 || record != c.known.Record {
		p.Born, p.Stopped = version, 0
	}
	if p.Stopped == 0 && c.key.Stopped() {
		p.Stopped = version
	}
	sealed, err := key.seal(h.state.Site, id.domain, id.selector, version, p)
	if err != nil {
		return nil, err
	}
	ok, err := s.putKey(ctx, c.base, keyRow{id, version, key.id, sealed})
	if err == nil && !ok {
		err = errConflict
	}
	return func() {
		h.state.Keys[id] = keyState{version, c.key.Hash(), p.Born, p.Stopped, c.key.Deleted, record}
		if c.key.Gone() {
			h.state.revoke(id, record)
		}
		h.state.accept("sp_key", id.row())
	}, err
}

// sealKey returns the newest site key that every registered host has.
func (h *Host) sealKey() siteKey {
	var lists [][]string
	names := h.state.members()
	if h.state.Version == 0 { // this host joins, and does not know the members yet
		names = slices.Collect(maps.Keys(h.hosts))
	}
	for _, name := range names {
		if name != h.Name {
			lists = append(lists, h.hosts[name].ids())
		}
	}
	return h.keys.common(lists)
}

// pushRules writes the rules that belong to no domain.
func (h *Host) pushRules(ctx context.Context) error {
	var changes []change
	for id, r := range h.state.Rules {
		if r.Dirty && id.Kind != kindHosted && id.Kind != kindRemoved {
			changes = append(changes, change{id: id, base: r.Version, body: r.Body})
		}
	}
	shared, mergeErr := h.mergeShared()
	changes = append(changes, shared...)
	for part := range slices.Chunk(changes, batch) {
		if err := h.write(ctx, part); err != nil && !errors.Is(err, errConflict) {
			return err
		}
	}
	return mergeErr
}

// mergeShared merges the file of shared rules with the database, and returns the changes of the file.
func (h *Host) mergeShared() (changes []change, err error) {
	if h.Merge == nil {
		return nil, nil
	}
	base, database := map[RuleID]string{}, map[RuleID]string{}
	for id, r := range h.state.Rules {
		if !slices.Contains(SharedKinds(), id.Kind) {
			continue
		}
		if r.Base != "" {
			base[id] = r.Base
		}
		if r.Body != "" {
			database[id] = r.Body
		}
	}
	file, err := h.Merge(base, database)
	if err != nil {
		return nil, err
	}
	for id, r := range h.state.Rules {
		if !slices.Contains(SharedKinds(), id.Kind) {
			continue
		}
		r.Base = r.Body
		h.state.Rules[id] = r
		if file[id] != r.Body && !r.Dirty {
			changes = append(changes, change{id: id, base: r.Version, body: file[id]})
		}
	}
	for id, body := range file {
		if _, known := h.state.Rules[id]; !known {
			changes = append(changes, change{id: id, body: body})
		}
	}
	return changes, nil
}
