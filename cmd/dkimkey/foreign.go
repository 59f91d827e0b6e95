package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/term"
	"signpost/keys"
)

// importAll imports the keys of another program, and prints what is skipped. The parameter err is the error of reading them.
func (e *env) importAll(c *cobra.Command, found []keys.Foreign, skipped []string, err error, f importFlags) error {
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
}

func (e *env) importKeys(c *cobra.Command, found []keys.Foreign, f importFlags) error {
	d, err := e.app(c.OutOrStdout(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	d.json = e.json
	synced := func() error { return nil }
	if !f.dryRun {
		if synced, err = e.lead(c.Context(), d.conf, c.ErrOrStderr()); err != nil {
			return err
		}
		if err := d.store.Make(); err != nil {
			return err
		}
	}
	var domains []string
	of := map[string][]keys.Foreign{}
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
		if f.dryRun {
			failed = d.previewDomain(c, of[domain]) || failed
		} else {
			failed = d.importDomain(c, of[domain], f.unsafe) || failed
		}
	}
	return errors.Join(attention(failed || d.needed), synced(), d.report(c.OutOrStdout()))
}

// importDomain imports the keys of one domain. It prints errors and reports whether there were any. After an error it continues with
// the next key; the command can be repeated when the cause is fixed.
func (d *app) importDomain(c *cobra.Command, found []keys.Foreign, unsafe bool) (failed bool) {
	fail := func(err error) {
		failed = true
		cli.Print(c.ErrOrStderr(), "dkimkey", err)
	}
	var imported []*keys.Metadata
	// OpenDKIM signs with the first key of a domain. Signpost signs with the newest key, so the first key is imported last.
	for _, k := range slices.Backward(found) {
		metadata, err := d.rotator.Import(c.Context(), k, unsafe)
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
		d.warnShort(c, m)
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

// previewDomain prints what importDomain would do with the keys of one domain. It reports whether there were errors.
func (d *app) previewDomain(c *cobra.Command, found []keys.Foreign) (failed bool) {
	seen := map[string]bool{}
	for _, k := range found {
		m, o, err := d.rotator.Preview(c.Context(), k)
		if err == nil && seen[k.Selector] {
			err = fmt.Errorf("selector %s has two keys: %s is the second", k.Selector, k.Source)
		}
		if err != nil {
			failed = true
			cli.Print(c.ErrOrStderr(), "dkimkey", fmt.Errorf("%s: %w", k.Domain, err))
			continue
		}
		seen[k.Selector] = true
		d.rotator.Done(m.Domain, fmt.Sprintf("would import key %s (%s, %d bits) from %s", m.Selector, m.Algorithm, m.Bits, k.Source))
		d.warnShort(c, m)
		if o.Ready {
			d.rotator.Done(m.Domain, fmt.Sprintf("key %s: its record is visible at all name servers", m.Selector))
		} else {
			d.rotator.Needs(m.Domain, fmt.Sprintf("key %s: its record is not visible in DNS: %s; the key does not sign until it is", m.Selector, o.Words), nil)
		}
	}
	return failed
}

func (d *app) warnShort(c *cobra.Command, m *keys.Metadata) {
	if m.Algorithm == "rsa" && m.Bits < 2048 {
		fmt.Fprintf(c.ErrOrStderr(), "%s: key %s has only %d bits; dkimkey add %s creates a successor with %d bits\n", m.Domain, m.Selector, m.Bits, m.Domain, d.conf.Keys.RSABits)
	}
}
