package main

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/config"
	"signpost/internal/daemon"
	"signpost/internal/durable"
	"signpost/internal/report"
	"signpost/internal/report/hosts"
	"signpost/internal/report/send"
	"signpost/internal/report/status"
	"signpost/internal/report/worker"
)

// site returns the site whose hosts share their reports.
func (s *sending) site() (*hosts.Site, error) {
	name, err := s.conf.ClusterName()
	return &hosts.Site{Client: control.Client{Socket: s.conf.Cluster.Socket}, Name: name, State: s.state, Now: s.now, Log: s.log}, err
}

// together is the run of one of several hosts. Each host exchanges what the hosts share, and ships its counts. The host that holds the lease makes
// the reports and sends them. Without the database, nothing is sent: another host might have sent it.
func (s *sending) together(ctx context.Context, p *progress) (summary send.Summary, err error) {
	site, err := s.site()
	if err != nil {
		return summary, err
	}
	key, err := site.BounceKey(ctx, daemon.BounceKey(s.conf))
	if err != nil {
		return summary, err
	}
	if err := site.Exchange(ctx); err != nil {
		return summary, err
	}
	if err := s.returned(ctx); err != nil { // after Exchange: another host may just have sent the report
		return summary, err
	}
	if err := site.Push(ctx); err != nil {
		return summary, err
	}
	limited, cancel := context.WithTimeout(ctx, collectTime)
	defer cancel()
	unshipped := site.Ship(limited, s.journal)
	if err := site.Lead(ctx); err != nil {
		if other := (*hosts.NotLeader)(nil); errors.As(err, &other) {
			s.log.Debug("another host sends the reports", "host", other.Leader)
			err = nil
		}
		return summary, errors.Join(unshipped, err)
	}
	unmade := s.freeze(ctx, site, key, p)
	o := s.delivery(p)
	o.Due, o.May, o.Moved = send.DueInCluster, site.Leads, site.Push
	summary, err = send.Run(ctx, o)
	if other := (*hosts.NotLeader)(nil); errors.As(err, &other) {
		s.log.Info("another host continues to send the reports", "host", other.Leader)
		err = nil
	}
	shared := site.Push(context.WithoutCancel(ctx))
	if err == nil {
		err = site.Expire(ctx, s.now().Add(-s.conf.Reports.Send.Retention))
	}
	return summary, errors.Join(unshipped, unmade, err, shared)
}

// freeze makes the reports that are due. An attempt whose lookups failed is repeated after an hour.
func (s *sending) freeze(ctx context.Context, site *hosts.Site, key report.Key, p *progress) error {
	now := s.now()
	if since := now.Sub(p.Collected); since >= 0 && since < collectInterval && !s.options.early {
		return nil
	}
	collection, err := s.collection(key)
	if err != nil {
		return err
	}
	complete, err := site.Freeze(ctx, collection)
	if p.Collected = now; complete {
		p.Collected = time.Time{} // the next round may be due earlier
	}
	return err
}

// sharedFile has the hosts.Position of received reports.
func sharedFile(conf *config.Config) string { return filepath.Join(conf.ReportsDir(), "shared.json") }

// readTogether runs a Worker on one of several hosts, and shares the reports that it stored. Without the database, the host works alone.
func readTogether(ctx context.Context, conf *config.Config, w worker.Worker, previous status.Received) (status.Received, worker.Summary, error) {
	tree := durable.Tree{conf.StateDir}
	r := &hosts.Received{Client: control.Client{Socket: conf.Cluster.Socket}, Store: w.Store, Now: w.Now, Log: w.Log}
	if data, err := tree.Read(sharedFile(conf)); err == nil {
		_ = json.Unmarshal(data, &r.Position) // otherwise, what the database has is read again
	}
	failed := r.Pull(ctx)
	result, summary, err := w.Run(ctx, previous)
	if failed == nil {
		failed = errors.Join(r.Push(ctx), r.Expire(ctx))
	}
	if failed != nil {
		w.Log.Warn("received reports are not shared with the other hosts, later", "error", failed)
	}
	text, problem := json.Marshal(r.Position)
	if problem == nil {
		problem = tree.Write(sharedFile(conf), text, conf.ReportsDir(), 0o600)
	}
	return result, summary, errors.Join(err, problem)
}
