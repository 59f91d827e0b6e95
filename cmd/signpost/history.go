package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dkim"
	"signpost/internal/domain"
	"signpost/internal/filter"
	"signpost/internal/journal"
	"signpost/policy"
)

// logOptions are the flags of signpost log.
type logOptions struct {
	domain, client, since, until          string
	verdict, spf, dkim, dmarc, arc, roles []string
	failed, follow, json                  bool
	most                                  int
}

func logCommand(load func() (*config.Config, error)) *cobra.Command {
	var o logOptions
	c := &cobra.Command{
		Use:   "log [-f] [-n N] [--domain DOMAIN] [--client ADDRESS] [--failed] ...",
		Short: "List the messages in the journal, one a line, the newest last",
		Long: "List the messages in the journal, one a line, the newest last: when it came (local time), its queue ID, the client, the\n" +
			"Author Domain, the role, the verdict (in brackets where observe mode did not carry it out), the results of the checks,\n" +
			"and the reason where it was not simply accepted or signed. In a narrow terminal results and reason have a line below.\n" +
			"\"signpost explain QUEUE-ID\" tells all of one. Flags choose; of several all have to fit. A WORD may be a list:\n" +
			"--spf fail,softfail. A TIME is " + timeFormats + ".",
		Example: "  signpost log --failed --since 14d\n  signpost log -f --domain example.org\n  signpost log --client 203.0.113.0/24 --dmarc fail -n 200",
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
			return history(c.Context(), conf, o, f, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.domain, "domain", "", "only those of this Author `DOMAIN`")
	f.StringVar(&o.client, "client", "", "only those of this client, an `ADDRESS` or a network")
	f.StringSliceVar(&o.roles, "role", nil, "only those that got this role: `WORD` is sign, verify, leave or refuse")
	f.StringSliceVar(&o.verdict, "verdict", nil, "only those of which this became: `WORD` is accepted, signed, tagged, held, deferred or refused")
	f.StringSliceVar(&o.spf, "spf", nil, "only those with this result, a `WORD` such as fail")
	f.StringSliceVar(&o.dkim, "dkim", nil, "the same for the best of the signatures: `WORD`")
	f.StringSliceVar(&o.dmarc, "dmarc", nil, "the same for the worst of the Author Domains: `WORD`")
	f.StringSliceVar(&o.arc, "arc", nil, "the same for the chain: `WORD`")
	f.BoolVar(&o.failed, "failed", false, "only those that were not simply accepted or signed, or failed DMARC")
	f.StringVar(&o.since, "since", "", "only those from this `TIME` on")
	f.StringVar(&o.until, "until", "", "only those before this `TIME`")
	f.IntVarP(&o.most, "lines", "n", 50, "the newest `N` of them")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with those that come, until interrupted")
	f.BoolVar(&o.json, "json", false, "print all that is known of each, as JSON, one object a line")
	return c
}

// filter reads the flags.
func (o *logOptions) filter(now time.Time) (f journal.Filter, err error) {
	wrong := func(format string, args ...any) (journal.Filter, error) {
		return journal.Filter{}, cli.Usage(fmt.Errorf(format, args...))
	}
	if f.Since, err = pointInTime("since", o.since, now); err != nil {
		return f, err
	}
	if f.Before, err = pointInTime("until", o.until, now); err != nil {
		return f, err
	}
	if o.domain != "" {
		if f.Domain, err = domain.ParseArgument(o.domain); err != nil {
			return f, cli.Usage(err)
		}
	}
	if o.client != "" {
		if f.Client, err = readNetwork(o.client); err != nil {
			return wrong("--client %q is neither an address nor a network such as 203.0.113.0/24", o.client)
		}
	}
	switch {
	case o.most < 0 || o.most == 0 && !o.follow:
		return wrong("-n %d: how many messages are to be shown? At least 1, or with -f 0", o.most)
	case o.follow && o.until != "":
		return wrong("-f goes on with what comes, and --until ends before: take one of them")
	}
	words := []struct {
		flag  string
		given []string
		known []string
	}{
		{"role", o.roles, []string{string(policy.Sign), string(policy.Verify), string(policy.Leave), string(policy.Refuse)}},
		{"verdict", o.verdict, filter.Dispositions()},
		{"spf", o.spf, []string{"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}},
		{"dkim", o.dkim, []string{string(dkim.None), "pass", "fail", "policy", "temperror", "permerror"}},
		{"dmarc", o.dmarc, []string{"pass", "fail", "none", "temperror", "permerror"}},
		{"arc", o.arc, []string{"pass", "fail"}},
	}
	all := !o.failed
	for _, w := range words {
		for _, s := range w.given {
			if !slices.Contains(w.known, s) {
				return wrong("--%s %q: it may be %s", w.flag, s, strings.Join(w.known, ", "))
			}
			all = false
		}
	}
	if all {
		return f, nil
	}
	f.Outcome = func(found journal.Outcome) bool {
		for i, word := range []string{found.Role, found.Verdict, found.SPF, found.DKIM, found.DMARC, found.ARC} {
			if given := words[i].given; len(given) > 0 && !slices.Contains(given, word) {
				return false
			}
		}
		return !o.failed || found.Failed()
	}
	return f, nil
}

// readNetwork takes one address for the network of it alone.
func readNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

// history lists what is there, and with -f goes on.
func history(ctx context.Context, conf *config.Config, o logOptions, f journal.Filter, stdout, stderr io.Writer) error {
	opened, _ := os.Stat(conf.JournalFile()) // before it is opened: another one meanwhile is seen at the next look
	r, err := readJournal(conf)
	if err != nil {
		return err
	}
	t := newTable(stdout)
	show := t.write
	if o.json {
		show = func(all []journal.Entry) error { return writeObjects(stdout, all) }
	}
	last, err := list(ctx, r, f, o.most, show)
	if err == nil && o.follow {
		f.After = last
		return (&follower{conf: conf, reader: r, opened: opened, filter: f, show: show, stderr: stderr}).run(ctx)
	}
	r.Close()
	if ctx.Err() != nil {
		return nil
	}
	return reading(conf, errors.Join(err, r.Unread()))
}

func reading(conf *config.Config, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading %s: %w", conf.JournalFile(), err)
}

// list shows the newest messages, and says after which number others come.
func list(ctx context.Context, r *journal.Reader, f journal.Filter, most int, show func([]journal.Entry) error) (last int64, err error) {
	_, newest, err := r.Covers(ctx) // before the look at the list, so that none falls between them
	if err != nil {
		return 0, err
	}
	if !newest.IsZero() {
		last = newest.UnixMicro()
	}
	if most == 0 {
		return last, nil
	}
	ids, err := r.IDs(ctx, f, most, false)
	if err != nil {
		return 0, err
	}
	slices.Reverse(ids)
	const page = 500 // whole messages in memory
	for some := range slices.Chunk(ids, page) {
		all, err := r.Entries(ctx, some)
		if err := errors.Join(show(all), err); err != nil {
			return 0, err
		}
		last = max(last, some[len(some)-1])
	}
	return last, nil
}

func writeObjects(w io.Writer, all []journal.Entry) error {
	for i := range all {
		text, err := json.Marshal(&all[i])
		if err != nil {
			return err
		}
		if _, err := w.Write(append(cli.PrintableJSON(text), '\n')); err != nil {
			return err
		}
	}
	return nil
}
