package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/domain"
	"signpost/internal/term"
	"signpost/keys"
	"signpost/keys/opendkim"
)

type importFlags struct {
	domains  []string
	selector string
	file     string
	unsafe   bool
}

func (e *env) importCommand() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import KEYFILE --selector SELECTOR --domain DOMAIN",
		Short: "Import a key of another program, or all keys of OpenDKIM",
		Long: `Import a private key (PEM) that another program signs with. The file is copied, and the original does not change. The key
keeps its selector, and dkimkey rotates it like other keys.

The imported key does not sign yet. This command checks its record once and prints when the key may sign. "dkimkey rotate"
activates the key when all name servers have had the record for long enough. dkimkey does not publish the record of an
imported key. If another key is active, the imported key is its successor.

To import the key for several domains, repeat --domain or use --from-file. --from-file reads domains from a file, or from
standard input if it is "-". Write one domain per line; # starts a comment.

--unsafe-activate activates the key immediately. It is unsafe because verification of the signatures fails if DNS does not
have the record of the key. The log and the key's metadata record the use of this flag.

"dkimkey import opendkim KEYTABLE SIGNINGTABLE" imports all keys of an OpenDKIM installation.`,
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
			if _, err := keys.ReadKeyFile(args[0]); err != nil {
				return err // the domains share this file, so its error is reported only once
			}
			var found []opendkim.Key
			for _, d := range domains {
				found = append(found, opendkim.Key{Domain: d, Selector: selector, File: args[0]})
			}
			return e.importKeys(c, found, f)
		},
	}
	c.PersistentFlags().BoolVar(&e.json, "json", false, "print JSON")
	c.PersistentFlags().BoolVar(&f.unsafe, "unsafe-activate", false, "activate the key immediately, without checking its record")
	c.Flags().StringSliceVar(&f.domains, "domain", nil, "`DOMAIN` that the key signs for; can be repeated")
	c.Flags().StringVar(&f.selector, "selector", "", "`SELECTOR` of the key's record")
	c.Flags().StringVar(&f.file, "from-file", "", "`FILE` with one domain per line; \"-\" is standard input")
	cli.Complete(c, map[string]cobra.CompletionFunc{"domain": e.words(0), "selector": cli.Any(), "from-file": cli.File()})
	c.AddCommand(&cobra.Command{
		Use:   "opendkim KEYTABLE SIGNINGTABLE",
		Short: "Import all keys of an OpenDKIM installation",
		Long: "Import all keys of an OpenDKIM installation. KEYTABLE and SIGNINGTABLE are the values in opendkim.conf, with or without\n" +
			"\"file:\" or \"refile:\". The command prints each line that has no equivalent in Signpost. See also dkimkey import --help.",
		Example: "  dkimkey import opendkim /etc/opendkim/KeyTable refile:/etc/opendkim/SigningTable",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			found, skipped, err := opendkim.Read(args[0], args[1])
			if err != nil {
				return err
			}
			for _, s := range skipped {
				fmt.Fprintln(c.ErrOrStderr(), s)
			}
			if len(found) == 0 {
				return errors.New("no key to import")
			}
			return e.importKeys(c, found, f)
		},
	})
	return c
}

func (e *env) importKeys(c *cobra.Command, found []opendkim.Key, f importFlags) error {
	d, err := e.app(c.OutOrStdout(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	d.json = e.json
	synced, err := e.lead(c.Context(), d.conf, c.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := d.store.Make(); err != nil {
		return err
	}
	var domains []string
	of := map[string][]opendkim.Key{}
	for _, k := range found {
		if len(of[k.Domain]) == 0 {
			domains = append(domains, k.Domain)
		}
		of[k.Domain] = append(of[k.Domain], k)
	}
	failed := false
	for i, domain := range domains {
		if len(domains) > 1 {
			term.Progress(c.ErrOrStderr(), "%s: importing keys (%d of %d)", domain, i+1, len(domains))
		}
		failed = d.importDomain(c, of[domain], f.unsafe) || failed
	}
	return errors.Join(attention(failed || d.needed), synced(), d.report(c.OutOrStdout()))
}

// importDomain imports the keys of one domain. It prints errors and reports whether there were any. After an error it continues with
// the next key; the command can be repeated when the cause is fixed.
func (d *app) importDomain(c *cobra.Command, found []opendkim.Key, unsafe bool) (failed bool) {
	fail := func(err error) {
		failed = true
		cli.Print(c.ErrOrStderr(), "dkimkey", err)
	}
	var imported []*keys.Metadata
	// OpenDKIM signs with the first key of a domain. Signpost signs with the newest key, so the first key is imported last.
	for _, k := range slices.Backward(found) {
		metadata, err := d.rotator.Import(c.Context(), k.Domain, k.Selector, k.File, unsafe)
		if err != nil {
			fail(fmt.Errorf("%s: %w", k.Domain, err))
			continue
		}
		if unsafe {
			warnUnsafe(c, metadata)
		}
		imported = append(imported, metadata)
	}
	for _, m := range slices.Backward(imported) {
		d.rotator.Done(m.Domain, fmt.Sprintf("imported key %s (%s, %d bits)", m.Selector, m.Algorithm, m.Bits))
		if m.Algorithm == "rsa" && m.Bits < 2048 {
			fmt.Fprintf(c.ErrOrStderr(), "%s: key %s has only %d bits; dkimkey add %s creates a successor with %d bits\n", m.Domain, m.Selector, m.Bits, m.Domain, d.conf.Keys.RSABits)
		}
		if err := d.rotator.Look(c.Context(), m.Domain, m.Selector); err != nil {
			fail(fmt.Errorf("%s: %w", m.Domain, err))
		}
	}
	if len(imported) > 0 {
		if err := d.warnEd25519Alone(c.ErrOrStderr(), imported[0].Domain); err != nil {
			fail(err)
		}
	}
	for _, m := range slices.Backward(imported) {
		if err := d.rotator.ReportImport(m.Domain, m.Selector); err != nil {
			fail(fmt.Errorf("%s: %w", m.Domain, err))
		}
	}
	return failed
}
