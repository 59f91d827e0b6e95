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
		Short: "Show whether a client may send for a domain by SPF, and each term on the way",
		Long: "Show whether a client with the address IP may send mail of a domain by SPF, as the daemon would find it for a MAIL\n" +
			"FROM in it: each record, each term that is tried, whether it matches, and how many of the ten terms that may ask DNS,\n" +
			"and of the two look-ups that may find nothing, are used up by then. With --dns a zone file answers, for trying a\n" +
			"record out before it is published.",
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
	f.StringVar(&sender, "sender", "", "MAIL FROM `ADDRESS`, which macros look at (default: postmaster@DOMAIN)")
	f.StringVar(&helo, "helo", "", "the `NAME` that the client said in HELO or EHLO (default: DOMAIN)")
	f.StringVar(&zone, "dns", "", "answer DNS from this zone `FILE` alone")
	f.BoolVar(&asJSON, "json", false, "print everything as JSON")
	cli.Complete(c, map[string]cobra.CompletionFunc{"sender": cli.Any(), "helo": cli.Any(), "dns": cli.File()})
	return c
}

// walkView returns a view that queries DNS as the daemon does, with its timeout, or answers from a zone file.
func walkView(conf *config.Config, zone string) (*dns.View, error) {
	log := slog.New(slog.DiscardHandler)
	resolver, err := newResolver(conf, zone, log)
	if err != nil {
		return nil, err
	}
	return resolver.View(netip.Addr{}).Until(time.Now().Add(conf.DNS.MessageTimeout)), nil
}

// hostedDomains completes a first argument with the hosted domains, if the state can be read.
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
