package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"signpost/internal/cli"
	"signpost/internal/cluster/control"
	"signpost/internal/config"
	"signpost/keys"
)

// A host of a cluster changes keys only while it holds the lease of the cluster. "signpost cluster run" holds the lease for it. Without
// cluster.database, these functions do nothing.

// cluster returns the client of the cluster process. ok is false if this host is not in a cluster.
func (e *env) cluster(conf *config.Config) (c control.Client, ok bool) {
	return control.Client{Socket: conf.Cluster.Socket}, conf.Cluster.Database != ""
}

// lead takes over the lease for a command that changes keys. The function synced passes the changes to the other hosts.
func (e *env) lead(ctx context.Context, conf *config.Config, stderr io.Writer) (synced func() error, err error) {
	c, ok := e.cluster(conf)
	if !ok {
		return func() error { return nil }, nil
	}
	if _, err := c.Lead(ctx); err != nil {
		return nil, fmt.Errorf("taking over the cluster lease, without which no key is changed: %w", err)
	}
	return func() error {
		if err := c.Sync(ctx); err != nil {
			fmt.Fprintln(stderr, "dkimkey: the change is complete on this host; signpost-cluster passes it to the other hosts when the database can be reached")
			return fmt.Errorf("passing the change to the other hosts: %w", err)
		}
		return nil
	}, nil
}

// leads reports whether the daily run must change keys on this host. If another host holds the lease, leads prints its name.
func (e *env) leads(ctx context.Context, conf *config.Config, stderr io.Writer) (bool, error) {
	c, ok := e.cluster(conf)
	if !ok {
		return true, nil
	}
	lease, err := c.Lease(ctx)
	switch {
	case err != nil:
		return false, fmt.Errorf("asking for the cluster lease, without which no key is changed: %w", err)
	case lease.Mine:
		return true, nil
	case lease.Holder == "":
		return false, errors.New("no host holds the cluster lease, so no key is changed\nhint: signpost cluster status")
	}
	fmt.Fprintf(stderr, "dkimkey: host %s rotates the keys of this cluster\n", lease.Holder)
	return false, nil
}

// hosts makes a rotator wait for the other hosts of the cluster.
func (e *env) hosts(conf *config.Config) *keys.Hosts {
	c, ok := e.cluster(conf)
	if !ok {
		return nil
	}
	return &keys.Hosts{
		Behind: func(ctx context.Context, domain, selector string, withdraw bool) ([]string, error) {
			purpose := control.Activate
			if withdraw {
				purpose = control.Withdraw
			}
			behind, err := c.Missing(ctx, domain, selector, purpose)
			if err != nil {
				return nil, fmt.Errorf("checking whether other hosts are up to date: %w", err)
			}
			var names []string
			for _, b := range behind {
				names = append(names, describeBehind(b))
			}
			return names, nil
		},
		Leads: func(ctx context.Context) error {
			lease, err := c.Lease(ctx)
			switch {
			case err != nil:
				return err
			case !lease.Mine:
				return fmt.Errorf("this host no longer holds the cluster lease, host %q does", lease.Holder)
			case lease.LeftMS < control.MinLeft.Milliseconds():
				return errors.New("the cluster lease ends soon, because the database cannot be reached\nhint: signpost cluster status")
			}
			return nil
		},
	}
}

// describeBehind returns a host that is not up to date, for the operator.
func describeBehind(b control.Behind) string {
	if b.Seen.IsZero() {
		return b.Name + " (never synchronized)"
	}
	return fmt.Sprintf("%s (last synchronized %s)", b.Name, b.Seen.UTC().Format(time.RFC3339))
}

// leadForRevocation is like lead, but an error does not stop the revocation of a compromised key: this host stops signing with the key and
// withdraws its record without the other hosts.
func (e *env) leadForRevocation(ctx context.Context, conf *config.Config, stderr io.Writer) (synced func() error) {
	synced, err := e.lead(ctx, conf, stderr)
	if err == nil {
		return synced
	}
	cli.Print(stderr, "dkimkey", err)
	fmt.Fprintln(stderr, "dkimkey: the key is revoked nevertheless; other hosts sign with it until signpost-cluster can pass on the change")
	return func() error { return errAttention }
}
