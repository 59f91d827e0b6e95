package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/config"
	"signpost/internal/daemon"
	"signpost/internal/durable"
	"signpost/internal/journal"
	"signpost/internal/owner"
	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
	"signpost/internal/report/worker"
	"signpost/internal/setup"
	"signpost/internal/term"
)

func reportsReadCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "read",
		Short: "Read the reports that others sent about your domains",
		Long: "Read the reports that the daemon has kept, store them, delete old ones, and evaluate alarms. Run the command every ten\n" +
			"minutes, as signpost-reports.timer does. Two runs never overlap. If reports.receive.addresses is empty, nothing is done.\n" +
			"docs/reports.md describes the alarms and which reporters count.\n\n" +
			"Exit code 0: done, 1: a report could not be opened or stored, or the alarms could not be evaluated, 2: usage or\n" +
			"configuration error.",
		Example: "  sudo -u signpost signpost reports read\n  sudo signpost reports read --json",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			return readReceived(c.Context(), conf, time.Now, asJSON, c.OutOrStdout(), c.ErrOrStderr())
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the numbers of this run, and the alarms, as JSON")
	return c
}

// readRun is the JSON of signpost reports read.
type readRun struct {
	Run worker.Summary `json:"run"` // messages of this run
	status.Received
}

func readReceived(ctx context.Context, conf *config.Config, now func() time.Time, asJSON bool, stdout, stderr io.Writer) error {
	c := conf.Reports.Receive
	if len(c.Addresses) == 0 {
		return nil
	}
	var level slog.LevelVar
	log, err := setup.Logger(conf.Log, &level, stderr)
	if err != nil {
		return err
	}
	if _, err := owner.Act(conf.ReceivedFile()); err != nil {
		return err
	}
	lock, err := lockRun(conf, "read.lock", daemon.ReceivedSpool(conf).Path, conf.ReceivedUnread(), filepath.Dir(conf.ReceivedStatus()))
	if busy := (*durable.BusyError)(nil); errors.As(err, &busy) {
		_, err := fmt.Fprintln(stderr, "signpost: another run reads the reports: nothing to do")
		return err
	}
	if err != nil {
		return err
	}
	defer lock.Unlock()
	tree := durable.Tree{conf.StateDir}
	previous, err := status.Load(tree, conf.ReceivedStatus())
	if err != nil && !status.None(err) {
		log.Warn("the result of the last run cannot be read, it is computed again", "error", err)
	}
	run := readRun{Received: previous}
	run.Received, run.Run, err = readAll(ctx, conf, now, previous, log)
	err = errors.Join(err, run.Received.Write(tree, conf.ReceivedStatus(), conf.ReportsDir()))
	switch {
	case asJSON:
		err = errors.Join(err, term.WriteJSON(stdout, run))
	case len(run.Run) > 0:
		var parts []string
		for _, r := range status.Results() {
			if n := run.Run[r]; n > 0 {
				parts = append(parts, fmt.Sprintf("%s: %d", strings.ReplaceAll(string(r), "_", " "), n))
			}
		}
		fmt.Fprintln(stdout, strings.Join(parts, ", "))
	}
	return err
}

// readAll does the work of one run. It returns the content of received.json in any case.
func readAll(ctx context.Context, conf *config.Config, now func() time.Time, previous status.Received, log *slog.Logger) (status.Received, worker.Summary, error) {
	failed := func(err error) (status.Received, worker.Summary, error) {
		previous.LastRun, previous.OK, previous.Error = now().UTC(), false, err.Error()
		return previous, worker.Summary{}, err
	}
	c := conf.Reports.Receive
	site, err := reportsSite(conf)
	if err != nil {
		return failed(err)
	}
	resolver, err := setup.Resolver(conf, now, log)
	if err != nil {
		return failed(err)
	}
	store, err := received.Open(ctx, conf.ReceivedFile(), true, now)
	if err != nil {
		return failed(err)
	}
	defer store.Close()
	store.MaxSize = c.MaxSize
	w := worker.Worker{Store: store, Spool: daemon.ReceivedSpool(conf).Path, Unread: conf.ReceivedUnread(), Parse: read.Message, Retention: c.Retention, Site: site,
		Resolver: resolver.View(netip.Addr{}), Trusted: c.TrustedReporters, Now: now, Log: log}
	w.Selectors = func(ctx context.Context, trusted []string) ([]status.Alarm, error) {
		return selectorAlarms(ctx, conf, store, site.Networks, trusted, w.Now())
	}
	if conf.Journal.Enabled && conf.Journal.Addresses != "omit" {
		past, err := journal.OpenReader(conf.JournalFile())
		if err != nil && !errors.Is(err, journal.ErrNone) {
			return failed(err)
		}
		if err == nil {
			defer past.Close()
			w.Journal = past
		}
	}
	if !conf.Clustered() {
		return w.Run(ctx, previous)
	}
	return readTogether(ctx, conf, w, previous)
}

// reportsSite returns what is ours, to judge reports about it.
func reportsSite(conf *config.Config) (worker.Site, error) {
	store := setup.KeyStore(conf)
	site := worker.Site{Networks: setup.OwnNetworks(conf), Known: conf.Reports.Receive.KnownSources, Keys: map[string]map[string]bool{}}
	var err error
	if site.Hosted, err = store.Hosted(); err != nil {
		return site, err
	}
	set, err := store.LoadMetadata()
	if err != nil {
		return site, err
	}
	domains := maps.Clone(site.Hosted)
	for _, k := range set.All() {
		domains[k.Domain] = true
	}
	for domain := range domains {
		all, err := store.WithPast(domain, set.Of(domain))
		if err != nil {
			return site, err
		}
		site.Keys[domain] = map[string]bool{}
		for _, k := range all {
			if k.Selector != "" {
				site.Keys[domain][strings.ToLower(k.Selector)] = true
			}
		}
	}
	return site, nil
}
