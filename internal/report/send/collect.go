package send

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"signpost/internal/dns"
	"signpost/internal/journal"
	"signpost/internal/report"
)

const (
	// maxQueries is the maximum number of DNS queries for one report: the record, and a verification of each destination.
	maxQueries = 250
	// lookupTime limits the lookups for one report.
	lookupTime = 20 * time.Second
	// maxLookups is the number of reports whose destinations are looked up at the same time. So many reports, of at most a few MiB each, are
	// in memory in addition to those that are collected.
	maxLookups = 16
)

// Collection are the parameters of Collect.
type Collection struct {
	State    *report.State
	Key      report.Key
	Sender   report.Sender
	Resolver *dns.Resolver
	Exclude  []string
	Now      func() time.Time
	MaxTime  time.Duration // of Freeze. Otherwise, many domains whose DNS does not answer would prevent all deliveries
	Log      *slog.Logger

	// Share makes a report that is about to be frozen known to the other hosts of the site. It returns the report that is to be frozen: if
	// another host was faster, the one of that host. nil: the site has only one host.
	Share func(ctx context.Context, f report.Frozen, destinations []report.Destination) (report.Frozen, []report.Destination, error)
}

// Each calls found for the reports of a day. If found returns an error, Each ends and returns it.
type Each func(ctx context.Context, found func(*report.Report) error) error

// Collect freezes the reports that the journal of a day results in: see Freeze. If it is complete, the day counts as collected.
func (c Collection) Collect(ctx context.Context, r *journal.Reader, day time.Time) (complete bool, err error) {
	complete, err = c.Freeze(ctx, day, func(ctx context.Context, found func(*report.Report) error) error {
		return report.Collect(ctx, r, day, report.Options{Own: ReportMail}, found)
	})
	if err != nil || !complete {
		return false, err
	}
	return true, c.State.SetCollected(ctx, day)
}

// Freeze freezes those of the reports of a day that have a destination. If the lookup of a destination failed, or MaxTime was not sufficient,
// complete is false, and Freeze must be called again later. The domains whose lookup failed are then looked up after all others, so each
// call freezes more reports, however many domains do not answer.
func (c Collection) Freeze(ctx context.Context, day time.Time, each Each) (complete bool, err error) {
	limited, cancel := context.WithTimeout(ctx, c.MaxTime)
	defer cancel()
	complete, err = c.freezeAll(limited, day, each)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		c.Log.Warn("not all reports of a day were computed in time, later", "day", day.Format(time.DateOnly), "limit_minutes", int(c.MaxTime.Minutes()))
		return false, nil
	}
	return complete, err
}

func (c Collection) freezeAll(ctx context.Context, day time.Time, each Each) (complete bool, err error) {
	unresolved, err := c.State.Unresolved(ctx, day)
	if err != nil {
		return false, err
	}
	var failed atomic.Bool
	for _, again := range []bool{false, true} {
		if again && len(unresolved) == 0 {
			break
		}
		all, ctx := errgroup.WithContext(ctx)
		all.SetLimit(maxLookups)
		err := each(ctx, func(found *report.Report) error {
			if found.Optional || unresolved[found.Policy.Domain] != again {
				return nil
			}
			all.Go(func() error {
				resolved, err := c.freeze(ctx, found)
				if !resolved {
					failed.Store(true)
				}
				return err
			})
			return nil
		})
		// The first error stops the others, so it is the cause of theirs.
		if err := cmp.Or(all.Wait(), err); err != nil {
			return false, err
		}
	}
	return !failed.Load(), nil
}

// freeze looks up the destinations of a report and freezes the report. resolved is false if the lookup failed.
func (c Collection) freeze(ctx context.Context, found *report.Report) (resolved bool, err error) {
	id := found.ID(c.Sender.Domain)
	if has, err := c.State.Has(ctx, id); has || err != nil {
		return true, err
	}
	limited, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	destinations, drop, err := Destinations(limited, c.Resolver.View(netip.Addr{}).Limit(maxQueries), found.Policy.Domain, c.Exclude)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		c.Log.Warn("the destinations of a report cannot be looked up, later", "domain", found.Policy.Domain, "error", err)
		return false, c.State.SetUnresolved(ctx, found.Day, found.Policy.Domain)
	case drop != "":
		c.Log.Debug("a report is not sent", "domain", found.Policy.Domain, "cause", string(drop))
		return true, nil
	}
	file, err := found.File(c.Sender)
	if err != nil {
		return true, err
	}
	for i, to := range destinations {
		destinations[i].MAC = c.Key.MAC(to.Address, id)
	}
	frozen := file.Frozen(found, c.Sender, c.Now())
	if c.Share != nil {
		if frozen, destinations, err = c.Share(ctx, frozen, destinations); err != nil {
			return true, err
		}
	}
	_, err = c.State.Freeze(ctx, frozen, destinations)
	return true, err
}

// ReportMail reports whether a message is only for addresses of our own reports.
func ReportMail(e *journal.Entry) bool { return e.Evidence.ReportMail }
