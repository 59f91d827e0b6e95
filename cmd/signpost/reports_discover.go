package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/doctor/reports"
	"signpost/internal/setup"
	"signpost/internal/term"
)

func reportsDiscoverCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON bool
	var dir string
	c := &cobra.Command{
		Use:   "discover",
		Short: "Print the addresses to which others send reports",
		Long: "Print the addresses in the rua of the DMARC records and of the TLS-RPT records of the domains with keys, if the domain of the\n" +
			"address has a key or Postfix receives mail for it. The lines can be copied into signpost.toml: the list has the configured\n" +
			"addresses and the new ones. An address for DMARC reports about a domain of another organization is in the list only if the\n" +
			"record exists that permits this (RFC 9990 section 4). The command changes nothing.",
		Example: "  sudo signpost reports discover",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			if err := postfixDirectory(dir); err != nil {
				return err
			}
			f, err := receivedFacts(c.Context(), conf, dir)
			if err != nil {
				return err
			}
			all, failed := reports.Discover(c.Context(), f)
			if asJSON {
				err = term.WriteJSON(c.OutOrStdout(), append([]reports.Candidate{}, all...))
			} else {
				writeCandidates(c.OutOrStdout(), conf.Reports.Receive.Addresses, all)
			}
			if len(failed) > 0 {
				err = errors.Join(err, fmt.Errorf("the lookup of these names failed: %s\nhint: run the command again later", strings.Join(failed, ", ")))
			}
			return err
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the addresses as JSON, with those that are configured or not proposed")
	c.Flags().StringVar(&dir, "postfix", "", "the `DIRECTORY` of main.cf (default: that of postconf(1))")
	cli.Complete(c, map[string]cobra.CompletionFunc{"postfix": cli.Any()})
	return c
}

// receivedFacts returns the facts for reports.Discover. It returns an error if no DNS server answers.
func receivedFacts(ctx context.Context, conf *config.Config, dir string) (reports.Received, error) {
	resolver, err := setup.Resolver(conf, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		return reports.Received{}, err
	}
	set, err := setup.KeyStore(conf).LoadMetadata()
	if err != nil {
		return reports.Received{}, err
	}
	if !resolver.RootAnswers(ctx) {
		return reports.Received{}, errors.New("no DNS server answers\nhint: dig . NS")
	}
	return setup.ReceivedFacts(conf, resolver, set, dir), nil
}

// writeCandidates writes the lines for signpost.toml, with comments.
func writeCandidates(w io.Writer, configured []string, all []reports.Candidate) {
	list := slices.Clone(configured)
	for _, c := range all {
		names := term.Printable(strings.Join(c.Records, ", "))
		switch {
		case c.Configured:
		case c.Receives:
			list = append(list, c.Address)
			fmt.Fprintf(w, "# %s: rua of %s\n", term.Printable(c.Address), names)
		default:
			fmt.Fprintf(w, "# not proposed: %s, rua of %s. Publish to receive these reports:\n", term.Printable(c.Address), names)
		}
		for _, name := range c.Missing {
			fmt.Fprintf(w, "#   %s. IN TXT \"v=DMARC1\"\n", term.Printable(name))
		}
	}
	if len(list) == len(configured) {
		fmt.Fprintln(w, "# no new address: see docs/reports.md for the records to publish")
		return
	}
	quoted := make([]string, len(list))
	for i, address := range list {
		quoted[i] = strconv.Quote(address)
	}
	fmt.Fprintln(w, "# Signpost cannot know whether an address is also the mailbox of a person. Mail that is not a report is always delivered.")
	fmt.Fprintf(w, "[reports.receive]\naddresses = [%s]\n", term.Printable(strings.Join(quoted, ", ")))
}
