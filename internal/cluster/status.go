package cluster

import (
	"context"
	"errors"
	"time"

	"signpost/internal/cluster/control"
)

// report updates the status after a synchronization.
func (h *Host) report(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.status
	s.At, s.Host, s.Error = h.Now().UTC(), h.Name, ""
	var failure error
	down := (*Unreachable)(nil)
	if err != nil {
		s.Error, failure = err.Error(), err
	}
	if reachable := !errors.As(failure, &down); reachable != s.Database.Reachable || s.Database.Since.IsZero() {
		s.Database.Reachable, s.Database.Since = reachable, s.At
	}
	if h.keys != nil {
		s.KeyIDs = h.keys.IDs()
	}
	if h.state == nil {
		return
	}
	st := h.state
	s.Site, s.Version = st.Site, st.Version
	s.Database.Version = max(h.counter, st.Version)
	s.Refused = nil
	for _, r := range st.Refused {
		s.Refused = append(s.Refused, control.Refused{Table: r.Table, Name: r.ID.String(), Reason: r.Reason})
	}
	s.Reports = h.reports
	s.Hosts = nil
	now := h.hosts[h.Name].seen // the time of the database
	for _, name := range st.members() {
		r := h.hosts[name]
		host := control.Host{Name: name, Version: r.version, Program: r.program, KeyIDs: r.ids(), Lag: max(0, s.Database.Version-r.version), Missing: true}
		if r.valid && r.seen > 0 {
			host.Seen, host.ClockMS = time.UnixMilli(r.seen).UTC(), r.clock-r.seen
			host.Missing = now-r.seen > control.MissingAfter.Milliseconds()
		}
		s.Hosts = append(s.Hosts, host)
	}
}

// Status returns the state after the last synchronization.
func (h *Host) Status(context.Context) (control.Status, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.status
	s.Leader = h.lease.holder
	s.LeaseLeft = max(0, h.left().Milliseconds())
	return s, nil
}

// Missing returns the registered hosts for which a step of a key must wait. It reads the rows of the hosts. A host without a valid row has no
// version.
func (h *Host) Missing(ctx context.Context, domain, selector string, purpose control.Purpose) ([]control.Behind, error) {
	end, err := h.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := h.ready(); err != nil {
		return nil, err
	}
	id := keyID{domain, selector}
	needs := h.needs(id, purpose)
	if needs == 0 { // it changed since the last poll
		if err := h.sync(ctx); err != nil {
			return nil, err
		}
		if needs = h.needs(id, purpose); needs == 0 {
			return nil, errors.New("the database does not have the present state of key " + selector + " of " + domain)
		}
	}
	if err := h.readHosts(ctx); err != nil {
		return nil, err
	}
	var all []control.Behind
	for _, name := range h.state.members() {
		r, b := h.hosts[name], control.Behind{Name: name, Needs: needs}
		if r.valid {
			b.Version, b.Seen = r.version, time.UnixMilli(r.seen).UTC()
		}
		if name != h.Name && b.Version < needs {
			all = append(all, b)
		}
	}
	return all, nil
}

// needs returns the version that each host must have, or 0 if the database does not have the state of the key yet.
func (h *Host) needs(id keyID, purpose control.Purpose) int64 {
	k := h.state.Keys[id]
	if k.Version == 0 || purpose == control.Activate {
		return k.Born
	}
	return k.Stopped
}
