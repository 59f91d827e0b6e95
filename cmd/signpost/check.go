package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/durable"
	"signpost/internal/journal"
	"signpost/internal/monitor"
	"signpost/internal/owner"
	"signpost/internal/report/status"
	"signpost/internal/setup"
	"signpost/keys"
)

// The defaults of check. The timer runs rotate once a day, with a random delay of up to an hour.
const (
	rotateWarning  = 26 * time.Hour
	rotateCritical = 72 * time.Hour
	checkTimeout   = 10 * time.Second
)

func checkCommand(load func() (*config.Config, error)) *cobra.Command {
	var warning, critical, timeout time.Duration
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the daemon, the keys, the journal, the cluster and received reports, for Icinga and Nagios",
		Long: "Check the daemon, the keys, the last \"dkimkey rotate\", the journal and the cluster, and print one line with performance data, as\n" +
			"a plugin of Icinga or Nagios does. Run it as user signpost or as root.\n\n" +
			"CRITICAL: a milter socket does not answer, a hosted domain has no signing key, an active key cannot be used, or dkimkey rotate\n" +
			"has not succeeded for --rotate-critical. WARNING: a key needs an action that \"dkimkey status\" describes, dkimkey rotate has\n" +
			"not succeeded for --rotate-warning, or the journal cannot be read, was damaged, or lost messages in the last hour (only with\n" +
			"metrics.listen). With cluster.database also: signpost-cluster is not running or does not synchronize, the database is not\n" +
			"reachable, another host is missing, a clock is wrong, or failed messages are not copied to the database. With\n" +
			"reports.receive.addresses also: received reports raise an alarm, or signpost reports read failed or has not run for a day.\n" +
			"UNKNOWN: a permission is missing, a file system does not answer, or the command line or the configuration has an error.\n\n" +
			"Exit code 0: OK, 1: WARNING, 2: CRITICAL, 3: UNKNOWN. These are the exit codes of plugins. Other commands have other exit codes.",
		Example: "  sudo -u signpost signpost check\n  signpost check --rotate-warning 50h --rotate-critical 0",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			switch {
			case warning < 0 || critical < 0 || timeout <= 0:
				return cli.Usage(errors.New("check: --rotate-warning and --rotate-critical must not be negative, and --timeout must be positive"))
			case warning > 0 && critical > 0 && critical < warning:
				return cli.Usage(errors.New("check: --rotate-critical must not be less than --rotate-warning"))
			}
			s := monitored(conf)
			s.RotateWarning, s.RotateCritical, s.Timeout = warning, critical, timeout
			report := monitor.Check(c.Context(), s)
			if err := c.Context().Err(); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(c.OutOrStdout(), report); err != nil {
				return err
			}
			if report.State != cli.OK {
				return cli.ExitError{Code: int(report.State)}
			}
			return nil
		}),
	}
	cli.Plugin(c)
	c.Flags().DurationVar(&warning, "rotate-warning", rotateWarning, "WARNING if dkimkey rotate has not succeeded for `TIME`; 0: never")
	c.Flags().DurationVar(&critical, "rotate-critical", rotateCritical, "CRITICAL if dkimkey rotate has not succeeded for `TIME`; 0: never")
	c.Flags().DurationVarP(&timeout, "timeout", "t", checkTimeout, "end after `TIME`, even if the daemon does not answer")
	cli.Complete(c, map[string]cobra.CompletionFunc{"rotate-warning": cli.Any(), "rotate-critical": cli.Any(), "timeout": cli.Any()})
	return c
}

// monitored returns the Source for check, without limits and timeout.
func monitored(conf *config.Config) monitor.Source {
	store := setup.KeyStore(conf)
	s := monitor.Source{
		Keys: func() (*keys.Set, error) { return store.Load(nil) }, Hosted: store.Hosted, Rules: setup.KeyRules(conf), LastRun: store.LastRun,
		Metrics: conf.MetricsListen, Observe: conf.Observe, Now: time.Now,
		ActAsOwner: func() error {
			_, err := owner.Act(conf.JournalFile())
			return err
		},
	}
	for _, ln := range conf.Listen {
		s.Sockets = append(s.Sockets, monitor.Socket{Network: ln.Network, Address: ln.Address})
	}
	if conf.Clustered() {
		s.Cluster = setup.ClusterStatus(conf)
	}
	if len(conf.Reports.Receive.Addresses) > 0 {
		s.Received = func() (status.Received, error) {
			return status.Load(durable.Tree{conf.StateDir}, conf.ReceivedStatus())
		}
	}
	if conf.Journal.Enabled {
		s.Journal = &monitor.Journal{File: conf.JournalFile(), MaxSize: conf.Journal.MaxSize, Open: func() (*journal.Reader, error) { return readJournal(conf) }}
	}
	return s
}
