package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/dkim"
	"signpost/keys"
)

func (e *env) importCommand() *cobra.Command {
	var domain, selector string
	var asJSON bool
	c := &cobra.Command{
		Use:   "import KEYFILE --domain DOMAIN --selector SELECTOR",
		Short: "Take over a key that signs already",
		Long: `Take over a private key (PEM) that signs already, with another program. It signs here from now on, under the same
selector, and rotates from here on. Its file is copied and left where it is.

"dkimkey import opendkim KEYTABLE SIGNINGTABLE" takes over all keys of an OpenDKIM installation.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := hostableArg(domain)
			if err != nil {
				return err
			}
			if _, err := dkim.Domain(selector); err != nil {
				return cli.Usage(fmt.Errorf("--selector %q is not a selector", selector))
			}
			return e.importKeys(c, []keys.OpenDKIMKey{{Domain: d, Selector: selector, File: args[0]}}, asJSON)
		},
	}
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "print for machines")
	c.Flags().StringVar(&domain, "domain", "", "`DOMAIN` that the key signs for")
	c.Flags().StringVar(&selector, "selector", "", "`SELECTOR` under which its record is published")
	c.AddCommand(&cobra.Command{
		Use:   "opendkim KEYTABLE SIGNINGTABLE",
		Short: "Take over all keys of an OpenDKIM installation",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			found, skipped, err := keys.ReadOpenDKIM(args[0], args[1])
			if err != nil {
				return err
			}
			for _, s := range skipped {
				fmt.Fprintln(c.ErrOrStderr(), s)
			}
			if len(found) == 0 {
				return errors.New("there is no key to take over")
			}
			return e.importKeys(c, found, asJSON)
		},
	})
	return c
}

func (e *env) importKeys(c *cobra.Command, found []keys.OpenDKIMKey, asJSON bool) error {
	d, err := e.desk(c.OutOrStdout(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	d.json = asJSON
	if err := d.store.Make(); err != nil {
		return err
	}
	wrong := false
	// The last one begun signs: OpenDKIM's first.
	for i := len(found) - 1; i >= 0; i-- {
		k := found[i]
		life, err := d.importKey(c.Context(), k)
		if err != nil {
			// The others come all the same, so that what was interrupted, or is partly wrong, can be done again.
			wrong = true
			fmt.Fprintf(c.ErrOrStderr(), "dkimkey: %v\n", err)
			continue
		}
		d.rotator.Done(k.Domain, fmt.Sprintf("key %s (%s, %d bits) signs here from now on", k.Selector, life.Algorithm, life.Bits))
		if life.Algorithm == "rsa" && life.Bits < 2048 {
			fmt.Fprintf(c.ErrOrStderr(), "%s: key %s has %d bits; dkimkey add %s makes a successor of %d\n", k.Domain, k.Selector, life.Bits, k.Domain, d.conf.Keys.RSABits)
		}
		if o := d.rotator.Checker.Look(c.Context(), life, nil).Outcome(); !o.Ready {
			wrong = true
			d.rotator.Needs(k.Domain, fmt.Sprintf("key %s: its record is not seen as it should be: %s", k.Selector, o.Words), nil)
		}
	}
	if wrong {
		err = errAttention
	}
	return errors.Join(err, d.report(c.OutOrStdout()))
}

func (d *desk) importKey(ctx context.Context, k keys.OpenDKIMKey) (*keys.Life, error) {
	unlock, err := d.store.Lock(ctx, k.Domain)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return d.store.Import(k.Domain, k.Selector, k.File, d.conf.PublishFor(k.Domain).Method)
}
