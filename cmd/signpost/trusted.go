package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/setup"
	"signpost/internal/term"
)

func trustedCommand(load func() (*config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "trusted ADDRESS",
		Short: "Check whether the configuration trusts a client's address",
		Long: "Check whether the configuration trusts a client's address, and print the key that trusts it: trusted_networks,\n" +
			"verify.skip_networks, dmarc.trusted_forwarders, or a forwarder or an [[allow]] that has a network and has not expired.\n" +
			"fail2ban runs this command before it bans a client: /usr/share/doc/signpost/examples/fail2ban.\n\n" +
			"Exit code 0: trusted, 1: not trusted, 2: usage or configuration error.",
		Example: "  signpost trusted 192.0.2.25",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			client, err := netip.ParseAddr(args[0])
			if err != nil {
				return cli.Usage(fmt.Errorf("%q is not an IP address", args[0]))
			}
			key := setup.Rules(conf).TrustedAs(client, time.Now())
			if key == "" {
				return fmt.Errorf("%s is not trusted by any entry of the configuration", client)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", client, term.Printable(key))
			return nil
		}),
	}
}
