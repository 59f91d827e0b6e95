package send

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"signpost/internal/dns"
	"signpost/internal/journal"
	"signpost/internal/report"
)

// maxQueries is the maximum number of DNS queries for one report: the record, and a verification of each destination.
const maxQueries = 250

// Collection are the parameters of Collect.
type Collection struct {
	State    *report.State
	Key      report.Key
	Sender   report.Sender
	Resolver *dns.Resolver
	Exclude  []string
	Now      func() time.Time
	MaxTime  time.Duration // of Collect. Otherwise, many domains whose DNS does not answer would prevent all deliveries
	Log      *slog.Logger
}

// Collect freezes the reports of a day that have a destination. If the lookup of a destination failed, or MaxTime was not sufficient,
// complete is false, and Collect must be called again later.
func (c Collection) Collect(ctx context.Context, r *journal.Reader, day time.Time) (complete bool, err error) {
	limited, cancel := context.WithTimeout(ctx, c.MaxTime)
	defer cancel()
	complete, err = c.collect(limited, r, day)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		c.Log.Warn("not all reports of a day were computed in time, later", "day", day.Format(time.DateOnly), "limit_minutes", int(c.MaxTime.Minutes()))
		return false, nil
	}
	return complete, err
}

func (c Collection) collect(ctx context.Context, r *journal.Reader, day time.Time) (complete bool, err error) {
	complete = true
	err = report.Collect(ctx, r, day, report.Options{Own: ToReports}, func(found *report.Report) error {
		if found.Optional {
			return nil
		}
		id := found.ID(c.Sender.Domain)
		if has, err := c.State.Has(ctx, id); has || err != nil {
			return err
		}
		destinations, drop, err := Destinations(ctx, c.Resolver.View(netip.Addr{}).Limit(maxQueries), found.Policy.Domain, c.Exclude)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.Log.Warn("the destinations of a report cannot be looked up, later", "domain", found.Policy.Domain, "error", err)
			complete = false
			return nil
		case drop != "":
			c.Log.Debug("a report is not sent", "domain", found.Policy.Domain, "cause", string(drop))
			return nil
		}
		file, err := found.File(c.Sender)
		if err != nil {
			return err
		}
		macs := make([]string, len(destinations))
		for i, to := range destinations {
			macs[i] = c.Key.MAC(to, id)
		}
		_, err = c.State.Freeze(ctx, file.Frozen(found, c.Sender, c.Now()), destinations, macs)
		return err
	})
	if err != nil || !complete {
		return false, err
	}
	return true, c.State.SetCollected(ctx, day)
}

// ToReports reports whether a message is only for the bounce addresses of our reports.
func ToReports(e *journal.Entry) bool { return e.Evidence.ToReports }
