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
	"signpost/internal/config"
	"signpost/internal/explain"
	"signpost/internal/journal"
	"signpost/internal/term"
)

// logOptions are the flags of signpost log.
type logOptions struct {
	query        journal.Query
	follow, json bool
	allHosts     bool
	most         int
}

func logCommand(load func() (*config.Config, error)) *cobra.Command {
	var o logOptions
	c := &cobra.Command{
		Use:   "log [-f] [-n N] [--domain DOMAIN] [--client ADDRESS] [--failed] ...",
		Short: "List messages, one on each line; --failed lists those that failed",
		Long: "List the messages in the journal, one on each line, the newest last: local time, queue ID, client, Author Domain, role,\n" +
			"action, the results of the checks, and the reason if the message was not simply accepted or signed. An action in\n" +
			"parentheses was not carried out (observe mode). In a narrow terminal, results and reason are on a second line.\n" +
			"\"signpost explain QUEUE-ID\" explains one message.\n\n" +
			"With --all-hosts, list the messages that the hosts of a cluster copied to its database: those that failed or were acted upon\n" +
			"(cluster.ship). The first column is the host.\n\n" +
			"Filters are combined with AND. A WORD may be a list: --spf fail,softfail. A TIME is " + journal.TimeFormats + ".",
		Example: "  signpost log --failed --since 14d\n  signpost log -f --domain example.org\n  signpost log --client 203.0.113.0/24 --dmarc fail -n 200\n  signpost log --all-hosts --domain example.org",
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
	f, q := c.Flags(), &o.query
	f.StringVar(&q.Domain, "domain", "", "messages of this Author `DOMAIN`")
	f.StringVar(&q.Client, "client", "", "messages from this client, an `ADDRESS` or a network")
	f.StringSliceVar(&q.Role, "role", nil, "messages with this role: `WORD` is sign, verify or bypass")
	f.StringSliceVar(&q.Action, "action", nil, "messages with this action: `WORD` is accept, sign, tag, hold, discard, tempfail or reject")
	f.StringSliceVar(&q.SPF, "spf", nil, "messages with this SPF result, a `WORD` such as fail")
	f.StringSliceVar(&q.DKIM, "dkim", nil, "messages whose best DKIM result is this `WORD`")
	f.StringSliceVar(&q.DMARC, "dmarc", nil, "messages whose worst DMARC result among the Author Domains is this `WORD`")
	f.StringSliceVar(&q.ARC, "arc", nil, "messages with this result of the ARC chain: `WORD` is pass or fail")
	f.BoolVar(&q.Failed, "failed", false, "messages with action tag, hold, discard, tempfail or reject, or that failed DMARC")
	f.StringVar(&q.Since, "since", "", "messages from this `TIME` on")
	f.StringVar(&q.Until, "until", "", "messages before this `TIME`")
	f.IntVarP(&o.most, "lines", "n", 50, "list at most the newest `N` messages")
	f.BoolVarP(&o.follow, "follow", "f", false, "after that, list new messages until interrupted")
	f.BoolVar(&o.allHosts, "all-hosts", false, "list messages of all hosts of the cluster that failed or were acted upon")
	f.BoolVar(&o.json, "json", false, "print the record of each message as JSON, one on each line (/usr/share/doc/signpost/docs/json.md)")
	cli.Complete(c, map[string]cobra.CompletionFunc{"domain": hostedDomain(load), "client": cli.Any(), "since": times(), "until": times(), "lines": cli.Any()})
	for _, choice := range q.Choices() {
		cli.Complete(c, map[string]cobra.CompletionFunc{choice.Name: cli.Words(choice.Words...)})
	}
	return c
}

// times offers examples of times for shell completion.
func times() cobra.CompletionFunc { return cli.Words("1h", "24h", "7d", "14d") }

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
	return journal.Reading(file, errors.Join(err, r.Unread()))
}
