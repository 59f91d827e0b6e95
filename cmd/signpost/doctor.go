package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/doctor/host"
	"signpost/internal/forwarders"
	"signpost/internal/journal"
	"signpost/internal/owner"
	"signpost/internal/setup"
	"signpost/internal/spf"
	"signpost/internal/term"
	"signpost/policy"
)

func doctorCommand(load func() (*config.Config, error), file *string) *cobra.Command {
	var dir string
	var asJSON bool
	var addresses, selectors []string
	c := &cobra.Command{
		Use:   "doctor [DOMAIN]",
		Short: "Check Postfix, this host and DNS records, and show the fixes",
		Long: "Check Postfix, this host and the DNS records of the hosted domains, or only the DNS records of DOMAIN.\n\n" +
			"doctor changes nothing. Each finding states its level, the fault, where it is, why it matters, and the fix. A check is yellow\n" +
			"if the user has no permission for it: run doctor as root. If the configuration has an error, doctor reports the error in\n" +
			"red and uses the defaults for the other checks. With DOMAIN, it then ends with exit code 2. docs/doctor.md lists the checks.\n\n" +
			"Exit code 0: no finding is red; 1: at least one is; 2: usage or configuration error.",
		Example: "  sudo signpost doctor\n  sudo signpost doctor --address 203.0.113.25\n  signpost doctor example.org --selector s1",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var given []netip.Addr
			for _, s := range addresses {
				a, err := netip.ParseAddr(s)
				if err != nil {
					return cli.Usage(fmt.Errorf("--address: %q is not an IP address", s))
				}
				given = append(given, a.Unmap())
			}
			if len(selectors) > 0 && len(args) == 0 {
				return cli.Usage(errors.New("--selector requires DOMAIN; without it, doctor checks the keys of this host"))
			}
			if len(args) > 0 && dir != "" {
				return cli.Usage(errors.New("--postfix and DOMAIN exclude each other: with DOMAIN, doctor does not check Postfix"))
			}
			conf, faulty := load()
			if faulty != nil && len(args) > 0 {
				return faulty
			}
			if faulty != nil {
				conf = config.Default()
			}
			d := setup.Doctor{Config: conf, File: *file, Faulty: faulty, Postfix: dir, Addresses: given, Selectors: selectors,
				Unkeyed:  func(ctx context.Context) []string { return unkeyed(ctx, conf, time.Now()) },
				Inbound:  func(ctx context.Context) host.Inbound { return inbound(ctx, conf, time.Now()) },
				Progress: func(format string, a ...any) { term.Progress(c.ErrOrStderr(), format, a...) }}
			found, err := d.Run(c.Context(), args...)
			if err = cmp.Or(err, c.Context().Err()); err != nil {
				return err
			}
			return printFindings(c.OutOrStdout(), found, asJSON)
		},
	}
	c.Flags().StringVar(&dir, "postfix", "", "Postfix's configuration `DIR`")
	c.Flags().StringSliceVar(&addresses, "address", nil, "public address `ADDR` that this host sends from (repeatable)")
	c.Flags().StringSliceVar(&selectors, "selector", nil, "check the DKIM key with the selector `NAME` of DOMAIN (repeatable)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	c.ValidArgsFunction = hostedDomains(load)
	cli.Complete(c, map[string]cobra.CompletionFunc{"postfix": cli.Directory(), "address": cli.Any(), "selector": cli.Any()})
	return c
}

// inboundTime limits how long the check of gateways reads the journal.
const inboundTime = 2 * time.Second

// mostUnkeyed limits the number of domains without a key that doctor reports.
const mostUnkeyed = 50

// inbound counts the messages of each client in a sample of the inbound mail. It reads the journal with the rights of the user who owns the
// journal's directory. After inboundTime it returns the counts so far.
func inbound(ctx context.Context, conf *config.Config, now time.Time) (in host.Inbound) {
	back, err := owner.Act(conf.JournalFile())
	if err != nil {
		return host.Inbound{Err: err}
	}
	defer func() { in.Err = errors.Join(in.Err, back()) }()
	r, err := readJournal(conf)
	if errors.Is(err, journal.ErrNone) {
		return in
	}
	if err != nil {
		return host.Inbound{Err: err}
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, inboundTime)
	defer cancel()
	in.Clients = map[netip.Addr]host.ClientMail{}
	omit := slices.Concat(conf.TrustedNetworks, conf.Verify.SkipNetworks)
	err = forwarders.Inbound(ctx, r, now, func(e *journal.Entry) {
		client := e.Evidence.Connection.Client.Unmap().WithZone("")
		result := e.Evidence.SPF
		if !client.IsValid() || result == nil || slices.ContainsFunc(omit, func(p netip.Prefix) bool { return p.Contains(client) }) {
			return
		}
		n := in.Clients[client]
		n.Messages++
		if result.Status == spf.Fail || result.Status == spf.SoftFail {
			n.SPFFailed++
		}
		in.Clients[client], in.Messages, in.Since = n, in.Messages+1, e.Time
	})
	switch {
	case ctx.Err() == nil:
		in.Err = err
	case in.Messages == 0:
		in.Err = fmt.Errorf("%s: timeout after %s", conf.JournalFile(), inboundTime)
	}
	return in
}

// unkeyed returns the domains in the journal of the last 7 days that are in domains.tables and have no key. Errors of the journal are
// findings of another check.
func unkeyed(ctx context.Context, conf *config.Config, now time.Time) (names []string) {
	back, err := owner.Act(conf.JournalFile())
	if err != nil {
		return nil
	}
	defer func() { _ = back() }()
	r, err := readJournal(conf)
	if err != nil {
		return nil
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, inboundTime)
	defer cancel()
	filter := journal.Filter{Since: now.AddDate(0, 0, -7), Outcome: func(o journal.Outcome) bool { return o.Role == string(policy.RoleBypass) }}
	hosted, _ := setup.KeyStore(conf).Hosted()
	_ = r.Each(ctx, filter, func(e *journal.Entry) bool {
		name := e.Assignment.Reason.Domain
		if e.Code == policy.ListedNoKey && !hosted[name] && !slices.Contains(names, name) {
			names = append(names, name)
		}
		return len(names) < mostUnkeyed
	})
	return names
}

// printFindings prints the findings and their count. It returns an error if a finding is red.
func printFindings(w io.Writer, found []doctor.Finding, asJSON bool) error {
	if !asJSON && len(found) > 0 {
		fmt.Fprintln(w, doctor.Count(found))
	}
	if !asJSON {
		printEach(w, found)
	} else {
		if found == nil {
			found = []doctor.Finding{}
		}
		if err := term.WriteJSON(w, found); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level == doctor.Red }) {
		return errors.New("action needed: at least one finding is red")
	}
	return nil
}

// printEach prints findings as text.
func printEach(w io.Writer, found []doctor.Finding) {
	for _, f := range found {
		fmt.Fprintf(w, "%s %s: %s\n", colored(w, f.Level), f.Check, term.PrintableLines(f.Headline()))
		for _, line := range []struct{ name, text string }{{"where", f.Where}, {"why", f.Why}, {"fix", f.Fixes()}} {
			if f.Level != doctor.Green && line.text != "" {
				fmt.Fprintf(w, "       %-5s  %s\n", line.name, strings.ReplaceAll(term.PrintableLines(line.text), "\n", "\n              "))
			}
		}
	}
}

// colored returns the text of a level, in color if w is a terminal.
func colored(w io.Writer, level doctor.Level) string {
	text, p := fmt.Sprintf("%-6s", level), term.Paint(w)
	switch level {
	case doctor.Green:
		return p.Good(text)
	case doctor.Yellow:
		return p.Warn(text)
	}
	return p.Bad(text)
}
