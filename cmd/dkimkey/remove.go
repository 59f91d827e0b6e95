package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/keys"
)

func (e *env) removeCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "remove DOMAIN",
		Short: "Stop hosting a domain: delete all its keys and forget it",
		Long: "Stop hosting a domain: delete all its private keys and forget that its mail has to be signed. From then on mail of\n" +
			"this domain leaves unsigned. Needs --yes.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return e.remove(c, args[0], yes) },
	}
	c.Flags().BoolVar(&yes, "yes", false, "really delete the keys")
	return c
}

func (e *env) remove(c *cobra.Command, arg string, yes bool) error {
	_, store, err := e.open()
	if err != nil {
		return err
	}
	domain, err := domainArg(arg)
	if err != nil {
		return err
	}
	unlock, err := store.Lock(c.Context(), domain)
	if err != nil {
		return err
	}
	defer unlock()
	set, err := store.LoadDomain(domain, nil)
	if err != nil {
		return err
	}
	if !yes {
		return cli.Usage(fmt.Errorf("removing %s deletes its private keys and lets its mail leave unsigned; say --yes", domain))
	}
	// First the keys, then the memory: in between the domain's mail waits, and is not signed by half a set.
	if err := store.Remove(domain); err != nil {
		return err
	}
	if err := store.Unhost(domain); err != nil {
		return err
	}
	for _, k := range set.All() {
		if k.Domain == domain {
			fmt.Fprintf(c.ErrOrStderr(), "%s: key %s deleted; leave its record %s in DNS for two weeks, then remove it\n", domain, k.Selector, keys.RecordName(domain, k.Selector))
		}
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s: no longer hosted, its mail leaves unsigned\n", domain)
	return nil
}
