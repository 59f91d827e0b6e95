package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"signpost/internal/term"
	"signpost/keys"
)

func (e *env) showCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show DOMAIN SELECTOR",
		Short: "Print the DNS record of a key, for a zone file and for a web form",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := e.app(c.OutOrStdout(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			k, err := d.oneKey(args)
			if err != nil {
				return err
			}
			metadata, err := d.rotator.MetadataOf(k)
			if err != nil {
				return err
			}
			if asJSON {
				return term.WriteJSON(c.OutOrStdout(), newAdded(metadata, d.conf.PublishFor(k.Domain).TTL))
			}
			fmt.Fprint(c.OutOrStdout(), recordText(metadata, d.conf.PublishFor(k.Domain).TTL))
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print for machines")
	return c
}

// oneKey is the key that DOMAIN SELECTOR names.
func (d *app) oneKey(args []string) (*keys.Key, error) {
	domains, err := d.domains(args[:1])
	if err != nil {
		return nil, err
	}
	set, err := d.store.LoadDomain(domains[0], nil)
	if err != nil {
		return nil, err
	}
	of := set.Of(domains[0])
	i := slices.IndexFunc(of, func(k *keys.Key) bool { return k.Selector == args[1] })
	if i < 0 { // DNS names have no case (RFC 4343)
		i = slices.IndexFunc(of, func(k *keys.Key) bool { return strings.EqualFold(k.Selector, args[1]) })
	}
	if i < 0 {
		return nil, fmt.Errorf("%s has no key %s; dkimkey status shows which there are", domains[0], args[1])
	}
	return of[i], nil
}
