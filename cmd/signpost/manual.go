package main

import (
	"os"

	"github.com/spf13/cobra"

	"signpost/internal/man"
)

// manualCommand returns the hidden command that prints the manual pages for make man. It prints signpost(8); with the argument SAMPLE, it
// prints signpost.toml(5).
func manualCommand(root *cobra.Command) *cobra.Command {
	c := man.Command(root, page())
	program := c.RunE
	c.Use, c.Args = "manual [SAMPLE]", cobra.MaximumNArgs(1)
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return program(c, args)
		}
		data, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		sample, err := man.ReadSample(data)
		if err != nil {
			return err
		}
		return man.Config(c.OutOrStdout(), sample)
	}
	return c
}

func page() man.Page {
	return man.Page{
		Section: "8",
		Files: [][2]string{
			{"/etc/signpost/signpost.toml", "The configuration; it may be empty."},
			{"/etc/signpost/conf.d/*.toml", "Configuration files that are read after signpost.toml; see signpost.toml(5)."},
			{"/var/spool/postfix/signpost/milter.sock", "The default socket for Postfix; see listen in signpost.toml(5)."},
			{"/var/lib/signpost", "The state directory: keys, hosted domains, observations of key records, locks and the journal."},
			{"/var/lib/signpost/cluster/rules.toml", "The forwarders, [[allow]] and [[deny]] that the hosts of a cluster share."},
			{"/var/lib/signpost/keys/DOMAIN/SELECTOR.pem", "A private key. SELECTOR.json in the same directory is its metadata."},
			{"/run/signpost-tables/socket", "The default socket of signpost tables serve; see server in signpost.toml(5)."},
			{"/var/lib/signpost-tables/answers", "The answers that signpost tables serve keeps for outages. Those of the daemon are in /var/lib/signpost/tables."},
			{"/usr/share/doc/signpost", "README.md, docs and examples. After make install, they are below PREFIX."},
		},
		Exit:    "The command check has the exit codes of a plugin of a monitoring system.",
		SeeAlso: []string{"signpost.toml(5)", "signpost-cluster(8)", "dkimkey(1)", "greyskip(1)", "postconf(5)", "postmap(1)", "socketmap_table(5)", "cleanup(8)", "smtpd(8)"},
	}
}
