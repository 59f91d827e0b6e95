package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/internal/glance"
	"signpost/internal/journal"
	"signpost/internal/report/received"
	"signpost/internal/report/seen"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/policy"
)

func domainCommand(load func() (*config.Config, error), file *string) *cobra.Command {
	var dir string
	var asJSON bool
	var addresses []string
	c := &cobra.Command{
		Use:   "domain DOMAIN",
		Short: "Show everything about one domain: keys, DNS records, mail and reports",
		Long: "Show everything about one domain: its keys with their next steps and what receivers saw of them, the checks of its DNS records\n" +
			"(as in signpost doctor DOMAIN) with records to copy, the mail of the last " + glanceMail + " in the journal, and what the reports of\n" +
			"receivers state, with the cost of a stricter DMARC policy. DOMAIN need not be hosted here.\n\n" +
			"Exit code 0: nothing is red; 1: a check is red, or a key needs action; 2: usage or configuration error.",
		Example: "  sudo signpost domain example.org\n  signpost domain example.org --json",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: hostedDomains(load),
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			name, err := domain.ParseArgument(args[0])
			if err != nil {
				return cli.Usage(err)
			}
			d := setup.Doctor{Config: conf, File: *file, Postfix: dir, Progress: func(format string, a ...any) { term.Progress(c.ErrOrStderr(), format, a...) }}
			for _, s := range addresses {
				a, err := netip.ParseAddr(s)
				if err != nil {
					return cli.Usage(fmt.Errorf("--address: %q is not an IP address", s))
				}
				d.Addresses = append(d.Addresses, a.Unmap())
			}
			d.Progress("checking the DNS records of %q", name)
			all, err := lookAt(c.Context(), conf, d, name, time.Now())
			if err != nil {
				return err
			}
			if asJSON {
				err = term.WriteJSON(c.OutOrStdout(), all)
			} else {
				err = all.Write(c.OutOrStdout())
			}
			return cmp.Or(err, needsAction(all))
		}),
	}
	c.Flags().StringVar(&dir, "postfix", "", "Postfix's configuration `DIR`")
	c.Flags().StringSliceVar(&addresses, "address", nil, "public address `ADDR` that this host sends from (repeatable)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON (/usr/share/doc/signpost/docs/json.md)")
	cli.Complete(c, map[string]cobra.CompletionFunc{"postfix": cli.Directory(), "address": cli.Any()})
	return c
}

// needsAction returns an error if a finding is red, or a key needs action.
func needsAction(d *glance.Domain) error {
	for _, f := range d.Findings {
		if f.Level == doctor.Red {
			return errors.New("action needed: at least one finding is red")
		}
	}
	for _, k := range d.Keys {
		if k.Action != "" {
			return errors.New("action needed: key " + k.Selector)
		}
	}
	return nil
}

// lookAt returns everything about a domain. It looks up the DNS records first, because that reads private keys, which need the rights of the
// user who called the command.
func lookAt(ctx context.Context, conf *config.Config, d setup.Doctor, name string, now time.Time) (all *glance.Domain, err error) {
	findings, found, hosted, err := d.Domain(ctx, name)
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	if all, err = localGlance(ctx, conf, name, now); err != nil {
		return nil, err
	}
	all.Hosted, all.DNS, all.Findings = hosted, found, findings
	all.Optional = glance.Proposed(name, found)
	return all, nil
}

// glanceMail is the period of the journal, as text.
const glanceMail = "7 days"

// localGlance returns what this host knows about a domain without DNS lookups.
func localGlance(ctx context.Context, conf *config.Config, name string, now time.Time) (all *glance.Domain, err error) {
	all = &glance.Domain{Name: name, At: now.UTC(), Findings: []doctor.Finding{}, Optional: []glance.Record{}, Keys: []glance.Key{}}
	status, err := keyStatus(conf, now)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := seen.Load(conf.StateDir, now)
	if err != nil {
		return nil, err
	}
	all.Keys = glance.NewKeys(name, status, file, now)
	hosted, err := setup.KeyStore(conf).Hosted()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if all.Hosted = hosted[name] || len(all.Keys) > 0; all.Hosted {
		if all.Reports, err = glanceReports(ctx, conf, name, now); err != nil {
			return nil, err
		}
	}
	all.Mail, err = glanceCount(ctx, conf, name, now)
	return all, err
}

func glanceReports(ctx context.Context, conf *config.Config, name string, now time.Time) (*glance.Reports, error) {
	s, err := openReceived(ctx, conf)
	if errors.Is(err, received.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	since := now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -receivedDays)
	a, err := aboutDomain(ctx, conf, s, received.Filter{Domain: name, Since: since, Until: now}, mostShown, false)
	return glance.NewReports(a), err
}

// glanceCount counts the mail of a domain.
func glanceCount(ctx context.Context, conf *config.Config, name string, now time.Time) (m *glance.Mail, err error) {
	r, err := readJournal(conf)
	if errors.Is(err, journal.ErrNone) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	m = &glance.Mail{Since: now.UTC().AddDate(0, 0, -7)}
	if oldest, _, err := r.Covers(ctx); err == nil && oldest.After(m.Since) {
		m.Since = oldest.UTC()
	}
	outbound := func(o journal.Outcome) bool { return o.Role != string(policy.RoleVerify) }
	for _, count := range []struct {
		into *int64
		is   func(journal.Outcome) bool
	}{
		{&m.Signed, func(o journal.Outcome) bool {
			return o.Role == string(policy.RoleSign) && o.Action == string(policy.Sign)
		}},
		{&m.Unsigned, func(o journal.Outcome) bool { return outbound(o) && o.Action != string(policy.Sign) }},
		{&m.Failed, func(o journal.Outcome) bool { return !outbound(o) && o.Failed() }},
		{&m.Passed, func(o journal.Outcome) bool { return !outbound(o) && !o.Failed() && o.DMARC == "pass" }},
		{&m.Other, func(o journal.Outcome) bool { return !outbound(o) && !o.Failed() && o.DMARC != "pass" }},
	} {
		if *count.into, _, err = r.Number(ctx, journal.Filter{Domain: name, Since: m.Since, Outcome: count.is}); err != nil {
			return nil, journal.Reading(conf.JournalFile(), err)
		}
	}
	return m, nil
}
