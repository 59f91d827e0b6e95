package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/config"
	"signpost/internal/journal"
	"signpost/internal/top"
	"signpost/keys"
)

func topCommand(load func() (*config.Config, error)) *cobra.Command {
	c := &cobra.Command{
		Use:   "top",
		Short: "Show the mail live: rates, results, failing mail, DNS and keys",
		Long: "Show the mail live, from the journal: messages a minute by action, results by method, the domains and clients with the most\n" +
			"failing mail of the last hour, slow and failing DNS lookups, and the next step of each key. The display fits the window.\n\n" +
			"With metrics.listen, it also shows how many messages the journal lost, and whether the daemon answers.\n\n" +
			"q or ^C quits. If the output is not a terminal, or TERM is dumb, the display is printed once.",
		Example: "  signpost top\n  signpost top | cat",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			in, _ := c.InOrStdin().(*os.File)
			return top.Run(c.Context(), top.Source{
				File:     conf.JournalFile(),
				Disabled: !conf.Journal.Enabled,
				Open:     func() (*journal.Reader, error) { return readJournal(conf) },
				Keys:     func(now time.Time) ([]keys.Status, error) { return keyStatus(conf, now) },
				Metrics:  conf.MetricsListen,
			}, in, c.OutOrStdout())
		}),
	}
	return c
}
