package main

import (
	"context"
	"errors"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/daemon"
	"signpost/internal/report"
	"signpost/internal/report/hosts"
	"signpost/internal/report/send"
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
