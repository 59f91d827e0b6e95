package main

import (
	"cmp"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dmarc"
	"signpost/internal/domain"
	"signpost/internal/explain"
	"signpost/internal/term"
)

func dmarcCommand(load func() (*config.Config, error)) *cobra.Command {
	var zone string
	var asJSON bool
	c := &cobra.Command{
		Use:   "dmarc DOMAIN",
		Short: "Show the DMARC policy that applies to mail from a domain, and each lookup",
		Long: "Show the DMARC policy that applies to mail with DOMAIN in header From. The tree walk of RFC 9989 is shown: each name that is\n" +
			"looked up, its record, the Organizational Domain, and the policy.\n\n" +
			"With --dns, a zone file answers all lookups, to try a record before it is published.",
		Example: "  signpost dmarc news.example.org\n  signpost dmarc example.org --dns draft.zone",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: hostedDomains(load),
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			domain, err := domain.ParseArgument(args[0])
			if err != nil {
				return cli.Usage(err)
			}
			view, err := walkView(conf, zone)
			if err != nil {
				return err
			}
			result, steps := dmarc.Explain(c.Context(), view, domain)
			if err := c.Context().Err(); err != nil {
				return err
			}
			if asJSON {
				return term.WriteJSON(c.OutOrStdout(), struct {
					dmarc.Result
					Status string       `json:"status"`
					Steps  []dmarc.Step `json:"steps"`
				}{result, cmp.Or(string(result.Status), "found"), steps})
			}
			explain.WriteDMARC(c.OutOrStdout(), result, steps)
			return nil
		}),
	}
	c.Flags().StringVar(&zone, "dns", "", "answer all DNS lookups from this zone `FILE`")
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	cli.Complete(c, map[string]cobra.CompletionFunc{"dns": cli.File()})
	return c
}
