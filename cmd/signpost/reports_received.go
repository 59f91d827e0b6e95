package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/domain"
	"signpost/internal/durable"
	"signpost/internal/journal"
	"signpost/internal/owner"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
	"signpost/internal/report/summary"
	"signpost/internal/setup"
	"signpost/internal/term"
)

const (
	// receivedDays is the number of days that signpost reports received shows by default.
	receivedDays = 30
	// mostJSON and mostCSV limit the sources in JSON and CSV.
	mostJSON = 1000
	mostCSV  = 100_000
	// mostShown is the number of sources whose name is looked up.
	mostShown = 20
)

// receivedOptions are the flags of signpost reports received.
type receivedOptions struct {
	since, report    string
	json, csv, noDNS bool
}

func reportsReceivedCommand(load func() (*config.Config, error)) *cobra.Command {
	var o receivedOptions
	c := &cobra.Command{
		Use:   "received [DOMAIN]",
		Short: "Show what received DMARC and TLS reports state about your domains",
		Long: "Show what the DMARC and TLS reports of other receivers state: about all hosted domains, or about DOMAIN: messages by day, the\n" +
			"sources of mail and whether they are yours, who sends in your name and fails, reporters, failed TLS sessions, alarms, and\n" +
			"which mail p=quarantine or p=reject would cost. Signpost reads the reports that arrive at reports.receive.addresses.\n\n" +
			"Alarms and the cost of a policy count only trusted reporters: those that sent reports on five earlier days, and that\n" +
			"receive mail from this site, or that are listed in reports.receive.trusted_reporters. docs/reports.md describes the setup.",
		Example: "  signpost reports received\n  signpost reports received example.org --since 7d\n  signpost reports received example.org --csv > sources.csv",
		Args:    cobra.MaximumNArgs(1),

		ValidArgsFunction: hostedDomains(load),
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			return showReceived(c.Context(), conf, o, strings.Join(args, ""), time.Now().UTC(), c.OutOrStdout())
		}),
	}
	f := c.Flags()
	f.StringVar(&o.since, "since", fmt.Sprint(receivedDays, "d"), "reports about mail from this `TIME` on: "+journal.TimeFormats)
	f.StringVar(&o.report, "report", "", "show the report with this `ID`: its number, or the ID that the reporter chose")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.csv, "csv", false, "print the sources of the mail of DOMAIN as CSV")
	f.BoolVar(&o.noDNS, "no-dns", false, "do not look up the names of sources")
	cli.Complete(c, map[string]cobra.CompletionFunc{"since": times(), "report": cli.Any()})
	return c
}

// openReceived opens the database of received reports, as the owner of its directory.
func openReceived(ctx context.Context, conf *config.Config) (*received.Store, error) {
	if _, err := owner.Act(conf.ReceivedFile()); err != nil {
		return nil, err
	}
	s, err := received.Open(ctx, conf.ReceivedFile(), false, time.Now)
	if errors.Is(err, received.ErrNone) {
		err = fmt.Errorf("%w\nhint: signpost reports discover proposes the addresses at which reports arrive; docs/reports.md", err)
	}
	return s, err
}

func showReceived(ctx context.Context, conf *config.Config, o receivedOptions, name string, now time.Time, stdout io.Writer) error {
	since, err := (&journal.Query{Since: o.since}).Filter(now)
	if err != nil {
		return flagError(err)
	}
	f := received.Filter{Since: since.Since.UTC().Truncate(24 * time.Hour), Until: now}
	if name != "" {
		if f.Domain, err = domain.ParseArgument(name); err != nil {
			return cli.Usage(err)
		}
	}
	switch {
	case o.csv && name == "":
		return cli.Usage(errors.New("--csv requires DOMAIN"))
	case o.csv && (o.json || o.report != ""), o.report != "" && name != "":
		return cli.Usage(errors.New("only one of --csv, --json and --report is allowed, and --report has no DOMAIN"))
	}
	s, err := openReceived(ctx, conf)
	if err != nil {
		return err
	}
	defer s.Close()
	switch {
	case o.report != "":
		return showStored(ctx, s, o, stdout)
	case name == "":
		return receivedOverview(ctx, conf, s, f, o.json, stdout)
	}
	most := map[bool]int{true: mostJSON, false: mostShown}[o.json]
	if o.csv {
		most = mostCSV
	}
	a, err := aboutDomain(ctx, conf, s, f, most, !o.noDNS)
	if err != nil {
		return err
	}
	switch {
	case o.csv:
		return summary.WriteCSV(stdout, a.Most)
	case o.json:
		return term.WriteJSON(stdout, a)
	}
	return summary.WriteAbout(stdout, a)
}

// aboutDomain returns what the reports state about f.Domain, with its alarms. If named is true, it looks up the names of the first sources.
func aboutDomain(ctx context.Context, conf *config.Config, s *received.Store, f received.Filter, most int, named bool) (a received.About, err error) {
	if a, err = s.About(ctx, f, receivedSite(conf), most); err != nil {
		return a, err
	}
	if a.Alarms, _, err = alarmsOf(conf, f.Domain); err == nil && named {
		nameSources(ctx, conf, &a.Sources)
	}
	return a, err
}

func showStored(ctx context.Context, s *received.Store, o receivedOptions, stdout io.Writer) error {
	all, err := s.Find(ctx, o.report)
	switch {
	case err != nil:
		return err
	case o.json:
		return term.WriteJSON(stdout, append([]received.Stored{}, all...))
	case len(all) == 0:
		return fmt.Errorf("%s: no such report\nhint: signpost reports received DOMAIN lists the last report of each reporter", o.report)
	}
	for i, r := range all {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		if err := summary.WriteReport(stdout, r); err != nil {
			return err
		}
	}
	return nil
}

func receivedOverview(ctx context.Context, conf *config.Config, s *received.Store, f received.Filter, asJSON bool, stdout io.Writer) error {
	o, err := overviewOf(ctx, conf, s, f)
	if err != nil {
		return err
	}
	if asJSON {
		return term.WriteJSON(stdout, o)
	}
	return summary.WriteOverview(stdout, o, f.Since.Format(time.DateOnly))
}

// overviewOf returns what the reports state about the hosted domains.
func overviewOf(ctx context.Context, conf *config.Config, s *received.Store, f received.Filter) (o summary.Overview, err error) {
	hosted, err := setup.KeyStore(conf).Hosted()
	if err != nil {
		return o, err
	}
	all, err := s.Domains(ctx, f)
	if err != nil {
		return o, err
	}
	o = summary.NewOverview(all, hosted)
	o.Alarms, o.Omitted, err = alarmsOf(conf, "")
	return o, err
}

// alarmsOf returns the alarms of the last run of signpost reports read that are about a domain, or all, and the number of those that the file
// omits.
func alarmsOf(conf *config.Config, name string) (all []status.Alarm, omitted int, err error) {
	r, err := status.Load(durable.Tree{conf.StateDir}, conf.ReceivedStatus())
	if err != nil && !status.None(err) {
		return nil, 0, err
	}
	all = []status.Alarm{}
	for _, a := range r.Alarms {
		if name == "" || a.Domain == name {
			all = append(all, a)
		}
	}
	return all, r.Omitted, nil
}

// receivedSite returns the networks of this site.
func receivedSite(conf *config.Config) received.Site {
	return received.Site{Own: setup.OwnNetworks(conf), Known: conf.Reports.Receive.KnownSources}
}

// nameSources sets the names of the first sources.
func nameSources(ctx context.Context, conf *config.Config, all *received.Sources) {
	lists := [][]received.Source{all.Most[:min(len(all.Most), mostShown)], all.MostFailed[:min(len(all.MostFailed), mostShown)]}
	var addresses []netip.Addr
	for _, list := range lists {
		for _, s := range list {
			addresses = append(addresses, s.Address)
		}
	}
	found := reverse(ctx, conf, addresses)
	for _, list := range lists {
		for i := range list {
			list[i].Name = found[list[i].Address]
		}
	}
}
