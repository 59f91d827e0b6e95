package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/internal/explain"
	"signpost/internal/setup"
	"signpost/internal/spf"
	"signpost/internal/term"
)

func spfCommand(load func() (*config.Config, error)) *cobra.Command {
	var sender, helo, zone string
	var asJSON bool
	c := &cobra.Command{
		Use:   "spf DOMAIN IP [--sender ADDRESS] [--helo NAME]",
		Short: "Check a client by the SPF record of a domain, and show each term",
		Long: "Check a client with the address IP by the SPF record of DOMAIN, as the daemon does for an envelope sender (MAIL FROM) in\n" +
			"DOMAIN. The output shows each record and each term that is evaluated, whether the term matches, and how many of the 10 DNS\n" +
			"lookups and 2 void lookups of RFC 7208 are used so far.\n\n" +
			"With --dns, a zone file answers all lookups, to try a record before it is published.",
		Example: "  signpost spf example.org 192.0.2.25\n  signpost spf example.org 2001:db8::25 --sender ann@example.org --helo mail.example.org",
		Args:    cobra.ExactArgs(2),

		ValidArgsFunction: hostedDomains(load),
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			domain, err := domain.ParseArgument(args[0])
			if err != nil {
				return cli.Usage(err)
			}
			client, err := netip.ParseAddr(args[1])
			if err != nil {
				return cli.Usage(fmt.Errorf("%q is not an IP address", args[1]))
			}
			view, err := walkView(conf, zone)
			if err != nil {
				return err
			}
			result, walk := spf.Trace(c.Context(), view, client, cmp.Or(helo, domain), cmp.Or(sender, "postmaster@"+domain))
			if err := c.Context().Err(); err != nil {
				return err
			}
			if asJSON {
				return term.WriteJSON(c.OutOrStdout(), struct {
					spf.Result
					*spf.Path
				}{result, walk})
			}
			explain.WriteSPF(c.OutOrStdout(), result, walk)
			return nil
		}),
	}
	f := c.Flags()
	f.StringVar(&sender, "sender", "", "MAIL FROM `ADDRESS`, for macros (default: postmaster@DOMAIN)")
	f.StringVar(&helo, "helo", "", "the `NAME` that the client sent in HELO or EHLO (default: DOMAIN)")
	f.StringVar(&zone, "dns", "", "answer all DNS lookups from this zone `FILE`")
	f.BoolVar(&asJSON, "json", false, "print everything as JSON")
	cli.Complete(c, map[string]cobra.CompletionFunc{"sender": cli.Any(), "helo": cli.Any(), "dns": cli.File()})
	return c
}

// walkView returns a view for DNS lookups. It answers from a zone file, or queries DNS as the daemon does, with the same timeout.
func walkView(conf *config.Config, zone string) (*dns.View, error) {
	log := slog.New(slog.DiscardHandler)
	resolver, err := newResolver(conf, zone, log)
	if err != nil {
		return nil, err
	}
	return resolver.View(netip.Addr{}).Until(time.Now().Add(conf.DNS.MessageTimeout)), nil
}

// hostedDomains completes the first argument with the hosted domains, if the state directory can be read.
func hostedDomains(load func() (*config.Config, error)) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return hostedDomain(load)(c, args, typed)
	}
}

// hostedDomain completes the value of a flag with the hosted domains.
func hostedDomain(load func() (*config.Config, error)) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		conf, err := load()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		hosted, err := setup.KeyStore(conf).Hosted()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.Sorted(maps.Keys(hosted)), cobra.ShellCompDirectiveNoFileComp
	}
}
