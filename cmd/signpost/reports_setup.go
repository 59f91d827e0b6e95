package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/doctor/reports"
	"signpost/internal/setup"
	"signpost/internal/term"
)

func reportsSetupCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON bool
	var dir string
	c := &cobra.Command{
		Use:   "setup",
		Short: "Print the DNS records and Postfix settings that reports need",
		Long: "Print the DNS records of the domain of reports.send.from, and the commands that change Postfix's settings so that bounces of\n" +
			"reports return to Signpost and are then discarded. The command reads Postfix's settings and changes nothing. Run it as\n" +
			"root. Afterwards, signpost doctor checks each record and setting.",
		Example: "  sudo signpost reports setup",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			if err := postfixDirectory(dir); err != nil {
				return err
			}
			f, err := reportFacts(conf, dir)
			if err != nil {
				return err
			}
			steps := reports.Steps(c.Context(), f)
			if asJSON {
				return term.WriteJSON(c.OutOrStdout(), steps)
			}
			writeSteps(c.OutOrStdout(), steps)
			return nil
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the steps as JSON")
	c.Flags().StringVar(&dir, "postfix", "", "the `DIRECTORY` of main.cf (default: that of postconf(1))")
	cli.Complete(c, map[string]cobra.CompletionFunc{"postfix": cli.Any()})
	return c
}

// reportFacts returns the facts for the checks of package reports.
func reportFacts(conf *config.Config, dir string) (reports.Facts, error) {
	if conf.ReportsDomain() == "" {
		return reports.Facts{}, cli.Usage(errors.New("reports.send.from is not set\nhint: from = \"dmarc@reports.example.org\" # in [reports.send], with a domain that is used for nothing else"))
	}
	resolver, err := setup.Resolver(conf, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		return reports.Facts{}, err
	}
	set, err := setup.KeyStore(conf).LoadMetadata()
	if err != nil {
		return reports.Facts{}, err
	}
	return setup.ReportFacts(conf, resolver, set, dir), nil
}

func writeSteps(w io.Writer, steps []reports.Step) {
	for i, step := range steps {
		fmt.Fprintf(w, "# %d. %s\n", i+1, step.Title)
		for _, line := range step.Lines {
			fmt.Fprintln(w, term.PrintableLines(line))
		}
		fmt.Fprintln(w)
	}
}
