package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/keys"
)

func (e *env) revokeCommand() *cobra.Command {
	var compromised, signNothing, asJSON bool
	c := &cobra.Command{
		Use:   "revoke DOMAIN SELECTOR --compromised",
		Short: "Revoke a key that has leaked, at once",
		Long: `Revoke a key that has leaked: its record's p= becomes empty at once, its private key is deleted, and the key that stands
by signs from now on. Where none does, one is made, and the domain's mail waits (451) until the world sees it, an hour or
more; with --sign-nothing it leaves unsigned until then.

Run by root, it waits at most two seconds for another dkimkey that holds the lock of the domain. Then it takes over the lock, and
the other one stops at its next write.

With publish.method = "manual" it prints what is to be done, and in which order. A key that is merely old is rotated
instead: dkimkey rotate.`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if !compromised {
				return cli.Usage(fmt.Errorf("revoking breaks the mail in transit that %s has signed\nhint: pass --compromised if it has leaked; otherwise let dkimkey rotate replace it", args[1]))
			}
			return e.revoke(c, args, signNothing, asJSON)
		},
	}
	c.Flags().BoolVar(&compromised, "compromised", false, "the key has leaked")
	c.Flags().BoolVar(&signNothing, "sign-nothing", false, "let mail leave unsigned, rather than wait, until another key can sign")
	c.Flags().BoolVar(&asJSON, "json", false, "print for machines")
	return c
}

func (e *env) revoke(c *cobra.Command, args []string, signNothing, asJSON bool) error {
	d, err := e.app(c.OutOrStdout(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	d.json = asJSON
	k, err := d.oneKey(args)
	if err != nil {
		return err
	}
	unlock, err := d.store.TakeOver(c.Context(), k.Domain)
	if err != nil {
		return err
	}
	defer unlock()
	if k, err = d.oneKey(args); err != nil { // as it is under the lock
		return err
	}
	signed := k.State == keys.Active
	if err := d.rotator.Compromised(k); err != nil {
		return err
	}
	unlock()
	d.rotator.Urgent = true
	// Revoking is a step like others and comes after the successor's: a publisher that fails does not keep that from signing.
	failed := d.run(c.Context(), c.ErrOrStderr(), []string{k.Domain})
	set, err := d.store.LoadDomain(k.Domain, nil)
	if err != nil {
		return err
	}
	if d.rules(k.Domain).Manual() {
		printOrder(c.ErrOrStderr(), set, k)
	}
	switch signs := len(set.Signing(k.Domain)) > 0; {
	case !signed || signs:
	case signNothing:
		// The next key that is activated records the domain as hosted again.
		if err := d.signNothing(c.Context(), k.Domain); err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s: mail leaves unsigned until a key can sign: dkimkey rotate %s --wait\n", k.Domain, k.Domain)
	default:
		fmt.Fprintf(c.ErrOrStderr(), "%s: no key stands by: mail waits (sign.on_missing_key) until one can sign: dkimkey rotate %s --wait\n", k.Domain, k.Domain)
	}
	if failed || d.needed {
		err = errAttention
	}
	return errors.Join(err, d.report(c.OutOrStdout()))
}

// signNothing lets mail of a domain leave unsigned, unless another command has activated a key meanwhile.
func (d *app) signNothing(ctx context.Context, domain string) error {
	unlock, err := d.store.TakeOver(ctx, domain)
	if err != nil {
		return err
	}
	defer unlock()
	set, err := d.store.LoadDomain(domain, nil)
	if err != nil || len(set.Domains()) > 0 {
		return err
	}
	return d.store.Unhost(domain)
}

// printOrder prints what a person has to do if publish.method is manual. The leaked key comes first: whoever has it can sign for
// the domain until its record is empty.
func printOrder(out io.Writer, set *keys.Set, k *keys.Key) {
	var steps []string
	if k.Metadata == nil || !k.Metadata.RecordUnseen() { // else the record is of another key
		steps = append(steps, fmt.Sprintf("replace the TXT record at %s by %q", keys.RecordName(k.Domain, k.Selector), "v=DKIM1; k="+k.Algorithm+"; p="))
	}
	if next := keys.NewestPending(set.Of(k.Domain), k.Algorithm, ""); next != nil {
		steps = append(steps, "put the record of key "+next.Selector+" into DNS (dkimkey show "+k.Domain+" "+next.Selector+")",
			"dkimkey rotate "+k.Domain+" --wait: it signs when the world has seen it")
	}
	if len(steps) == 0 {
		return
	}
	fmt.Fprintln(out, "What to do now, in this order:")
	for i, s := range steps {
		fmt.Fprintf(out, "  %d. %s\n", i+1, s)
	}
}
