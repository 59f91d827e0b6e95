package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/internal/explain"
	"signpost/internal/setup"
	"signpost/internal/spf"
)

func spfCommand(load func() (*config.Config, error)) *cobra.Command {
	var sender, helo, zone string
	var asJSON bool
	c := &cobra.Command{
		Use:   "spf DOMAIN IP [--sender ADDRESS] [--helo NAME]",
		Short: "Show whether a client may send for a domain by SPF, and each term on the way",
		Long: "Show whether a client with the address IP may send mail of a domain by SPF, as the daemon would find it for a MAIL\n" +
			"FROM in it: each record, each term that is tried, whether it matches, and how many of the ten terms that may ask DNS,\n" +
			"and of the two look-ups that may find nothing, are used up by then. With --dns a zone file answers, for trying a\n" +
			"record out before it is published.",
		Example: "  signpost spf example.org 192.0.2.25\n  signpost spf example.org 2001:db8::25 --sender ann@example.org --helo mail.example.org",
		Args:    cobra.ExactArgs(2),

		ValidArgsFunction: hostedDomains(load),
		RunE: func(c *cobra.Command, args []string) error {
			domain, err := domain.ParseArgument(args[0])
			if err != nil {
				return cli.Usage(err)
			}
			client, err := netip.ParseAddr(args[1])
			if err != nil {
				return cli.Usage(fmt.Errorf("%q is no IP address", args[1]))
			}
			view, err := walkView(load, zone)
			if err != nil {
				return err
			}
			result, walk := spf.Trace(c.Context(), view, client, cmp.Or(helo, domain), cmp.Or(sender, "postmaster@"+domain))
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					spf.Result
					*spf.Walk
				}{result, walk})
			}
			showSPF(c.OutOrStdout(), result, walk)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&sender, "sender", "", "MAIL FROM `ADDRESS`, which macros look at (default: postmaster@DOMAIN)")
	f.StringVar(&helo, "helo", "", "the `NAME` that the client said in HELO or EHLO (default: DOMAIN)")
	f.StringVar(&zone, "dns", "", "answer DNS from this zone `FILE` alone")
	f.BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func showSPF(w io.Writer, r spf.Result, walk *spf.Walk) {
	paint := cli.Paint(w)
	row := func(name, text string) { fmt.Fprintf(w, "%-12s %s\n", name, printable(text)) }
	writeRows(w, explain.SPFRows(walk.Steps))
	row("counted", fmt.Sprintf("%d of 10 terms that ask DNS, %d of 2 look-ups that find nothing", walk.Terms, walk.Voids))
	fmt.Fprintf(w, "\n%-12s %s for %s\n", "result", paint.Status(string(r.Status)), printable(r.Domain))
	if r.Reason != "" {
		row("because", r.Reason)
	}
}

func dmarcCommand(load func() (*config.Config, error)) *cobra.Command {
	var zone string
	var asJSON bool
	c := &cobra.Command{
		Use:   "dmarc DOMAIN",
		Short: "Show the DMARC policy for mail from a domain, and each name on the way",
		Long: "Show the DMARC policy for mail with a domain in From, as RFC 9989 finds it by its tree walk: each name that is asked,\n" +
			"its record, the Organizational Domain, and the policy that applies. With --dns a zone file answers, for trying a\n" +
			"record out before it is published.",
		Example: "  signpost dmarc news.example.org",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: hostedDomains(load),
		RunE: func(c *cobra.Command, args []string) error {
			domain, err := domain.ParseArgument(args[0])
			if err != nil {
				return cli.Usage(err)
			}
			view, err := walkView(load, zone)
			if err != nil {
				return err
			}
			result, steps := dmarc.Explain(c.Context(), view, domain)
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					dmarc.Result
					Status string       `json:"status"`
					Steps  []dmarc.Step `json:"steps"`
				}{result, policyStatus(result), steps})
			}
			showDMARC(c.OutOrStdout(), result, steps)
			return nil
		},
	}
	c.Flags().StringVar(&zone, "dns", "", "answer DNS from this zone `FILE` alone")
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func showDMARC(w io.Writer, r dmarc.Result, steps []dmarc.Step) {
	paint := cli.Paint(w)
	row := func(name, text string) { fmt.Fprintf(w, "%-12s %s\n", name, printable(text)) }
	writeRows(w, explain.DMARCRows(steps))
	fmt.Fprintln(w)
	row("org. domain", cmp.Or(r.OrgDomain, "not known"))
	if status := policyStatus(r); status != "found" {
		fmt.Fprintf(w, "%-12s %s\n", "policy", paint.Status(status))
	} else {
		row("policy", explain.Policy(r))
		if r.Testing {
			row("", "t=y: the owner is testing, so it is one step milder than it says")
		}
	}
	if r.Reason != "" {
		row("because", r.Reason)
	}
}

// policyStatus is "found", or why there is no policy: none, temperror or permerror.
func policyStatus(r dmarc.Result) string { return cmp.Or(string(r.Status), "found") }

// walkView asks what the daemon asks, for as long as the daemon would, or a zone file.
func walkView(load func() (*config.Config, error), zone string) (*dns.View, error) {
	conf, err := load()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	resolver, err := newResolver(conf, zone, log)
	if err != nil {
		return nil, err
	}
	return resolver.View(netip.Addr{}).Until(time.Now().Add(conf.DNS.MessageTimeout)), nil
}

// printJSON writes for machines. A terminal may show it too, so that it has nothing in it that is not printable.
func printJSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(cli.PrintableJSON(text), '\n'))
	return err
}

// hostedDomains completes a first argument with the domains of this host, where the state can be read.
func hostedDomains(load func() (*config.Config, error)) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		conf, err := load()
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		hosted, err := setup.KeyStore(conf).Hosted()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.Sorted(maps.Keys(hosted)), cobra.ShellCompDirectiveNoFileComp
	}
}
