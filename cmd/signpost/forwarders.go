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
	"signpost/internal/forwarders"
	"signpost/internal/journal"
	"signpost/internal/owner"
	"signpost/internal/setup"
)

// acceptedFor is for how long an accepted list or forwarder is believed, in months: then somebody is to look at it again.
const acceptedFor = 6

// forwardersOptions are the flags of signpost forwarders.
type forwardersOptions struct {
	since, accept, until string
	json                 bool
}

func forwardersCommand(load func() (*config.Config, error)) *cobra.Command {
	var o forwardersOptions
	c := &cobra.Command{
		Use:   "forwarders",
		Short: "Propose mailing lists and forwarders to believe, and accept them",
		Long: "Look through the journal for mailing lists and forwarders whose mail fails DMARC in a regular, signed pattern, and print\n" +
			"for each the entry for the file of accepted forwarders (dmarc.forwarders_file), with the evidence. Nothing is believed\n" +
			"until a person accepts it: --accept NAME writes the entry there, --until a day. Then systemctl reload signpost.\n\n" +
			fmt.Sprintf("Asked for are %d failing messages at least, of %d organisations, on %d days; and as many different messages as half of\n",
				forwarders.MinMessages, forwarders.MinAuthors, forwarders.MinDays) +
			"all that came so must be shown to be genuine, by what only their authors' organisations can have signed. What anybody\n" +
			"can write counts for nothing.",
		Example: "  signpost forwarders\n  signpost forwarders --accept lists.example.org --until 2027-05-31",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			return proposeForwarders(c.Context(), conf, o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.since, "since", "", "messages from this `TIME` on: "+timeFormats+"; all that the journal has if not given")
	f.StringVar(&o.accept, "accept", "", "write the entry of this proposal, a domain or a network by its `NAME`, into the file")
	f.StringVar(&o.until, "until", "", fmt.Sprintf("the last `DATE` on which it counts; in %d months if not given", acceptedFor))
	f.BoolVar(&o.json, "json", false, "print the proposals as JSON")
	return c
}

func proposeForwarders(ctx context.Context, conf *config.Config, o forwardersOptions, stdout, stderr io.Writer) error {
	now := time.Now()
	since, err := pointInTime("since", o.since, now)
	if err != nil {
		return err
	}
	expires, err := lastDay(o.until, now)
	if err != nil {
		return err
	}
	if o.until != "" && o.accept == "" {
		return cli.Usage(errors.New("--until is for --accept NAME: whom?"))
	}
	all, err := learnForwarders(ctx, conf, since, now, stderr)
	if err != nil {
		return err
	}
	switch {
	case o.accept != "":
		return acceptForwarder(conf, all, o.accept, expires, stdout)
	case o.json:
		if all == nil {
			all = []forwarders.Proposal{}
		}
		return printJSON(stdout, all)
	case len(all) == 0:
		fmt.Fprintln(stderr, "signpost: there is nobody to propose: see signpost forwarders --help for what is asked of a list or forwarder")
	}
	for i, p := range all {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		fmt.Fprint(stdout, comments(p), entryFor(p, expires))
	}
	return nil
}

// learnForwarders reads the journal, as its owner if root runs the command. When it returns, the process is root again: the file of
// accepted forwarders may have another owner.
func learnForwarders(ctx context.Context, conf *config.Config, since, now time.Time, stderr io.Writer) (all []forwarders.Proposal, err error) {
	back, err := owner.Act(conf.JournalFile())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, back()) }()
	past, err := readJournal(conf)
	if err != nil {
		return nil, err
	}
	defer past.Close()
	learner := forwarders.Learner{Rules: setup.Rules(conf).At(now)}
	watch := newCounter(stderr)
	err = past.Each(ctx, journal.Filter{Since: since, Outcome: relayed}, func(e *journal.Entry) bool {
		learner.Add(e)
		watch.count()
		return ctx.Err() == nil && !learner.Full
	})
	watch.end()
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, reading(conf, err)
	}
	if err := past.Unread(); err != nil {
		fmt.Fprintf(stderr, "signpost: %s\n", printableLines(reading(conf, err).Error()))
	}
	if learner.Full {
		fmt.Fprintln(stderr, "signpost: too many messages: the newest were not read\nhint: pass a later --since")
	}
	return learner.Proposals(), nil
}

// relayed chooses what a list or a forwarder can have brought: what DMARC fails, and what it passes by a signature although
// SPF fails or a chain is there.
func relayed(o journal.Outcome) bool {
	return o.DMARC == "fail" || o.DMARC == "pass" && o.DKIM == "pass" && (o.SPF == "fail" || o.SPF == "softfail" || o.ARC == "pass")
}

// lastDay reads --until and gives the end of that day.
func lastDay(text string, now time.Time) (time.Time, error) {
	day := now.UTC().Truncate(24*time.Hour).AddDate(0, acceptedFor, 0)
	if text != "" {
		var err error
		if day, err = time.Parse(time.DateOnly, text); err != nil {
			return day, cli.Usage(fmt.Errorf("--until %q is no date; write it like 2027-05-31", text))
		}
	}
	if end := day.AddDate(0, 0, 1); end.After(now) {
		return end, nil
	}
	return day, cli.Usage(fmt.Errorf("--until %s is over", text))
}

func entryFor(p forwarders.Proposal, expires time.Time) config.Forwarder {
	f := config.Forwarder{Comment: p.Comment(), Expires: expires}
	switch p.Kind {
	case forwarders.Sealer:
		f.Sealer = p.Name
	case forwarders.Signer:
		f.Signer = p.Name
	case forwarders.Network:
		f.Network, _ = netip.ParsePrefix(p.Name) // it was written by one
	}
	return f
}

func comments(p forwarders.Proposal) string {
	var b strings.Builder
	for _, line := range evidence(p) {
		fmt.Fprintf(&b, "# %s\n", line)
	}
	return b.String()
}

// evidence is fit to stand on a terminal, and behind a # in a file: names of strangers are in it.
func evidence(p forwarders.Proposal) []string {
	all := p.Evidence()
	for i, line := range all {
		all[i] = printable(line)
	}
	return all
}

func acceptForwarder(conf *config.Config, all []forwarders.Proposal, name string, expires time.Time, stdout io.Writer) error {
	var names []string
	for _, p := range all {
		if names = append(names, p.Name); p.Name != name {
			continue
		}
		if conf.DMARC.ForwardersFile == "" {
			return errors.New("there is no configuration file whose folder could take forwarders.toml: give one by --config")
		}
		back, err := owner.Act(conf.DMARC.ForwardersFile) // it may be in state_dir
		if err != nil {
			return err
		}
		entry := entryFor(p, expires)
		err = config.AddForwarder(conf.DMARC.ForwardersFile, entry, evidence(p))
		if err = errors.Join(err, back()); err != nil {
			return fmt.Errorf("accepting %s: %w", name, err)
		}
		fmt.Fprintf(stdout, "%s has now\n%sIt counts after systemctl reload signpost.\n", conf.DMARC.ForwardersFile, entry)
		return nil
	}
	if len(names) == 0 {
		return fmt.Errorf("%q is not proposed; nobody is. What you know of it yourself you can write into %s", name, conf.DMARC.ForwardersFile)
	}
	return fmt.Errorf("%q is not proposed; there are %s. What you know of it yourself you can write into %s", name, strings.Join(names, ", "), conf.DMARC.ForwardersFile)
}
