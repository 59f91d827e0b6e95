package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/keys"
)

func (e *env) revokeCommand() *cobra.Command {
	var compromised, signNothing bool
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
			return e.revoke(c, args, signNothing)
		},
	}
	c.Flags().BoolVar(&compromised, "compromised", false, "the key has leaked")
	c.Flags().BoolVar(&signNothing, "sign-nothing", false, "let mail leave unsigned, rather than wait, until another key can sign")
	c.Flags().BoolVar(&e.json, "json", false, "print for machines")
	return c
}

func (e *env) revoke(c *cobra.Command, args []string, signNothing bool) error {
	d, err := e.app(c.OutOrStdout(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	d.json = e.json
	k, err := d.oneKey(args)
	if err != nil {
		return err
	}
	before, err := d.rotator.Leaked(c.Context(), k.Domain, k.Selector)
	if err != nil {
		return err
	}
	k = &before
	d.rotator.Urgent = true
	// Revoking is a step like others and comes after those of the successor, which signs even if the publisher fails.
	failed := d.run(c.Context(), c.ErrOrStderr(), []string{k.Domain})
	set, err := d.store.LoadDomain(k.Domain, nil)
	if err != nil {
		return err
	}
	if d.rules(k.Domain).Manual() {
		printOrder(c.ErrOrStderr(), set.RevokeSteps(k))
	}
	switch signs := len(set.Signing(k.Domain)) > 0; {
	case k.State != keys.Active || signs:
	case signNothing:
		if err := d.rotator.SignNothing(c.Context(), k.Domain); err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s: mail leaves unsigned until a key can sign: dkimkey rotate %s --wait\n", k.Domain, k.Domain)
	default:
		fmt.Fprintf(c.ErrOrStderr(), "%s: no key stands by: mail waits (sign.on_missing_key) until one can sign: dkimkey rotate %s --wait\n", k.Domain, k.Domain)
	}
	return errors.Join(attention(failed || d.needed), d.report(c.OutOrStdout()))
}

// printOrder prints what a person has to do if publish.method is manual.
func printOrder(out io.Writer, steps []string) {
	if len(steps) == 0 {
		return
	}
	fmt.Fprintln(out, "What to do now, in this order:")
	for i, s := range steps {
		fmt.Fprintf(out, "  %d. %s\n", i+1, s)
	}
}
