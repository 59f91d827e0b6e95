package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/cluster/messages"
	"signpost/internal/config"
	"signpost/internal/explain"
	"signpost/internal/journal"
	"signpost/internal/term"
)

// logOptions are the flags of signpost log.
type logOptions struct {
	query     journal.Query
	follow    bool
	json, csv bool
	allHosts  bool
	most      int
}

func logCommand(load func() (*config.Config, error)) *cobra.Command {
	var o logOptions
	c := &cobra.Command{
		Use:   "log [-f] [-n N] [--domain DOMAIN] [--mail-from ADDRESS] [--rcpt ADDRESS] [--client ADDRESS] [--failed] ...",
		Short: "List messages, one on each line; --failed lists those that failed",
		Long: "List the messages in the journal, one on each line, the newest last: local time, queue ID, client, Author Domain, role,\n" +
			"action, the results of the checks, and the reason if the message was not simply accepted or signed. The first line has the\n" +
			"names of the columns and the time zone. An action in parentheses was not carried out (observe mode). In a narrow terminal,\n" +
			"results and reason are on a second line.\n" +
			"\"signpost explain QUEUE-ID\" explains one message.\n\n" +
			"With --all-hosts, list the messages that the hosts of a cluster copied to its database: those that failed or were acted upon\n" +
			"(cluster.ship). The first column is the host.\n\n" +
			queryHelp,
		Example: "  signpost log --failed --since 14d\n  signpost log -f --domain example.org\n  signpost log --client 203.0.113.0/24 --dmarc fail -n 200\n  signpost log --rcpt bob@example.org --since 2d\n  signpost log --mail-from example.com --csv > messages.csv\n  signpost log --all-hosts --domain example.org",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := o.filter(time.Now())
			if err != nil {
				return err
			}
			conf, err := load()
			if err != nil {
				return err
			}
			return listMessages(c.Context(), conf, o, f, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	queryFlags(c, &o.query, load)
	f.IntVarP(&o.most, "lines", "n", 50, "list at most the newest `N` messages")
	f.BoolVarP(&o.follow, "follow", "f", false, "after that, list new messages until interrupted")
	f.BoolVar(&o.allHosts, "all-hosts", false, "list messages of all hosts of the cluster that failed or were acted upon")
	f.BoolVar(&o.json, "json", false, "print the record of each message as JSON, one on each line (/usr/share/doc/signpost/docs/json.md)")
	f.BoolVar(&o.csv, "csv", false, "print CSV (RFC 4180), with a line of column names")
	cli.Complete(c, map[string]cobra.CompletionFunc{"lines": cli.Any()})
	return c
}

func (o *logOptions) filter(now time.Time) (journal.Filter, error) {
	f, err := o.query.Filter(now)
	switch {
	case err != nil:
		return f, flagError(err)
	case o.most < 0 || o.most == 0 && !o.follow:
		return f, cli.Usage(fmt.Errorf("-n %d: at least 1 is required, or 0 with -f", o.most))
	case o.allHosts && o.follow:
		return f, cli.Usage(errors.New("-f and --all-hosts cannot be combined"))
	case o.allHosts && o.most > maxAllHosts:
		return f, cli.Usage(fmt.Errorf("-n %d: at most %d with --all-hosts", o.most, maxAllHosts))
	case o.json && o.csv, o.csv && o.follow:
		return f, cli.Usage(errors.New("--csv cannot be combined with --json or -f"))
	case o.follow && o.query.Until != "":
		return f, cli.Usage(errors.New("-f and --until cannot be combined"))
	}
	return f, nil
}

// flagError turns an error of journal.Query into a usage error. The fields of a Query have the names of the flags.
func flagError(err error) error { return cli.Usage(fmt.Errorf("--%w", err)) }

func listMessages(ctx context.Context, conf *config.Config, o logOptions, f journal.Filter, stdout, stderr io.Writer) (err error) {
	if o.allHosts {
		if err := actAsJournalOwner(conf); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if listed, err := listAllHosts(ctx, conf, o, f, stdout, stderr); listed || err != nil {
			return err
		}
	}
	columns, _ := term.Size(stdout)
	show := explain.NewList(stdout, columns)
	if o.csv {
		show = csvOf(explain.NewCSV(stdout, false))
	}
	if o.json {
		show = func(all []journal.Entry) (err error) {
			for i := 0; i < len(all) && err == nil; i++ {
				err = term.WriteJSONLine(stdout, &all[i])
			}
			return err
		}
	}
	file := conf.JournalFile()
	open := func() (*journal.Reader, error) { return readJournal(conf) }
	defer func() {
		if ctx.Err() != nil {
			err = nil // the user interrupted the list
		}
	}()
	if o.follow {
		return (&journal.Follower{Path: file, Open: open, Filter: f, Show: show, Report: func(err error, retries bool) {
			retry := map[bool]string{true: "; retrying"}[retries]
			fmt.Fprintf(stderr, "signpost: %s%s\n", term.PrintableLines(cli.Text(err)), retry)
		}}).Run(ctx, o.most)
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.List(ctx, f, o.most, show)
	if o.csv {
		err = errors.Join(show(nil), err) // the column names, even if there is no message
	}
	return journal.Reading(file, errors.Join(err, r.Unread()))
}

// csvOf returns a function that writes messages of this host.
func csvOf(c *explain.CSV) func([]journal.Entry) error {
	return func(all []journal.Entry) error {
		some := make([]messages.Message, len(all))
		for i, e := range all {
			some[i].Entry = e
		}
		return c.Write(some)
	}
}
