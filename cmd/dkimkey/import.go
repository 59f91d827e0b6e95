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
		Short: "Import a key that another program signs with",
		Long: `Import a private key (PEM) that another program signs with. Its file is copied and left where it is. The selector stays, and
dkimkey rotates the key from here on.

The imported key does not sign yet. As with every key, all name servers have to show its record for long enough for caches;
then "dkimkey rotate" activates it. import looks for the record once and prints when the key may sign. rotate does not
publish the record of an imported key. If another key signs already, the imported key is the next one.

--domain may be repeated, and --from-file reads domains from a file, or from standard input if it is "-": one on each line,
# starts a comment. They share the key file.

--unsafe-activate makes the key sign at once. It is unsafe because mail fails everywhere if the record is not the key's. The
log and the metadata of the key record it.

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
				return err // once, not for each domain
			}
			var found []opendkim.Key
			for _, d := range domains {
				found = append(found, opendkim.Key{Domain: d, Selector: selector, File: args[0]})
			}
			return e.importKeys(c, found, f)
		},
	}
	c.PersistentFlags().BoolVar(&e.json, "json", false, "print for machines")
	c.PersistentFlags().BoolVar(&f.unsafe, "unsafe-activate", false, "sign with it at once, whether or not its record is in DNS")
	c.Flags().StringSliceVar(&f.domains, "domain", nil, "`DOMAIN` that the key signs for; may be repeated")
	c.Flags().StringVar(&f.selector, "selector", "", "`SELECTOR` under which its record is published")
	c.Flags().StringVar(&f.file, "from-file", "", "`FILE` of domains, one on each line; \"-\" is standard input")
	cli.Complete(c, map[string]cobra.CompletionFunc{"domain": e.words(0), "selector": cli.Any(), "from-file": cli.File()})
	c.AddCommand(&cobra.Command{
		Use:   "opendkim KEYTABLE SIGNINGTABLE",
		Short: "Import all keys of an OpenDKIM installation",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			found, skipped, err := opendkim.Read(args[0], args[1])
			if err != nil {
				return err
			}
			for _, s := range skipped {
				fmt.Fprintln(c.ErrOrStderr(), s)
			}
			if len(found) == 0 {
				return errors.New("there is no key to import")
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
			term.Progress(c.ErrOrStderr(), "%s: importing its keys (%d of %d)", domain, i+1, len(domains))
		}
		failed = d.importDomain(c, of[domain], f.unsafe) || failed
	}
	return errors.Join(attention(failed || d.needed), d.report(c.OutOrStdout()))
}

// importDomain imports the keys of one domain. It prints errors, and reports whether there were any. A key that fails does not keep
// the others from being imported; the command can be repeated once the cause is gone.
func (d *app) importDomain(c *cobra.Command, found []opendkim.Key, unsafe bool) (failed bool) {
	fail := func(err error) {
		failed = true
		cli.Print(c.ErrOrStderr(), "dkimkey", err)
	}
	var imported []*keys.Metadata
	// OpenDKIM signs with the first one. Here the newest is the next to sign, so that one is imported last.
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
			fmt.Fprintf(c.ErrOrStderr(), "%s: key %s has %d bits; dkimkey add %s makes a successor of %d\n", m.Domain, m.Selector, m.Bits, m.Domain, d.conf.Keys.RSABits)
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
