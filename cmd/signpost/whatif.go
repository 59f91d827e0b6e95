package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/internal/whatif"
)

// whatIfOptions are the flags of signpost what-if.
type whatIfOptions struct {
	since, asIf, domain string
	upgrade, json       bool
}

func whatIfCommand(load func() (*config.Config, error), file *string) *cobra.Command {
	var o whatIfOptions
	c := &cobra.Command{
		Use:   "what-if",
		Short: "Show what enforce mode or another configuration would have done",
		Long: "Repeat the decisions of the journal with the configuration FILE of --config, and count the messages whose action would\n" +
			"change: by change, author, client and sender, with examples for \"signpost explain\". Nothing is changed. The journal is\n" +
			"the one in the state_dir of FILE.\n\n" +
			"The command assumes enforce mode. Without --config, it shows what enforce mode would have done with the messages that\n" +
			"observe mode accepted. The command uses the domains that are hosted now and the present authserv_id. It assumes a key\n" +
			"for mail that would be signed now.\n\n" +
			"Messages whose record is incomplete are counted separately: mail that was not verified then but would be verified now,\n" +
			"logins that journal.addresses omitted, entries of an older version without relays, and evidence that was truncated.",
		Example: "  signpost what-if --since 14d\n  signpost what-if --config NEW.toml --since 2026-11-20\n" +
			"  signpost what-if --as-if-policy reject --domain example.org\n  signpost what-if --upgrade",
		Args: cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			return whatIf(c.Context(), conf, *file, o, c.OutOrStdout(), c.ErrOrStderr())
		}),
	}
	f := c.Flags()
	f.StringVar(&o.since, "since", "14d", "messages from this `TIME` on: "+journal.TimeFormats)
	f.StringVar(&o.asIf, "as-if-policy", "", "replace a published p=none by this `POLICY`: quarantine or reject")
	f.StringVar(&o.domain, "domain", "", "only messages of this Author `DOMAIN`")
	f.BoolVar(&o.upgrade, "upgrade", false, "compare with the recorded decisions, including those of observe mode; print nothing if no\n"+
		"decision changes and all can be repeated, or if there is no journal")
	f.BoolVar(&o.json, "json", false, "print the numbers as JSON")
	cli.Complete(c, map[string]cobra.CompletionFunc{"since": times(), "as-if-policy": cli.Words("quarantine", "reject"), "domain": hostedDomain(load)})
	return c
}

func whatIf(ctx context.Context, conf *config.Config, file string, o whatIfOptions, stdout, stderr io.Writer) error {
	which, err := (&journal.Query{Since: o.since, Domain: o.domain}).Filter(time.Now())
	if err != nil {
		return flagError(err)
	}
	asIf := dmarc.Policy(o.asIf)
	if asIf != "" && asIf != dmarc.PolicyQuarantine && asIf != dmarc.PolicyReject {
		return cli.Usage(fmt.Errorf("--as-if-policy %q is not a policy: quarantine and reject are allowed", o.asIf))
	}
	r := setup.Rules(conf)
	if r.Hosted, err = setup.KeyStore(conf).Hosted(); err != nil {
		return err
	}
	past, err := readJournal(conf)
	if o.upgrade && errors.Is(err, journal.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer past.Close()
	read := term.NewCounter(stderr)
	tally, err := whatif.Replay(ctx, past, which, whatif.Options{Rules: r, AsIf: asIf, Observed: !o.upgrade}, read.Add)
	read.Clear()
	if err != nil {
		return journal.Reading(conf.JournalFile(), err)
	}
	const most, mostJSON = 5, 100
	switch short := tally.Result(0); {
	case o.upgrade && short.Changed == 0 && (short.Unjudged == 0 || !o.json):
		short.WriteUnknown(stdout)
	case o.json:
		err = term.WriteJSON(stdout, tally.Result(mostJSON))
	default:
		under := file
		if asIf != "" {
			under += ", with p=none replaced by p=" + o.asIf
		}
		tally.Result(most).Write(stdout, under)
	}
	return errors.Join(err, journal.Reading(conf.JournalFile(), past.Unread()))
}
