package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/daemon"
	"signpost/internal/domain"
	"signpost/internal/durable"
	"signpost/internal/owner"
	"signpost/internal/report"
	"signpost/internal/report/send"
	"signpost/internal/setup"
	"signpost/internal/spool"
	"signpost/internal/term"
)

// reportsSendOptions are the flags of signpost reports send.
type reportsSendOptions struct {
	domain, to, date, postfix string
	early, dryRun, json       bool
}

func reportsSendCommand(load func() (*config.Config, error)) *cobra.Command {
	var o reportsSendOptions
	c := &cobra.Command{
		Use:   "send",
		Short: "Send the reports that are due",
		Long: "Read the bounces of reports, compute the reports about yesterday from the journal, and send those that are due. A report is\n" +
			"sent between 00:10 and 06:00 UTC, at a time that depends on its domain, so run the command every ten minutes, as\n" +
			"signpost-reports.timer does. If one of doctor's checks of reports is red, nothing is sent. If the clock of the machine was set,\n" +
			"nothing is sent for 23 hours. Two runs never overlap.\n\n" +
			"In a cluster, each host writes its counts to the database once an hour. The host that holds the lease adds them up, and sends\n" +
			"the reports between 03:00 and 08:00 UTC.\n\n" +
			"With --dry-run, write the report about --domain to a file, and change nothing.\n\n" +
			"Exit code 0: done, 1: a check is red, or the SMTP server cannot be reached, 2: usage or configuration error.",
		Example: "  signpost reports send\n  signpost reports send --domain example.com --now\n  signpost reports send --domain example.com --dry-run --to report.eml",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			clock, err := o.clock()
			if err != nil {
				return err
			}
			if err := postfixDirectory(o.postfix); err != nil {
				return err
			}
			if conf.ReportsDomain() == "" || conf.Reports.Send.OrgName == "" {
				if !conf.Reports.Send.Enabled && !o.dryRun {
					return disabled(conf, c.ErrOrStderr())
				}
				return cli.Usage(errors.New("reports.send.from and reports.send.org_name are required\nhint: docs/reports.md, \"Start\""))
			}
			if o.dryRun {
				return writeReport(c.Context(), conf, o, clock.now(), c.OutOrStdout())
			}
			if o.to != "" {
				return cli.Usage(errors.New("--to requires --dry-run"))
			}
			return sendReports(c.Context(), conf, o, clock, c.OutOrStdout(), c.ErrOrStderr())
		}),
	}
	f := c.Flags()
	f.StringVar(&o.domain, "domain", "", "send only reports about this Policy `DOMAIN`")
	f.BoolVar(&o.early, "now", false, "send also reports that are not due yet")
	f.BoolVar(&o.dryRun, "dry-run", false, "write the message of --domain to --to, and send nothing")
	f.StringVar(&o.to, "to", "", "with --dry-run: the `FILE` (default: standard output)")
	f.StringVar(&o.date, "date", "", "run as if it were noon (UTC) on this `DATE`, and do not check the clock")
	f.BoolVar(&o.json, "json", false, "print the numbers as JSON")
	f.StringVar(&o.postfix, "postfix", "", "the `DIRECTORY` of main.cf (default: that of postconf(1))")
	cli.Complete(c, map[string]cobra.CompletionFunc{"domain": cli.Any(), "to": cli.File(), "date": cli.Any(), "postfix": cli.Directory()})
	return c
}

// clock returns the clocks of the run.
func (o reportsSendOptions) clock() (clock, error) {
	if o.date == "" {
		return clock{time.Now, send.Uptime}, nil
	}
	day, err := time.Parse(time.DateOnly, o.date)
	if err != nil {
		return clock{}, cli.Usage(fmt.Errorf("--date %q is not a date such as 2027-05-31", o.date))
	}
	if day.After(time.Now()) && !o.dryRun && !o.early {
		return clock{}, cli.Usage(fmt.Errorf("--date %s is in the future: the reports would lack the rest of today\nhint: --dry-run --domain DOMAIN writes one of them; --now sends them nevertheless", o.date))
	}
	return clock{now: func() time.Time { return day.Add(12 * time.Hour) }}, nil
}

// disabled states that nothing is sent. On a host that only receives reports, the timer runs the command too, so it is silent there.
func disabled(conf *config.Config, stderr io.Writer) error {
	if len(conf.Reports.Receive.Addresses) > 0 {
		return nil
	}
	_, err := fmt.Fprintln(stderr, "signpost: reports.send.enabled is false: nothing is sent")
	return err
}

// sender returns the sender of the reports.
func sender(conf *config.Config) report.Sender {
	c := conf.Reports.Send
	return report.Sender{Domain: conf.ReportsDomain(), OrgName: c.OrgName, Email: c.From, Extra: c.Contact, Generator: "signpost " + cli.Number()}
}

func sendReports(ctx context.Context, conf *config.Config, o reportsSendOptions, clock clock, stdout, stderr io.Writer) error {
	if !conf.Reports.Send.Enabled {
		return disabled(conf, stderr)
	}
	if conf.Clustered() && clock.now().After(time.Now()) {
		return cli.Usage(errors.New("--date must not be in the future in a cluster: the rest of today would never be reported"))
	}
	if conf.Observe && !conf.Reports.Send.Observe {
		_, err := fmt.Fprintln(stderr, "signpost: mode is observe: nothing is sent\nhint: observe = true # in [reports.send]")
		return err
	}
	var level slog.LevelVar
	log, err := setup.Logger(conf.Log, &level, stderr)
	if err != nil {
		return err
	}
	if _, err := owner.Act(filepath.Join(conf.ReportsDir(), "reports.db")); err != nil {
		return err
	}
	lock, err := lockReports(conf)
	if busy := (*durable.BusyError)(nil); errors.As(err, &busy) {
		_, err := fmt.Fprintln(stderr, "signpost: another run sends the reports: nothing to do")
		return err
	}
	if err != nil {
		return err
	}
	defer lock.Unlock()
	s := &sending{conf: conf, options: o, clock: clock, log: log}
	wait, err := s.steady()
	if err != nil {
		return err
	}
	if wait > 0 {
		_, err := fmt.Fprintf(stderr, "signpost: the clock was set, or the machine was off: nothing is sent for %d hours\nhint: if the date is correct: signpost reports send --date %s\n",
			int(wait.Hours()+1), clock.now().UTC().Format(time.DateOnly))
		return err
	}
	if s.state, err = openReports(ctx, conf, true, clock.now); err != nil {
		return err
	}
	defer s.state.Close()
	summary, err := s.run(ctx)
	err = errors.Join(err, s.finish(ctx, err == nil))
	switch {
	case o.json:
		err = errors.Join(err, term.WriteJSON(stdout, summary))
	case summary != send.Summary{}:
		fmt.Fprintf(stdout, "accepted: %d, refused: %d, suppressed: %d, given up: %d, waiting: %d\n", summary.Accepted, summary.Refused, summary.Suppressed, summary.GivenUp, summary.Waiting)
	}
	return err
}

// lockReports takes the lock of the runs of signpost reports send.
func lockReports(conf *config.Config) (*durable.Lock, error) {
	return lockRun(conf, "lock", daemon.BouncesDir(conf), filepath.Dir(daemon.ReportsStatus(conf)), filepath.Dir(daemon.BounceKey(conf)))
}

// lockRun creates directories, and takes a lock in the directory of reports.
func lockRun(conf *config.Config, name string, dirs ...string) (*durable.Lock, error) {
	tree := durable.Tree{conf.StateDir}
	for _, dir := range dirs {
		if err := tree.MakeDir(dir); err != nil {
			return nil, err
		}
	}
	dir, err := tree.Open(conf.ReportsDir())
	if err != nil {
		return nil, err
	}
	lock, err := durable.TryLock(dir, filepath.Join(conf.ReportsDir(), name))
	if err == nil {
		lock.WritePID()
	}
	return lock, err
}

// writeReport writes the message about a domain as it would be sent now.
func writeReport(ctx context.Context, conf *config.Config, o reportsSendOptions, now time.Time, stdout io.Writer) error {
	name, err := domain.ParseArgument(o.domain)
	if err != nil {
		return cli.Usage(fmt.Errorf("--dry-run requires --domain DOMAIN: %w", err))
	}
	back, err := owner.Act(conf.JournalFile())
	if err != nil {
		return err
	}
	defer func() { _ = back() }()
	past, err := readJournal(conf)
	if err != nil {
		return err
	}
	defer past.Close()
	var message []byte
	day := report.Day(now).AddDate(0, 0, -1)
	err = report.Collect(ctx, past, day, report.Options{Own: send.ReportMail}, func(found *report.Report) error {
		if found.Policy.Domain != name || message != nil {
			return nil
		}
		file, err := found.File(sender(conf))
		if err != nil {
			return err
		}
		message = send.Message(report.Delivery{Report: file.Frozen(found, sender(conf), now), Destination: "dry-run@" + name})
		return nil
	})
	switch {
	case err != nil:
		return err
	case message == nil:
		return fmt.Errorf("no report: the journal has no mail of %s with a DMARC record on %s", name, day.Format(time.DateOnly))
	case o.to == "":
		_, err = stdout.Write(message)
		return err
	}
	if err := back(); err != nil {
		return err
	}
	return writeFile(o.to, message)
}

// bounces returns the spool of the bounces.
func bounces(conf *config.Config) spool.Dir {
	return spool.Dir{Path: daemon.BouncesDir(conf), Limits: spool.Bounces()}
}
