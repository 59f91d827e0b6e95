package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/domain"
	"signpost/keys"
	"signpost/keys/opendkim"
	"signpost/keys/rspamd"
)

type importFlags struct {
	domains  []string
	selector string
	file     string
	unsafe   bool
	dryRun   bool
}

func (e *env) importCommand() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import KEYFILE --selector SELECTOR --domain DOMAIN",
		Short: "Import a key of another program, or all keys of OpenDKIM, rspamd or mailcow",
		Long: `Import a private key that another program signs with. The file is copied, and the original does not change. The key keeps
its selector, and dkimkey rotates it like other keys. The file is in PEM format, or contains an Ed25519 key in base64 as
"rspamadm dkim_keygen -t ed25519" writes it.

The imported key does not sign yet. This command checks its record once and prints when the key may sign. "dkimkey rotate"
activates the key when all name servers have had the record for long enough. dkimkey does not publish the record of an
imported key. If another key is active, the imported key is its successor.

To import the key for several domains, repeat --domain or use --from-file. --from-file reads domains from a file, or from
standard input if it is "-". Write one domain per line; # starts a comment.

--unsafe-activate activates the key immediately. It is unsafe because verification of the signatures fails if DNS does not
have the record of the key. The log and the key's metadata record the use of this flag.

--dry-run shows what the command would import and whether each record is in DNS, and changes nothing.

To import all keys of another program, use dkimkey import opendkim, rspamd or mailcow.`,
		Example: "  dkimkey import /etc/dkimkeys/mail.private --selector mail --domain example.org\n  dkimkey import opendkim /etc/opendkim/KeyTable /etc/opendkim/SigningTable",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			domains, err := domainList(c, f.domains, f.file)
			if err != nil {
				return err
			}
			selector, err := domain.Parse(f.selector)
			if err != nil {
				return cli.Usage(fmt.Errorf("--selector %q is not a selector", f.selector))
			}
			key := keys.Foreign{Selector: selector, Source: args[0]}
			if _, err := key.Private(); err != nil {
				return err // the domains share this file, so its error is reported only once
			}
			var found []keys.Foreign
			for _, d := range domains {
				key.Domain = d
				found = append(found, key)
			}
			return e.importKeys(c, found, f)
		},
	}
	c.PersistentFlags().BoolVar(&e.json, "json", false, "print JSON")
	c.PersistentFlags().BoolVar(&f.unsafe, "unsafe-activate", false, "activate the key immediately, without checking its record")
	c.PersistentFlags().BoolVar(&f.dryRun, "dry-run", false, "show what would be imported, and change nothing")
	c.Flags().StringSliceVar(&f.domains, "domain", nil, "`DOMAIN` that the key signs for; can be repeated")
	c.Flags().StringVar(&f.selector, "selector", "", "`SELECTOR` of the key's record")
	c.Flags().StringVar(&f.file, "from-file", "", "`FILE` with one domain per line; \"-\" is standard input")
	cli.Complete(c, map[string]cobra.CompletionFunc{"domain": e.words(0), "selector": cli.Any(), "from-file": cli.File()})
	c.AddCommand(e.importOpenDKIM(&f), e.importMailcow(&f), e.importRspamd(&f))
	return c
}

func (e *env) importOpenDKIM(f *importFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "opendkim KEYTABLE SIGNINGTABLE",
		Short: "Import all keys of an OpenDKIM installation",
		Long: "Import all keys of an OpenDKIM installation. KEYTABLE and SIGNINGTABLE are the values in opendkim.conf, with or without\n" +
			"\"file:\" or \"refile:\". The command prints each line that has no equivalent in Signpost. See also dkimkey import --help.",
		Example: "  dkimkey import opendkim /etc/opendkim/KeyTable refile:/etc/opendkim/SigningTable",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			found, skipped, err := opendkim.Read(args[0], args[1])
			return e.importAll(c, found, skipped, err, *f)
		},
	}
}

func (e *env) importMailcow(f *importFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "mailcow SELECTORS KEYS",
		Short: "Import all keys of a mailcow installation",
		Long: `Import all keys of a mailcow installation. mailcow keeps its keys in Redis. SELECTORS and KEYS are files with the output of
redis-cli --json (version 7.0 or later). To write them, run in the directory of mailcow:

  umask 077
  . ./mailcow.conf
  redis() { docker compose exec -T -e REDISCLI_AUTH="$REDISPASS" redis-mailcow redis-cli --json "$@"; }
  redis HGETALL DKIM_SELECTORS >selectors.json
  redis HGETALL DKIM_PRIV_KEYS >keys.json

Delete the files after the import, because keys.json contains the private keys. The command prints each field that it does
not import. See also dkimkey import --help.`,
		Example: "  dkimkey import mailcow selectors.json keys.json --dry-run\n  dkimkey import mailcow selectors.json keys.json",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			found, skipped, err := rspamd.ReadMailcow(args[0], args[1])
			return e.importAll(c, found, skipped, err, *f)
		},
	}
}

func (e *env) importRspamd(f *importFlags) *cobra.Command {
	var redisKeys, redisSelectors string
	c := &cobra.Command{
		Use:   "rspamd CONFIG",
		Short: "Import all keys of an rspamd installation",
		Long: `Import the keys with which rspamd signs. CONFIG is a file with rspamd's configuration as JSON:

  rspamadm configdump --json dkim_signing >dkim_signing.json

If rspamd keeps its keys in Redis, write the hash key_prefix of the configuration to a file with redis-cli --json (version
7.0 or later). If the configuration has selector_prefix, write that hash to a second file:

  umask 077
  redis-cli --json HGETALL DKIM_KEYS >keys.json
  redis-cli --json HGETALL DKIM_SELECTORS >selectors.json

The command prints each key that it does not import. See also dkimkey import --help.`,
		Example: "  dkimkey import rspamd dkim_signing.json\n  dkimkey import rspamd dkim_signing.json --redis-keys keys.json --redis-selectors selectors.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			found, skipped, err := rspamd.Read(args[0], redisKeys, redisSelectors)
			return e.importAll(c, found, skipped, err, *f)
		},
	}
	c.Flags().StringVar(&redisKeys, "redis-keys", "", "`FILE` with the hash key_prefix")
	c.Flags().StringVar(&redisSelectors, "redis-selectors", "", "`FILE` with the hash selector_prefix")
	cli.Complete(c, map[string]cobra.CompletionFunc{"redis-keys": cli.File(), "redis-selectors": cli.File()})
	return c
}
