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
		Short: "Watch the mail, live: rates, results, who fails, DNS and keys",
		Long: "Watch the mail, live, from the journal: messages a minute and what became of them, results by method, the domains and\n" +
			"clients with the most failing mail of the last hour, slow and failing DNS, and what comes next for the keys. It fits\n" +
			"itself to the window. How many messages the journal lost, and whether it runs, the daemon says where metrics.listen is\n" +
			"set. q or ^C ends it. Without a terminal, and where TERM is dumb, it prints once.",
		Args: cobra.NoArgs,
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
