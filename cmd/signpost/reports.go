package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/owner"
	"signpost/internal/report"
	"signpost/internal/term"
)

func reportsCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON bool
	var state string
	c := &cobra.Command{
		Use:   "reports",
		Short: "Send DMARC reports to other domains, and show those about your own",
		Long: "List the DMARC aggregate reports (RFC 9990) that wait or were sent, the newest last: the day, the Policy Domain, the number\n" +
			"of messages, the destination, its state, the ID of the report and, in a cluster, the host that sent it. --state suppressed lists\n" +
			"the addresses to which no report is sent, because reports bounced.\n\n" +
			"The commands received, read and discover are about the reports that others send about your domains. docs/reports.md describes\n" +
			"the setup of both.",
		Example: "  signpost reports\n  signpost reports --state suppressed\n  signpost reports received example.org",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			return listReports(c.Context(), conf, state, asJSON, c.OutOrStdout())
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	c.Flags().StringVar(&state, "state", "", "only reports in this `STATE`: "+strings.Join(reportStates(), ", "))
	cli.Complete(c, map[string]cobra.CompletionFunc{"state": cli.Words(reportStates()...)})
	c.AddCommand(reportsSendCommand(load), reportsSetupCommand(load), reportsShowCommand(load), reportsRetryCommand(load), reportsSuppressCommand(load),
		reportsDiscoverCommand(load), reportsReadCommand(load), reportsReceivedCommand(load), reportsImportCommand(load))
	return c
}

// reportStates returns the values of --state.
func reportStates() []string {
	return []string{string(report.StageFrozen), string(report.StageAccepted), string(report.StageRefused), string(report.StageGivenUp), string(report.StageSuppressed)}
}

// openReports opens the database of the reports, as the owner of its directory.
func openReports(ctx context.Context, conf *config.Config, create bool, now func() time.Time) (*report.State, error) {
	path := filepath.Join(conf.ReportsDir(), "reports.db")
	if _, err := owner.Act(path); err != nil {
		return nil, err
	}
	s, err := report.OpenState(ctx, path, create, now)
	if errors.Is(err, report.ErrNoState) {
		err = fmt.Errorf("%w\nhint: signpost reports send sends the reports; docs/reports.md", err)
	}
	if err == nil && conf.Clustered() {
		s.Host, err = conf.ClusterName()
	}
	return s, err
}

func listReports(ctx context.Context, conf *config.Config, state string, asJSON bool, stdout io.Writer) error {
	if state != "" && !slices.Contains(reportStates(), state) {
		return cli.Usage(fmt.Errorf("--state must be %s, not %q", strings.Join(reportStates(), ", "), state))
	}
	s, err := openReports(ctx, conf, false, time.Now)
	if err != nil {
		return err
	}
	defer s.Close()
	if state == string(report.StageSuppressed) {
		return listSuppressed(ctx, s, asJSON, stdout)
	}
	all, err := s.List(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(d report.Delivery) bool { return state != "" && string(d.Stage) != state })
	slices.Reverse(all)
	if asJSON {
		return term.WriteJSON(stdout, append([]report.Delivery{}, all...))
	}
	rows := make([][]string, len(all))
	for i, d := range all {
		rows[i] = []string{d.Report.Day.Format(time.DateOnly), d.Report.Domain, fmt.Sprint(d.Report.Messages), d.Destination, string(d.Stage), d.Report.ID}
		if conf.Clustered() {
			rows[i] = append(rows[i], d.Host)
		}
	}
	return writeRows(stdout, rows)
}

func listSuppressed(ctx context.Context, s *report.State, asJSON bool, stdout io.Writer) error {
	all, err := suppressions(ctx, s)
	if err != nil {
		return err
	}
	if asJSON {
		return term.WriteJSON(stdout, all)
	}
	rows := make([][]string, len(all))
	for i, one := range all {
		why := "by hand"
		if one.Status != "" {
			why = fmt.Sprintf("bounces: %d, the last one: %s", one.Count, one.Status)
		}
		rows[i] = []string{one.Destination, "until " + one.Until.Format(time.DateOnly), why}
	}
	return writeRows(stdout, rows)
}

// suppressions returns the suppressed destinations, sorted.
func suppressions(ctx context.Context, s *report.State) ([]report.Suppression, error) {
	found, err := s.Suppressed(ctx)
	all := make([]report.Suppression, 0, len(found))
	for _, one := range found {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b report.Suppression) int { return strings.Compare(a.Destination, b.Destination) })
	return all, err
}

func writeRows(w io.Writer, rows [][]string) error {
	for _, row := range rows {
		for i := range row {
			row[i] = term.Printable(row[i])
		}
	}
	columns, _ := term.Size(w)
	return term.NewTable(w, columns, 3, func(_ int, text string) string { return text }).Write(rows)
}

// retried is the JSON of reports retry.
type retried struct {
	Report       string `json:"report,omitempty"`
	Destination  string `json:"destination,omitempty"`
	Destinations int    `json:"destinations,omitempty"` // of the report, to which it is sent again
}

func reportsRetryCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "retry ID|ADDRESS",
		Short: "Send a report again, or end the suppression of an address",
		Long: "With the ID of a report, deliver it to the destinations that did not accept it. The message is the same, and the three days\n" +
			"after which a report is given up begin again. With an address, send reports to it again, although earlier ones bounced.",
		Example: "  signpost reports retry dmarc@example.com",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			s, err := openReports(c.Context(), conf, false, time.Now)
			if err != nil {
				return err
			}
			defer s.Close()
			if strings.Contains(args[0], "@") {
				if err := s.Suppress(c.Context(), args[0], time.Time{}); err != nil {
					return err
				}
				if asJSON {
					return term.WriteJSON(c.OutOrStdout(), retried{Destination: strings.ToLower(args[0])})
				}
				fmt.Fprintf(c.OutOrStdout(), "%s: not suppressed\n", term.Printable(args[0]))
				return nil
			}
			n, err := s.Retry(c.Context(), args[0])
			switch {
			case err != nil:
				return err
			case n == 0:
				return fmt.Errorf("%s: no such report, or all of its destinations accepted it\nhint: signpost reports lists the IDs", args[0])
			case asJSON:
				return term.WriteJSON(c.OutOrStdout(), retried{Report: args[0], Destinations: n})
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: waiting, destinations: %d\n", term.Printable(args[0]), n)
			return nil
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// suppressedByHand is the time for which reports suppress suppresses an address.
const suppressedByHand = 365 * 24 * time.Hour

func reportsSuppressCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "suppress ADDRESS",
		Short:   "Send no reports to an address for a year",
		Long:    "Send no reports to an address for a year. To exclude a domain permanently, use reports.send.exclude.",
		Example: "  signpost reports suppress dmarc@example.com",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			if !strings.Contains(args[0], "@") {
				return cli.Usage(fmt.Errorf("%q is not an address", args[0]))
			}
			s, err := openReports(c.Context(), conf, true, time.Now)
			if err != nil {
				return err
			}
			defer s.Close()
			until := time.Now().Add(suppressedByHand)
			if err := s.Suppress(c.Context(), args[0], until); err != nil {
				return err
			}
			if asJSON {
				all, err := s.Suppressed(c.Context())
				if err != nil {
					return err
				}
				return term.WriteJSON(c.OutOrStdout(), all[strings.ToLower(args[0])])
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: suppressed until %s\n", term.Printable(args[0]), until.Format(time.DateOnly))
			return nil
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the suppression as JSON")
	return c
}

func reportsShowCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "Print a report: its destinations and its XML",
		Long:    "Print the destinations of a report with their states, and the XML text that was sent.",
		Example: "  signpost reports show ID",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			s, err := openReports(c.Context(), conf, false, time.Now)
			if err != nil {
				return err
			}
			defer s.Close()
			return showReport(c.Context(), s, args[0], asJSON, c.OutOrStdout())
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the destinations as JSON, without the XML")
	return c
}
