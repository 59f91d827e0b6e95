package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// syncTimeout is the timeout of a synchronization. What is left is done by the next one.
	syncTimeout = time.Minute
	// hostsInterval is the time between two reads of the other hosts' rows, if this host is not the leader.
	hostsInterval = 30 * time.Second
)

// Sync synchronizes the files of this host with the database, and renews the lease. The error is a *Stop if the operator must act, and
// contains an *Unreachable if the database could not be used.
func (h *Host) Sync(ctx context.Context) error {
	end, err := h.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return h.sync(ctx)
}

func (h *Host) sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	err := h.ready()
	if err == nil {
		err = h.round(ctx)
	}
	h.stopped = nil
	errors.As(err, &h.stopped)
	h.report(err)
	return err
}

// ready reads the site keys and the state.
func (h *Host) ready() (err error) {
	if h.keys, err = ReadSiteKeys(h.KeyFile); err != nil {
		return stop(KeyFile, "copy the file from another host of the cluster, or see signpost cluster init --help", "reading the site key: %v", err)
	}
	if h.state == nil {
		if h.state, err = h.file.load(); err != nil {
			return err
		}
	}
	switch {
	case h.state == nil:
		return stop(NotJoined, "run signpost cluster join on this host", "this host has not joined the cluster")
	case h.state.Host != h.Name:
		return stop(NotJoined, "restore cluster.name, or run signpost cluster join and then signpost cluster leave "+h.state.Host, "this host joined the cluster as %s, but its name is now %s", h.state.Host, h.Name)
	}
	return h.registered()
}

// registered returns a *Stop if this host was removed from the cluster.
func (h *Host) registered() error {
	for _, name := range h.state.members() {
		if name == h.Name {
			return nil
		}
	}
	return stop(Left, "run signpost cluster join on this host", "host %s was removed from the cluster", h.Name)
}

// round does one synchronization. It saves the state also after an error.
func (h *Host) round(ctx context.Context) error {
	return errors.Join(h.steps(ctx), h.file.save(h.state))
}

func (h *Host) steps(ctx context.Context) error {
	failed := h.pull(ctx, false)
	if stopped := (*Stop)(nil); errors.As(failed, &stopped) {
		return failed
	} else if down := (*Unreachable)(nil); errors.As(failed, &down) {
		return failed
	}
	if err := h.registered(); err != nil {
		h.setLease(leaseState{})
		return err
	}
	if err := h.beat(ctx); err != nil {
		return errors.Join(failed, err)
	}
	failed = errors.Join(failed, h.writeHashKey(), h.push(ctx))
	return errors.Join(failed, h.renew(ctx, false), h.readReports(ctx))
}

// beat writes the row of this host, and reads those of the others.
func (h *Host) beat(ctx context.Context) error {
	if l, _ := h.Lease(ctx); h.hosts == nil || l.Mine || len(h.keys.keys) > 1 || h.Now().Sub(h.hostsAt) >= hostsInterval {
		if err := h.readHosts(ctx); err != nil {
			return err
		}
	}
	base := h.seq
	if base == 0 {
		base = h.hosts[h.Name].seq
	}
	r := hostRow{name: h.Name, version: h.state.ack(), keyIDs: strings.Join(h.keys.IDs(), " "), program: short(h.Program), clock: h.Now().UnixMilli(), seq: base + 1}
	r.mac = h.sealKey().hostMAC(h.state.Site, r)
	ok, err := h.DB.session().putHost(ctx, base, r)
	if err != nil {
		return err
	}
	if !ok {
		h.seq, h.hosts = 0, nil
		return stop(NameTaken, "each host needs its own cluster.name", "another process synchronizes as host %s", h.Name)
	}
	h.seq = r.seq
	r.valid, r.seen = true, r.clock
	if h.hostsDB > 0 {
		r.seen = h.hostsDB + h.Now().Sub(h.hostsAt).Milliseconds()
	}
	h.hosts[h.Name] = r
	return nil
}

func (h *Host) readHosts(ctx context.Context) error {
	all, now, err := h.DB.session().hostRows(ctx, h.keys, h.state.Site)
	if err != nil {
		return err
	}
	h.state.Refused = slices.DeleteFunc(h.state.Refused, func(r refusal) bool { return r.Table == "sp_host" })
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r := all[name]
		if old := h.hosts[name]; name != h.Name && r.valid && old.valid && r.seq < old.seq {
			r.valid = false // an older row was put back
			all[name] = r
		}
		if !r.valid && name != h.Name && len(h.state.Refused) < maxRefused/2 {
			h.refuse("sp_host", rowID{name}, r.seq, refusedForged)
		}
	}
	h.hosts, h.hostsAt, h.hostsDB = all, h.Now(), now
	return nil
}

// short limits a text to the size of the column program.
func short(s string) string { return s[:min(len(s), 40)] }
