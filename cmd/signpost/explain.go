package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/explain"
	"signpost/internal/journal"
	"signpost/internal/term"
)

func explainCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON, everywhere bool
	var q journal.Query
	c := &cobra.Command{
		Use:   "explain QUEUE-ID|MESSAGE-ID|--rcpt ADDRESS|...",
		Short: "Explain why a message was signed, rejected, tagged or accepted",
		Long: "Explain a message in the journal: the client, the result of each check with its DNS record, the action and its reason, the\n" +
			"reply, and how to fix the problem. You can send the text to the sender's administrator. The DNS records are those of the time when the\n" +
			"message arrived.\n\n" +
			"The ID is the queue ID in Postfix's log and in replies, or the Message-ID. If several messages have this ID, all are\n" +
			"shown, the newest first. Without an ID, the newest message that matches the filters is explained. Times are in UTC.\n\n" +
			queryHelp + "\n\n" +
			"With --all-hosts, also search the messages that the hosts of a cluster copied to its database: those that failed or were acted\n" +
			"upon (cluster.ship). Messages with the same Message-ID are shown together, in the order of time: one host may have received the\n" +
			"message, and another sent it on.",
		Example: "  signpost explain 4fXyAb1Cd2z3\n  signpost explain '<20261125.1@example.org>'\n  signpost explain --rcpt bob@example.org --failed\n  signpost explain --all-hosts 4fXyAb1Cd2z3",
		Args:    cobra.MaximumNArgs(1),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			switch {
			case len(args) == 0 && (q.Empty() || everywhere), len(args) > 0 && !q.Empty():
				return cli.Usage(errors.New("either an ID or a filter is required; --all-hosts requires an ID\nhint: signpost log --all-hosts lists messages with their IDs"))
			case len(args) == 0:
				return explainNewest(c.Context(), conf, &q, asJSON, c.OutOrStdout(), c.ErrOrStderr())
			case everywhere:
				return explainAllHosts(c.Context(), conf, args[0], asJSON, c.OutOrStdout(), c.ErrOrStderr())
			}
			return explainID(c.Context(), conf, args[0], asJSON, c.OutOrStdout())
		}),
	}
	queryFlags(c, &q, load)
	c.Flags().BoolVar(&everywhere, "all-hosts", false, "search the messages of all hosts of the cluster")
	c.Flags().BoolVar(&asJSON, "json", false, "print a list of the records as JSON (/usr/share/doc/signpost/docs/json.md)")
	return c
}

func explainID(ctx context.Context, conf *config.Config, id string, asJSON bool, stdout io.Writer) error {
	r, err := readJournal(conf)
	if err != nil {
		return err
	}
	defer r.Close()
	found, err := r.Find(ctx, id)
	if err = journal.Reading(conf.JournalFile(), errors.Join(err, r.Unread())); err != nil && len(found) == 0 {
		return err
	}
	if len(found) == 0 {
		return notFound(ctx, r, conf.JournalFile(), id)
	}
	if asJSON {
		return errors.Join(term.WriteJSON(stdout, found), err)
	}
	for i := range found {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		if len(found) > 1 {
			fmt.Fprintf(stdout, "%d of %d messages with this ID, the newest first\n\n", i+1, len(found))
		}
		explain.WriteEntry(stdout, &found[i])
	}
	return err
}

// explainNewest explains the newest message that matches a query.
func explainNewest(ctx context.Context, conf *config.Config, q *journal.Query, asJSON bool, stdout, stderr io.Writer) error {
	f, err := q.Filter(time.Now())
	if err != nil {
		return flagError(err)
	}
	r, err := readJournal(conf)
	if err != nil {
		return err
	}
	defer r.Close()
	const more = 100 // that are counted
	ids, err := r.IDs(ctx, f, 1+more, false)
	var found []journal.Entry
	if err == nil && len(ids) > 0 {
		found, err = r.Entries(ctx, ids[:1])
	}
	switch err = journal.Reading(conf.JournalFile(), errors.Join(err, r.Unread())); {
	case len(found) == 0 && err != nil:
		return err
	case len(found) == 0:
		return errors.New("no message in the journal matches\nhint: signpost log lists messages")
	case asJSON:
		return errors.Join(term.WriteJSON(stdout, found), err)
	}
	explain.WriteEntry(stdout, &found[0])
	if n := len(ids) - 1; n > 0 {
		many := strconv.Itoa(n)
		if n == more {
			many += " or more"
		}
		fmt.Fprintf(stderr, "signpost: the newest message that matches is explained; %s older ones match too\nhint: signpost log with the same filters lists them\n", many)
	}
	return err
}

// notFound returns the error for a message that is not in the journal. The error states the period that the journal covers.
func notFound(ctx context.Context, r *journal.Reader, file, id string) error {
	oldest, newest, err := r.Covers(ctx)
	if err != nil {
		return journal.Reading(file, err)
	}
	if oldest.IsZero() {
		return fmt.Errorf("no message has the ID %s: the journal %s is empty", term.Printable(id), file)
	}
	return fmt.Errorf("no message in the journal %s has the ID %s; the journal has messages from %s to %s", file, term.Printable(id), explain.Date(oldest), explain.Date(newest))
}
