package policy

import (
	"net/netip"
	"slices"
	"time"
)

// TrustedAs returns the configuration key by which the operator trusts a client's address, or "". Expired entries do not count. Entries
// without a network do not count, because they match signatures and not addresses.
func (r Rules) TrustedAs(client netip.Addr, now time.Time) string {
	for _, list := range []struct {
		key      string
		networks []netip.Prefix
	}{
		{"trusted_networks", r.TrustedNetworks},
		{"verify.skip_networks", r.SkipNetworks},
		{"dmarc.trusted_forwarders", r.TrustedForwarders},
	} {
		if contains(list.networks, client) {
			return list.key
		}
	}
	from := func(network netip.Prefix, expires time.Time) bool {
		return network.IsValid() && now.Before(expires) && contains([]netip.Prefix{network}, client)
	}
	for _, f := range r.Forwarders {
		if from(f.Network, f.Expires) {
			return "[[forwarder]] " + f.String()
		}
	}
	if i := slices.IndexFunc(r.Allow, func(l LocalRule) bool { return from(l.Network, l.Expires) }); i >= 0 {
		return "[[allow]] " + r.Allow[i].String()
	}
	return ""
}
