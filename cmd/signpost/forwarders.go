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

// acceptedFor is the default validity of an accepted list or forwarder, in months. Afterwards, the operator must check the entry again.
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
		Short: "Propose mailing lists and forwarders to trust, and accept them",
		Long: "Search the journal for mailing lists and forwarders whose genuine mail fails DMARC, and print the evidence for each, with an\n" +
			"entry for the file of accepted forwarders (dmarc.forwarders_file). Nothing is trusted until you accept it: --accept NAME\n" +
			"writes the entry to the file, with the last day of --until. Then run: systemctl reload signpost\n\n" +
			"With cluster.database, --accept writes to cluster/rules.toml in state_dir. The entry then applies to all hosts of the\n" +
			"cluster within seconds, without a reload.\n\n" +
			fmt.Sprintf("A proposal requires at least %d failing messages of %d organizations on %d days. At least half of the messages must be\n",
				forwarders.MinMessages, forwarders.MinAuthors, forwarders.MinDays) +
			"proved genuine: by different signatures that only the organizations of their authors can have made. Fields that anyone\n" +
			"can write are not evidence.",
		Example: "  signpost forwarders\n  signpost forwarders --accept lists.example.org --until 2027-05-31",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			return proposeForwarders(c.Context(), conf, o, c.OutOrStdout(), c.ErrOrStderr())
		}),
	}
	f := c.Flags()
	f.StringVar(&o.since, "since", "", "messages from this `TIME` on: "+journal.TimeFormats+" (default: all of the journal)")
	f.StringVar(&o.accept, "accept", "", "write the entry of the proposal with this `NAME`, a domain or a network, to the file")
	f.StringVar(&o.until, "until", "", fmt.Sprintf("the last `DATE` on which the entry is valid (default: in %d months)", acceptedFor))
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
		fmt.Fprintln(stderr, "signpost: nothing to propose\nhint: signpost forwarders --help lists the conditions for a proposal")
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

// learnForwarders reads the journal. If root runs the command, the process acts as the owner of the journal's directory while it reads the
// journal. Afterwards it acts as root again. This is necessary because the file of accepted forwarders may have another owner.
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
		f.Network, _ = netip.ParsePrefix(p.Name) // Name was formatted from a Prefix, so it can be parsed
	}
	return f
}

func acceptForwarder(conf *config.Config, all []forwarders.Proposal, name string, expires time.Time, stdout io.Writer) error {
	file := conf.AcceptedFile()
	var names []string
	for _, p := range all {
		if names = append(names, p.Name); p.Name != name {
			continue
		}
		if file == "" {
			return errors.New("no configuration file: forwarders.toml must be in the directory of that file\nhint: pass --config FILE")
		}
		back, err := owner.Act(file) // it may be in state_dir
		if err != nil {
			return err
		}
		entry := entryFor(p, expires)
		err = conf.AddForwarder(entry, p.Evidence())
		if err = errors.Join(err, back()); err != nil {
			return fmt.Errorf("accepting %s: %w", name, err)
		}
		effect := "To put it into effect: systemctl reload signpost"
		if conf.Clustered() {
			effect = "It takes effect within seconds, on all hosts of the cluster."
		}
		fmt.Fprintf(stdout, "added to %s:\n%s%s\n", file, entry, effect)
		return nil
	}
	if len(names) == 0 {
		return fmt.Errorf("%q is not proposed: there are no proposals\nhint: to accept it nevertheless, write the entry to %s", name, file)
	}
	return fmt.Errorf("%q is not proposed; the proposals are %s\nhint: to accept it nevertheless, write the entry to %s", name, strings.Join(names, ", "), file)
}
