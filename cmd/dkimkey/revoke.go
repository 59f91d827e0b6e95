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
		Short: "Revoke a compromised key immediately",
		Long: `Revoke a compromised key: publish a record with an empty p=, delete the private key, and activate the standby key.

If there is no standby key, a new key is created. The new key can sign after an hour or more, when its record has been
visible in DNS for long enough. Until then, sign.on_missing_key applies to outbound mail of the domain: by default, the mail
is deferred (451). With --sign-nothing, the mail is sent unsigned.

Another dkimkey process may hold the lock of the domain. As root, this command takes over the lock after two seconds, and
the other process stops at its next write.

If publish.method is "manual", the command prints the steps that you must do, in order. To replace a key that is not
compromised, use "dkimkey rotate DOMAIN --now".

Exit code 0: done. 1: failed or action needed, for example a DNS record to publish by hand. 2: usage or configuration error.`,
		Example: "  dkimkey revoke example.org sp20261124 --compromised\n  dkimkey revoke example.org sp20261124 --compromised --sign-nothing",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if !compromised {
				return cli.Usage(fmt.Errorf("revoking key %s invalidates its signatures on mail in transit\nhint: pass --compromised if the key has leaked; otherwise replace it with dkimkey rotate DOMAIN --now", args[1]))
			}
			return e.revoke(c, args, signNothing)
		},
	}
	c.Flags().BoolVar(&compromised, "compromised", false, "confirm that the key is compromised")
	c.Flags().BoolVar(&signNothing, "sign-nothing", false, "send mail unsigned, instead of deferring it, until another key can sign")
	c.Flags().BoolVar(&e.json, "json", false, "print JSON")
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
	synced := e.leadForRevocation(c.Context(), d.conf, c.ErrOrStderr())
	before, err := d.rotator.Leaked(c.Context(), k.Domain, k.Selector)
	if err != nil {
		return err
	}
	k = &before
	d.rotator.Urgent = true
	// run does the steps of the successor first, so that the successor signs even if publishing the revoked record fails.
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
		fmt.Fprintf(c.ErrOrStderr(), "%s: mail is sent unsigned until a key can sign; run dkimkey rotate %s --wait\n", k.Domain, k.Domain)
	default:
		fmt.Fprintf(c.ErrOrStderr(), "%s: no standby key: sign.on_missing_key applies to its mail until a key can sign; run dkimkey rotate %s --wait\n", k.Domain, k.Domain)
	}
	return errors.Join(attention(failed || d.needed), synced(), d.report(c.OutOrStdout()))
}

// printOrder prints the steps that the operator must do if publish.method is manual.
func printOrder(out io.Writer, steps []string) {
	if len(steps) == 0 {
		return
	}
	fmt.Fprintln(out, "Do this now, in this order:")
	for i, s := range steps {
		fmt.Fprintf(out, "  %d. %s\n", i+1, s)
	}
}
