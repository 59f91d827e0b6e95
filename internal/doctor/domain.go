package doctor

import (
	"context"
	"net/netip"

	"signpost/internal/dns"
)

// Domains looks at what domains publish.
type Domains struct {
	Resolver *dns.Resolver
}

// Own is what is known of a domain that is ours.
type Own struct {
	HELO  string       // the name that this host says
	Sends []netip.Addr // the addresses that it sends from
}

// Check looks at one domain. own is nil for others' domains.
func (d Domains) Check(ctx context.Context, domain string, own *Own) []Finding {
	return nil
}
