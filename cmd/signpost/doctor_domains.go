package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/doctor"
	"signpost/keys"
)

// domainFlags are what a person adds to what can be found out about domains.
type domainFlags struct{ addresses []string }

func (d *domainFlags) add(c *cobra.Command) {
	c.Flags().StringSliceVar(&d.addresses, "address", nil, "this host sends from the address `ADDR`, as others see it (repeatable)")
}

// look looks at domains. Those that have keys here are held against this host.
func (d *domainFlags) look(ctx context.Context, at doctor.Domains, postfix string, set *keys.Set, domains []string) ([]doctor.Finding, error) {
	host := doctor.Host{Dir: postfix}
	for _, s := range d.addresses {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, cli.Usage(fmt.Errorf("--address: %q is no IP address", s))
		}
		host.Given = append(host.Given, a.Unmap())
	}
	ours := func(domain string) bool { return set != nil && len(set.Of(domain)) > 0 }
	if len(host.Given) > 0 && len(domains) > 0 && !slices.ContainsFunc(domains, ours) {
		return nil, cli.Usage(fmt.Errorf("--address: %q is no domain that this host signs for; signpost spf DOMAIN IP shows whether an address may send for it", domains[0]))
	}
	var self doctor.Own
	var found []doctor.Finding
	if slices.ContainsFunc(domains, ours) {
		self, found = host.Find(ctx)
	}
	for _, domain := range domains {
		var own *doctor.Own
		if ours(domain) {
			own = &doctor.Own{HELO: self.HELO, Sends: self.Sends, Keys: set.Of(domain)}
		}
		for _, f := range at.Check(ctx, domain, own) {
			if !slices.Contains(found, f) { // this host's own name and address are the same for each domain
				found = append(found, f)
			}
		}
	}
	return found, nil
}
