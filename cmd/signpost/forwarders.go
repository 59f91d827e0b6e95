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
	"signpost/internal/term"
)

// acceptedFor is how long an accepted list or forwarder counts, in months. Then a person has to check it again.
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
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			return proposeForwarders(c.Context(), conf, o, c.OutOrStdout(), c.ErrOrStderr())
		}),
	}
	f := c.Flags()
	f.StringVar(&o.since, "since", "", "messages from this `TIME` on: "+journal.TimeFormats+"; all that the journal has if not given")
	f.StringVar(&o.accept, "accept", "", "write the entry of this proposal, a domain or a network by its `NAME`, into the file")
	f.StringVar(&o.until, "until", "", fmt.Sprintf("the last `DATE` on which it counts; in %d months if not given", acceptedFor))
	f.BoolVar(&o.json, "json", false, "print the proposals as JSON")
	cli.Complete(c, map[string]cobra.CompletionFunc{"since": times(), "accept": cli.Any(), "until": cli.Any()})
	return c
}

func proposeForwarders(ctx context.Context, conf *config.Config, o forwardersOptions, stdout, stderr io.Writer) error {
	now := time.Now()
	which, err := (&journal.Query{Since: o.since}).Filter(now)
	if err != nil {
		return flagError(err)
	}
	expires, err := lastDay(o.until, now)
	if err != nil {
		return err
	}
	if o.until != "" && o.accept == "" {
		return cli.Usage(errors.New("--until requires --accept NAME"))
	}
	all, err := learnForwarders(ctx, conf, which.Since, now, stderr)
	if err != nil {
		return err
	}
	switch {
	case o.accept != "":
		return acceptForwarder(conf, all, o.accept, expires, stdout)
	case o.json:
		return term.WriteJSON(stdout, append([]forwarders.Proposal{}, all...))
	case len(all) == 0:
		fmt.Fprintln(stderr, "signpost: nothing to propose\nhint: signpost forwarders --help lists what a list or forwarder has to fulfil")
	}
	for i, p := range all {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		for _, line := range p.Evidence() {
			fmt.Fprintf(stdout, "# %s\n", line)
		}
		fmt.Fprint(stdout, entryFor(p, expires))
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
	read := term.NewCounter(stderr)
	learner, err := forwarders.Learn(ctx, past, since, setup.Rules(conf).At(now), read.Add)
	read.Clear()
	if err != nil {
		return nil, journal.Reading(conf.JournalFile(), err)
	}
	if err := journal.Reading(conf.JournalFile(), past.Unread()); err != nil {
		cli.Print(stderr, "signpost", err)
	}
	if learner.Full {
		fmt.Fprintln(stderr, "signpost: too many messages: the newest were not read\nhint: pass a later --since")
	}
	return learner.Proposals(), nil
}

// lastDay returns the end of the day of --until.
func lastDay(text string, now time.Time) (time.Time, error) {
	day := now.UTC().Truncate(24*time.Hour).AddDate(0, acceptedFor, 0)
	if text != "" {
		var err error
		if day, err = time.Parse(time.DateOnly, text); err != nil {
			return day, cli.Usage(fmt.Errorf("--until %q is not a date such as 2027-05-31", text))
		}
	}
	if end := day.AddDate(0, 0, 1); end.After(now) {
		return end, nil
	}
	return day, cli.Usage(fmt.Errorf("--until %s has passed", text))
}

func entryFor(p forwarders.Proposal, expires time.Time) config.Forwarder {
	f := config.Forwarder{Comment: p.Comment(), Expires: expires}
	switch p.Kind {
	case forwarders.Sealer:
		f.Sealer = p.Name
	case forwarders.Signer:
		f.Signer = p.Name
	case forwarders.Network:
		f.Network, _ = netip.ParsePrefix(p.Name) // Name is a Prefix written out
	}
	return f
}

func acceptForwarder(conf *config.Config, all []forwarders.Proposal, name string, expires time.Time, stdout io.Writer) error {
	var names []string
	for _, p := range all {
		if names = append(names, p.Name); p.Name != name {
			continue
		}
		if conf.DMARC.ForwardersFile == "" {
			return errors.New("no configuration file, whose directory would hold forwarders.toml\nhint: pass --config FILE")
		}
		back, err := owner.Act(conf.DMARC.ForwardersFile) // it may be in state_dir
		if err != nil {
			return err
		}
		entry := entryFor(p, expires)
		err = config.AddForwarder(conf.DMARC.ForwardersFile, entry, p.Evidence())
		if err = errors.Join(err, back()); err != nil {
			return fmt.Errorf("accepting %s: %w", name, err)
		}
		fmt.Fprintf(stdout, "%s has now\n%sIt counts after systemctl reload signpost.\n", conf.DMARC.ForwardersFile, entry)
		return nil
	}
	if len(names) == 0 {
		return fmt.Errorf("%q is not proposed; nothing is\nhint: to accept it nevertheless, write the entry into %s", name, conf.DMARC.ForwardersFile)
	}
	return fmt.Errorf("%q is not proposed; the proposals are %s\nhint: to accept it nevertheless, write the entry into %s", name, strings.Join(names, ", "), conf.DMARC.ForwardersFile)
}
