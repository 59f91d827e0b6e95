package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dmarc"
	"signpost/internal/domain"
	"signpost/internal/journal"
	"signpost/internal/setup"
	"signpost/internal/whatif"
	"signpost/policy"
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
		Short: "Make the journal's decisions again, under another configuration",
		Long: "Make the journal's decisions again under the configuration FILE of --config, and count what would have become of each\n" +
			"message instead of what did: by change, by author, client and sender, with examples for \"signpost explain\". Nothing is\n" +
			"changed. The journal is that of the state_dir that FILE names. mode is taken as enforce, and messages that were seen in\n" +
			"observe mode as accepted: with the configuration in use it says what observe mode would have refused.\n\n" +
			"What the journal does not have is not guessed, and such messages are counted apart: SPF, DKIM and DMARC of mail that was\n" +
			"never verified, logins that journal.addresses left out, the verified relays of entries that an older version wrote,\n" +
			"and evidence that was cut because there was too much of it. Taken for granted are the domains that are hosted now, that\n" +
			"there was a key for mail that would be signed now, and that authserv_id and its aliases were the same.",
		Example: "  signpost what-if --since 14d\n  signpost what-if --config NEW.toml --since 2026-11-20\n" +
			"  signpost what-if --as-if-policy reject --domain example.org\n  signpost what-if --upgrade",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			return whatIf(c.Context(), conf, *file, o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.since, "since", "14d", "messages from this `TIME` on: "+timeFormats)
	f.StringVar(&o.asIf, "as-if-policy", "", "take a published p=none as this `POLICY`: quarantine or reject")
	f.StringVar(&o.domain, "domain", "", "only messages of this Author `DOMAIN`")
	f.BoolVar(&o.upgrade, "upgrade", false, "compare with the decisions that were made, those in observe mode too; print nothing if all can be\n"+
		"judged and are the same, or there is no journal")
	f.BoolVar(&o.json, "json", false, "print the numbers as JSON")
	return c
}

func whatIf(ctx context.Context, conf *config.Config, file string, o whatIfOptions, stdout, stderr io.Writer) error {
	since, err := pointInTime("since", o.since, time.Now())
	if err != nil {
		return err
	}
	asIf := dmarc.Policy(o.asIf)
	if asIf != "" && asIf != dmarc.PolicyQuarantine && asIf != dmarc.PolicyReject {
		return cli.Usage(fmt.Errorf("--as-if-policy %q is no policy; it may be quarantine or reject", o.asIf))
	}
	which := journal.Filter{Since: since}
	if o.domain != "" {
		if which.Domain, err = domain.ParseArgument(o.domain); err != nil {
			return cli.Usage(fmt.Errorf("--domain: %w", err))
		}
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
	var tally whatif.Tally
	watch := newCounter(stderr)
	err = past.Each(ctx, which, func(e *journal.Entry) bool {
		judged := whatif.Judge(asked(e, asIf), r)
		if o.upgrade {
			e.Observe = false // compare decisions, carried out or not
		}
		tally.Add(e, judged)
		watch.count()
		return ctx.Err() == nil
	})
	watch.end()
	if err = errors.Join(err, ctx.Err()); err != nil {
		return reading(conf, err)
	}
	const most, mostJSON = 5, 100
	short := tally.Result(0)
	if o.upgrade && short.Changed == 0 && (short.Unjudged == 0 || !o.json) {
		for _, u := range short.Unknown {
			fmt.Fprintf(stdout, "%d of %d messages cannot be judged from the journal: %s\n", u.Messages, short.Messages, printable(u.Name))
		}
		return reading(conf, past.Unread())
	}
	if o.json {
		return errors.Join(printJSON(stdout, tally.Result(mostJSON)), reading(conf, past.Unread()))
	}
	under := file
	if asIf != "" {
		under += ", and p=none taken as p=" + o.asIf
	}
	showWhatIf(stdout, under, tally.Result(most))
	return reading(conf, past.Unread())
}

// asked is a message as it would be had its author's domain, where it asks for nothing, published this policy.
func asked(e *journal.Entry, p dmarc.Policy) *journal.Entry {
	if p == "" {
		return e
	}
	other := *e
	other.Evidence.DMARC = make([]dmarc.Result, len(e.Evidence.DMARC))
	for i, d := range e.Evidence.DMARC {
		other.Evidence.DMARC[i] = d.AsIf(p)
	}
	return &other
}

// counter tells a person who waits how many messages were looked at.
type counter struct {
	w    io.Writer // nil: nobody waits
	n    int
	said time.Time
}

func newCounter(stderr io.Writer) *counter {
	if !cli.Terminal(stderr) {
		stderr = nil
	}
	return &counter{w: stderr, said: time.Now()}
}

func (c *counter) count() {
	if c.n++; c.w != nil && time.Since(c.said) > time.Second {
		c.said = time.Now()
		fmt.Fprintf(c.w, "\r%d messages ...", c.n)
	}
}

// end takes the line away.
func (c *counter) end() {
	if c.w != nil {
		fmt.Fprint(c.w, "\r                              \r")
	}
}

func showWhatIf(w io.Writer, under string, r whatif.Result) {
	paint := cli.Paint(w)
	if r.Messages == 0 {
		fmt.Fprintln(w, "no messages")
		return
	}
	fmt.Fprintf(w, "under %s\n%d messages from %s to %s\n", under, r.Messages, r.First.Format("2006-01-02 15:04"), r.Last.Format("2006-01-02 15:04"))
	line := func(n int, what string) { fmt.Fprintf(w, "%8d  %6s  %s\n", n, share(n, r.Messages), what) }
	line(r.Same, "as it was")
	line(r.Changed, "would change")
	if r.Unjudged > 0 {
		line(r.Unjudged, "cannot be judged from the journal:")
		for _, u := range r.Unknown {
			fmt.Fprintf(w, "%18s%d: %s\n", "", u.Messages, printable(u.Name))
		}
	}
	for _, c := range r.Changes {
		change := inWordsOf(c.From, c.To)
		switch to := c.To.Done; {
		case strings.HasPrefix(to, "refused"):
			change = paint.Bad(change)
		case to == "tagged", to == "held", strings.HasPrefix(to, "deferred"):
			change = paint.Middling(change)
		default:
			change = paint.Good(change)
		}
		fmt.Fprintf(w, "\n%8d  %6s  %s\n", c.Messages, share(c.Messages, r.Messages), change)
		for _, by := range []struct {
			name   string
			counts []whatif.Count
		}{{"authors", c.Authors}, {"clients", c.Clients}, {"senders", c.Senders}} {
			var words []string
			for _, n := range by.counts {
				words = append(words, fmt.Sprintf("%s %d", printable(n.Name), n.Messages))
			}
			fmt.Fprintf(w, "%18s%s: %s\n", "", by.name, strings.Join(words, ", "))
		}
		for _, e := range c.Examples {
			fmt.Fprintf(w, "%18sfor example %s at %s, %s from %s\n", "", printable(e.QueueID), e.Time.Format(time.DateTime), printable(e.Author), e.Client)
		}
	}
	if r.Granted > 0 {
		fmt.Fprintf(w, "\n%d would be signed that were not, if there was a key: see signpost sign.\n", r.Granted)
	}
}

// share is a part in per cent, with enough digits not to be nothing.
func share(n, of int) string {
	switch part := 100 * float64(n) / float64(of); {
	case n > 0 && part < 0.1:
		return "< 0.1%"
	case n < of && part > 99.9:
		return "> 99.9%"
	default:
		return fmt.Sprintf("%.1f%%", part)
	}
}

// inWordsOf says what changes; the role too where it is another one.
func inWordsOf(from, to whatif.Fate) string {
	text := from.Done + " -> " + to.Done
	if from.Role != to.Role {
		roles := map[policy.Role]string{policy.Sign: "signing", policy.Verify: "verifying", policy.Leave: "leaving alone", policy.Refuse: "refusing"}
		text += " (" + roles[to.Role] + " instead of " + roles[from.Role] + ")"
	}
	return text
}
