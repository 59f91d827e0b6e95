package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/doctor"
	"signpost/internal/term"
	"signpost/keys"
)

// domainFlags are what a person adds to what can be found out about domains.
type domainFlags struct {
	addresses, selectors []string
	given                []netip.Addr // addresses, after read
}

func (d *domainFlags) add(c *cobra.Command) {
	c.Flags().StringSliceVar(&d.addresses, "address", nil, "this host sends from the address `ADDR`, as others see it (repeatable)")
	c.Flags().StringSliceVar(&d.selectors, "selector", nil, "look at DOMAIN's DKIM key `NAME` (repeatable)")
}

// read looks at the flags before anything slow is done.
func (d *domainFlags) read(args []string) error {
	for _, s := range d.addresses {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return cli.Usage(fmt.Errorf("--address: %q is no IP address", s))
		}
		d.given = append(d.given, a.Unmap())
	}
	if len(d.selectors) > 0 && len(args) == 0 {
		return cli.Usage(errors.New("--selector wants a DOMAIN; the keys of this host are looked at without it"))
	}
	return nil
}

// look looks at domains. Those that have keys here are held against this host.
func (d *domainFlags) look(ctx context.Context, progress io.Writer, at doctor.Domains, postfix string, set *keys.Set, domains []string) ([]doctor.Finding, error) {
	ours := func(domain string) bool { return set != nil && len(set.Of(domain)) > 0 }
	if len(d.given) > 0 && len(domains) > 0 && !slices.ContainsFunc(domains, ours) {
		return nil, cli.Usage(fmt.Errorf("--address: %q is no domain that this host signs for; signpost spf DOMAIN IP shows whether an address may send for it", domains[0]))
	}
	var self doctor.Own
	var found []doctor.Finding
	if slices.ContainsFunc(domains, ours) {
		self, found = doctor.Host{Dir: postfix, Given: d.given}.Find(ctx)
	}
	at.Selectors = d.selectors
	for _, domain := range domains {
		term.Progress(progress, "looking at what %q publishes", domain)
		var own *doctor.Own
		if ours(domain) {
			own = &doctor.Own{HELO: self.HELO, Sends: self.Sends, Partial: self.Partial, Keys: set.Of(domain)}
		}
		for _, f := range at.Check(ctx, domain, own) {
			if !slices.Contains(found, f) { // this host's own name and address are the same for each domain
				found = append(found, f)
			}
		}
	}
	return found, nil
}
