package cluster

import (
	"context"
	"slices"
)

// Rekeyed is the result of Rekey.
type Rekeyed struct {
	KeyID   string   // the newest site key
	Waiting []string // the hosts that do not have it yet; if there are any, nothing is changed
	Rows    int      // the rows that were sealed again
}

// Rekey seals all rows with the newest site key, if all registered hosts have it.
func (h *Host) Rekey(ctx context.Context) (r Rekeyed, err error) {
	end, err := h.begin(ctx)
	if err != nil {
		return r, err
	}
	defer end()
	if err := h.ready(); err != nil {
		return r, err
	}
	h.hosts = nil
	if err := h.round(ctx); err != nil {
		return r, err
	}
	key := h.keys.newest()
	r.KeyID = key.id
	for _, name := range h.state.members() {
		if row := h.hosts[name]; name != h.Name && (!row.valid || !slices.Contains(row.ids(), key.id)) {
			r.Waiting = append(r.Waiting, name)
		}
	}
	if len(r.Waiting) > 0 {
		return r, nil
	}
	s := h.DB.session()
	keyRows, err := s.keysAfter(ctx, 0)
	if err != nil {
		return r, err
	}
	keyRows = slices.DeleteFunc(keyRows, func(row keyRow) bool { return row.siteKey == key.id })
	for part := range slices.Chunk(keyRows, batch) {
		if err := h.resealKeys(ctx, key, part); err != nil {
			return r, err
		}
		r.Rows += len(part)
	}
	ruleRows, err := s.rulesAfter(ctx, 0)
	if err != nil {
		return r, err
	}
	ruleRows = slices.DeleteFunc(ruleRows, func(row ruleRow) bool { return row.siteKey == key.id })
	for part := range slices.Chunk(ruleRows, batch) {
		var changes []change
		for _, row := range part {
			if reason := row.check(h.keys, h.state.Site); reason != nil {
				h.refuse("sp_rule", row.id.row(), row.version, refusedBecause(reason))
				continue
			}
			changes = append(changes, change{id: row.id, base: row.version, body: row.body})
		}
		if len(changes) == 0 {
			continue
		}
		if err := h.write(ctx, changes); err != nil {
			return r, err
		}
		r.Rows += len(changes)
	}
	items, err := h.resealItems(ctx, key)
	if r.Rows += items; err != nil {
		return r, err
	}
	h.state.Restore = h.state.Rules[RuleID{kindSite, restoreName}].Version
	l, ok, err := s.lease(ctx, h.keys, h.state.Site)
	if err != nil || !ok {
		return r, err
	}
	_, err = s.exec(ctx, "UPDATE sp_lease SET mac = ? WHERE name = ? AND epoch = ? AND holder = ?", key.leaseMAC(h.state.Site, l.holder, l.epoch), leaseName, l.epoch, l.holder)
	if err != nil {
		return r, err
	}
	return r, h.file.save(h.state)
}

// resealKeys writes rows again, with new versions.
func (h *Host) resealKeys(ctx context.Context, key siteKey, part []keyRow) error {
	type sealedRow struct {
		old keyRow
		p   payload
	}
	var all []sealedRow
	for _, row := range part {
		o, reason := h.open(row)
		if reason != "" {
			h.refuse("sp_key", row.id.row(), row.version, reason)
			continue
		}
		all = append(all, sealedRow{row, o.payload})
	}
	if len(all) == 0 {
		return nil
	}
	var first int64
	err := h.DB.write(ctx, h.state.Site, int64(len(all)), func(s session, version int64) error {
		first = version
		for i, r := range all {
			v := version + int64(i)
			sealed, err := key.seal(h.state.Site, r.old.id.domain, r.old.id.selector, v, r.p)
			if err != nil {
				return err
			}
			ok, err := s.putKey(ctx, r.old.version, keyRow{r.old.id, v, key.id, sealed})
			if err == nil && !ok {
				err = errConflict
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, r := range all {
		if k := h.state.Keys[r.old.id]; k.Version == r.old.version {
			k.Version = first + int64(i)
			h.state.Keys[r.old.id] = k
		}
	}
	return nil
}
