package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"signpost/keys"
)

// Joined is the result of Join.
type Joined struct {
	Site string
	// Inactive are the keys, as DOMAIN/SELECTOR, that signed on this host although their records in DNS do not belong to them. They wait until
	// their records are in DNS.
	Inactive []string
	Hosts    []string // the registered hosts
}

// Join registers this host, and makes its files and the database the same. It can be repeated, for example to fetch all keys again.
func (h *Host) Join(ctx context.Context) (j Joined, err error) {
	end, err := h.begin(ctx)
	if err != nil {
		return j, err
	}
	defer end()
	if h.keys, err = ReadSiteKeys(h.KeyFile); err != nil {
		return j, stop(KeyFile, "copy the file from another host of the cluster, or see signpost cluster init --help", "reading the site key: %v", err)
	}
	if err := h.fresh(ctx); err != nil {
		return j, err
	}
	if err := h.Store.Make(); err != nil {
		return j, err
	}
	if err := h.register(ctx, h.Name, func(m *member) { m.Joined = max(h.Now().UnixMilli(), m.Left+1) }); err != nil {
		return j, err
	}
	if err := h.pull(ctx, false); err != nil {
		return j, err
	}
	if j.Inactive, err = h.deactivate(ctx); err != nil {
		return j, err
	}
	err = h.round(ctx)
	h.report(err)
	j.Site, j.Hosts = h.state.Site, h.state.members()
	return j, err
}

// fresh replaces the state by that of a host that has not read any row. It keeps which keys are revoked.
func (h *Host) fresh(ctx context.Context) error {
	site, err := h.DB.session().current(ctx)
	if err != nil {
		return err
	}
	old, err := h.file.load()
	if err != nil {
		return err
	}
	next := &state{Site: site.id, Host: h.Name}
	next.init()
	if old != nil && old.Site == site.id {
		if site.version < old.Version {
			return stop(Restored, "if it was restored from a backup on purpose, run signpost cluster accept-restore on this host", "the database is older than this host: it has version %d, this host has %d", site.version, old.Version)
		}
		next.Revoked, next.Epoch = old.Revoked, old.Epoch
	}
	h.state, h.files, h.hosts = next, nil, nil
	return h.readHosts(ctx)
}

// register changes the rule of a host.
func (h *Host) register(ctx context.Context, name string, edit func(m *member)) error {
	id := RuleID{kindHost, name}
	row, ok, err := h.DB.session().rule(ctx, id)
	if err != nil {
		return err
	}
	var m member
	if ok {
		text := row.body
		err := row.check(h.keys, h.state.Site)
		if known := h.state.Rules[id]; errors.Is(err, errForged) && known.Dirty { // the row is replaced
			text, err = known.Body, nil
		}
		if err != nil {
			return stop(KeyFile, "the site keys of all hosts must be the same", "the database has a row of host %s that this host cannot verify: %v", name, err)
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return err
		}
	}
	edit(&m)
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return h.write(ctx, []change{{id: id, base: row.version, body: string(body)}})
}

// deactivate checks the active keys that the database does not know.
func (h *Host) deactivate(ctx context.Context) (inactive []string, err error) {
	files, err := h.Store.Files(nil)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(slices.Values(files.Names())) {
		all, ok := files.Of(name)
		if !ok {
			return nil, &keys.Busy{Name: name}
		}
		for selector, f := range all {
			id := keyID{name, selector}
			if !f.Active() || h.state.Keys[id].Version > 0 || h.Verify == nil {
				continue
			}
			same, err := h.Verify(ctx, name, selector)
			if err != nil {
				return nil, err
			}
			if same {
				continue
			}
			unlock, err := h.Store.Lock(ctx, name)
			if err != nil {
				return nil, err
			}
			err = h.Store.Deactivate(name, selector)
			unlock()
			if err != nil {
				return nil, err
			}
			inactive = append(inactive, id.String())
		}
	}
	return inactive, nil
}

// Leave removes a host, which may be this one, from the cluster. No step waits for it any longer.
func (h *Host) Leave(ctx context.Context, name string) error {
	end, err := h.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := h.ready(); err != nil {
		return err
	}
	if err := h.pull(ctx, false); err != nil {
		return err
	}
	if !slices.Contains(h.state.members(), name) {
		return stop(NotJoined, "signpost cluster status lists the hosts", "%s is not a host of the cluster", name)
	}
	if err := h.register(ctx, name, func(m *member) { m.Left = max(h.Now().UnixMilli(), m.Joined) }); err != nil {
		return err
	}
	return h.file.save(h.state)
}

// AcceptRestore continues after the database was restored from a backup. It writes everything to the database that this host has and the
// database lacks, or that is further on this host. It replaces forged rows.
func (h *Host) AcceptRestore(ctx context.Context) error {
	end, err := h.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := h.ready(); err != nil {
		return err
	}
	if err := h.raise(ctx); err != nil {
		return err
	}
	if err := h.pull(ctx, true); err != nil {
		return err
	}
	if err := h.register(ctx, h.Name, func(m *member) { m.Joined = max(m.Joined, m.Left+1) }); err != nil {
		return err
	}
	id := RuleID{kindSite, restoreName}
	row, _, err := h.DB.session().rule(ctx, id)
	if err != nil {
		return err
	}
	if err := h.write(ctx, []change{{id: id, base: row.version, body: "{}"}}); err != nil {
		return err
	}
	h.state.Restore = h.state.Rules[id].Version
	h.hosts = nil
	err = h.round(ctx)
	h.report(err)
	return err
}

// raise raises the counter above that of this host. It resets the lease if its row is older, or forged. The lease is free after leaseTime
// then, because a host that held it before may still do so.
func (h *Host) raise(ctx context.Context) error {
	st := h.state
	return h.DB.write(ctx, st.Site, 1, func(s session, first int64) error {
		if _, err := s.exec(ctx, "UPDATE sp_site SET version = ? WHERE id = 1", max(first, st.Version+1)); err != nil {
			return err
		}
		r, ok, err := s.lease(ctx, h.keys, st.Site)
		if err == nil && ok && r.epoch >= st.Epoch || err != nil && !errors.Is(err, errForged) {
			return err
		}
		st.Epoch = max(st.Epoch, r.epoch) + 1
		h.setLease(leaseState{epoch: st.Epoch})
		_, err = s.exec(ctx, "UPDATE sp_lease SET holder = '', epoch = ?, until = "+s.now+" + ?, wanted = '', mac = ? WHERE name = ?",
			st.Epoch, leaseTime.Milliseconds(), h.sealKey().leaseMAC(st.Site, "", st.Epoch), leaseName)
		return err
	})
}
