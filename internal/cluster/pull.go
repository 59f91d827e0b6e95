package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"signpost/keys"
)

// lockTimeout is how long a pull waits for the lock of a domain. Its rows are read again at the next synchronization.
const lockTimeout = 200 * time.Millisecond

// The reasons for which a row is refused. docs/log.md lists them.
const (
	refusedKey     = "unknown_site_key" // this host does not have the site key of the row
	refusedForged  = "forged"           // the row was changed, moved or replayed, or was never written by a host of this cluster
	refusedOlder   = "older"            // the row is older than the one that this host has read before
	refusedInvalid = "invalid"          // the row is genuine, but this host cannot use it
	refusedRevoked = "revoked"          // the row would bring back a private key that was revoked or removed
	refusedMissing = "missing"          // the row was deleted
	refusedLocal   = "local_files"      // the files of the key on this host cannot be used, or are links
)

// maxRefused limits the rows that are refused, and so the size of the log and of the state. At this limit, a host does not read further rows.
const maxRefused = 1000

// flooded returns a *Stop if too many rows were refused.
func (h *Host) flooded() error {
	if len(h.state.Refused) <= maxRefused {
		return nil
	}
	h.state.Refused = h.state.Refused[:maxRefused]
	return stop(TooMany, "docs/cluster.md, \"If a row is refused\"", "more than %d rows of the database are refused", maxRefused)
}

// refuse records a row that is not used, and logs it once.
func (h *Host) refuse(table string, id rowID, version int64, reason string) {
	h.state.accept(table, id)
	r := refusal{table, id, version, reason}
	h.state.Refused = append(h.state.Refused, r)
	if h.logged[r] {
		return
	}
	if len(h.logged) > 1000 {
		clear(h.logged)
	}
	h.logged[r] = true
	h.Log.Error("cluster row refused", "table", table, "key", id.String(), "version", version, "reason", reason)
}

func refusedBecause(err error) string {
	switch {
	case errors.Is(err, errUnknownKey):
		return refusedKey
	case errors.Is(err, errForged):
		return refusedForged
	}
	return refusedInvalid
}

// rows are the rows that a pull has read, all from one moment.
type rows struct {
	site  siteRow
	keys  []keyRow
	rules []ruleRow
	full  bool // they are all rows of the database
}

// read reads the rows that changed since the last pull. It reads all rows if full is set, or if accept-restore was run on another host.
func (h *Host) read(ctx context.Context, full bool) (r rows, err error) {
	st := h.state
	err = h.DB.snapshot(ctx, func(s session) error {
		if r.site, err = s.current(ctx); err != nil {
			return err
		}
		if r.site.id != st.Site {
			return otherSite(st.Site, r.site.id)
		}
		if r.site.version < st.Version && !full {
			return stop(Restored, "if it was restored from a backup on purpose, run signpost cluster accept-restore on this host",
				"the database is older than this host: it has version %d, this host has %d", r.site.version, st.Version)
		}
		restore, ok, err := s.rule(ctx, RuleID{kindSite, restoreName})
		if err != nil {
			return err
		}
		h.counter = r.site.version
		r.full = full || ok && restore.version != st.Restore && st.Version > 0 && restore.check(h.keys, st.Site) == nil
		after := st.Version
		if r.full {
			after = 0
		}
		if r.keys, err = s.keysAfter(ctx, after); err != nil {
			return err
		}
		r.rules, err = s.rulesAfter(ctx, after)
		return err
	})
	return r, err
}

// pull reads the changes of the database and writes them to the files of this host.
func (h *Host) pull(ctx context.Context, full bool) error {
	r, err := h.read(ctx, full)
	if err != nil {
		return err
	}
	st := h.state
	read, hold := st.Version, r.site.version
	took := 0
	var failed error
	note := func(version int64, isNew bool, err error) error {
		if err != nil {
			hold = min(hold, version-1)
			if busy := (*keys.Busy)(nil); !errors.As(err, &busy) { // another command is at work; the row is read again
				failed = errors.Join(failed, err)
			}
			return ctx.Err()
		}
		read = max(read, version)
		if isNew {
			took++
		}
		return nil
	}
	present := map[string]bool{}
	for _, row := range r.keys {
		present[row.id.String()] = true
		if row.version == st.Keys[row.id].Version { // this host wrote it, or an earlier pull was interrupted
			st.accept("sp_key", row.id.row())
			_ = note(row.version, false, nil)
			continue
		}
		verified, err := h.takeKey(ctx, row, r.full)
		if err != nil || verified {
			if err := note(row.version, verified, err); err != nil {
				return err
			}
		} else if err := h.flooded(); err != nil {
			return err
		}
	}
	for _, row := range r.rules {
		present[row.id.String()] = true
		verified, err := h.takeRule(ctx, row, r.full)
		if err != nil || verified {
			if err := note(row.version, verified, err); err != nil {
				return err
			}
		} else if err := h.flooded(); err != nil {
			return err
		}
	}
	if r.full && failed == nil && hold == r.site.version {
		h.forgetRows(present)
	}
	st.Version = max(st.Version, min(read, hold))
	failed = errors.Join(failed, h.retryRefused(ctx))
	if took > 0 {
		h.Log.Info("cluster changes read", "rows", took, "version", st.Version)
	}
	return failed
}

// forgetRows marks everything that the database no longer has, so that it is written again.
func (h *Host) forgetRows(present map[string]bool) {
	for id, k := range h.state.Keys {
		if !present[id.String()] {
			h.state.Keys[id] = keyState{Record: k.Record, Deleted: k.Deleted}
		}
	}
	for id, r := range h.state.Rules {
		if !present[id.String()] {
			h.state.Rules[id] = ruleState{Body: r.Body, Base: r.Base, Dirty: true}
		}
	}
}

// maxRetries limits the refused rows that one pull reads again.
const maxRetries = 100

// retryRefused reads refused rows again, because the row, the key file or the files of the key may have been corrected.
func (h *Host) retryRefused(ctx context.Context) error {
	s := h.DB.session()
	for i, r := range slices.Clone(h.state.Refused) {
		if i == maxRetries {
			return nil
		}
		var err error
		switch r.Table {
		case "sp_key":
			_, err = h.fetchKey(ctx, s, keyID{r.ID[0], r.ID[1]})
		case "sp_rule":
			row, ok, readErr := s.rule(ctx, RuleID{r.ID[0], r.ID[1]})
			if err = readErr; ok {
				_, err = h.takeRule(ctx, row, false)
			} else if err == nil {
				h.state.accept(r.Table, r.ID)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fetchKey reads the row of one key and takes it. verified is false if there is none, or if it is refused.
func (h *Host) fetchKey(ctx context.Context, s session, id keyID) (verified bool, err error) {
	row, ok, err := s.key(ctx, id)
	if err != nil {
		return false, err
	}
	if !ok {
		h.state.accept("sp_key", id.row())
		return false, nil
	}
	return h.takeKey(ctx, row, false)
}

// opened is a row of a key that verified.
type opened struct {
	payload
	files *keys.Files
}

// open returns the content of a row, or the reason to refuse it.
func (h *Host) open(row keyRow) (o opened, reason string) {
	p, err := h.keys.unseal(h.state.Site, row.id.domain, row.id.selector, row.version, row.siteKey, row.sealed)
	if err != nil {
		return o, refusedBecause(err)
	}
	var pem []byte
	if p.PEM != "" {
		pem = []byte(p.PEM)
	}
	f, err := keys.NewFiles(row.id.domain, row.id.selector, p.Metadata, pem, p.Deleted)
	if err != nil {
		return o, refusedInvalid
	}
	return opened{p, f}, ""
}

// takeKey merges the row of a key with the files of this host. verified is false if the row is refused. An error means that the row must be
// read again. If full is set, the database may be older than this host.
func (h *Host) takeKey(ctx context.Context, row keyRow, full bool) (verified bool, err error) {
	refuse := func(reason string) (bool, error) {
		h.refuse("sp_key", row.id.row(), row.version, reason)
		if known, ok := h.state.Keys[row.id]; ok && full && reason == refusedForged { // the next push replaces the row
			h.state.Keys[row.id] = keyState{Record: known.Record, Deleted: known.Deleted}
		}
		return false, nil
	}
	o, reason := h.open(row)
	if reason != "" {
		return refuse(reason)
	}
	known := h.state.Keys[row.id]
	restored := row.version < known.Version
	if restored && !full {
		return refuse(refusedOlder)
	}
	store := h.Store
	store.LockTimeout = lockTimeout
	unlock, err := store.Lock(ctx, row.id.domain)
	if err != nil {
		return false, err
	}
	defer unlock()
	all, err := store.FilesOf(row.id.domain)
	if err != nil {
		return false, err
	}
	local := all[row.id.selector]
	if row.version == known.Version && local != nil && !local.Missing { // the files are those of the row, or newer
		h.state.accept("sp_key", row.id.row())
		return true, nil
	}
	if local == nil && known.Version > 0 && !known.Deleted && known.Record == o.files.Fingerprint() {
		if pending, err := h.removal(row.id.domain); err != nil {
			return false, err
		} else if pending {
			local = &keys.Files{Domain: row.id.domain, Selector: row.id.selector, Deleted: true}
		}
	}
	if local != nil && local.Local {
		return refuse(refusedLocal)
	}
	merged, err := keys.Merge(local, o.files)
	if restored && local != nil {
		merged, err = keys.Merge(o.files, local) // local wins if both are in the same stage
	}
	if err != nil {
		return refuse(refusedInvalid)
	}
	if !merged.Gone() && slices.Contains(h.state.Revoked[row.id], merged.Fingerprint()) {
		return refuse(refusedRevoked)
	}
	if local == nil && !merged.Deleted || local != nil && merged.Hash() != local.Hash() {
		if err := store.Put(merged); err != nil {
			return false, err
		}
	}
	record := o.files.Fingerprint()
	if record == "" {
		record = known.Record
	}
	if o.files.Gone() {
		h.state.revoke(row.id, record)
	}
	h.state.Keys[row.id] = keyState{row.version, o.files.Hash(), o.Born, o.Stopped, o.Deleted, record}
	h.state.accept("sp_key", row.id.row())
	return true, nil
}

// removal reports whether a domain was removed on this host since the last push.
func (h *Host) removal(name string) (bool, error) {
	data, err := h.Store.RemovedFile(name)
	if err != nil || data == nil {
		return false, err
	}
	at, err := keys.ParseRemoved(data)
	if err != nil {
		return false, nil
	}
	var known []byte
	if body := h.state.Rules[RuleID{kindRemoved, name}].Body; body != "" {
		known = []byte(body)
	}
	before, err := keys.ParseRemoved(known)
	return err == nil && at.After(before), nil
}
