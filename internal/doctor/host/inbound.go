package host

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/doctor"
)

// Inbound is a sample of recent inbound messages in the journal whose SPF was checked. It omits clients that are
// now in trusted_networks or verify.skip_networks.
type Inbound struct {
	Messages int       // in the sample
	Since    time.Time // the time of the oldest message
	Clients  map[netip.Addr]ClientMail
	Err      error // why the journal could not be read; nil if there is no journal, because that is not an error
}

// ClientMail counts the messages of one client.
type ClientMail struct{ Messages, SPFFailed int } // SPFFailed: fail or softfail

const (
	// fewInbound is the minimum number of messages for which shares are meaningful. On a small host, one newsletter may be a third of a
	// day's mail.
	fewInbound = 100
	// A client counts as a gateway if it delivers more than gatewayShare of the mail, and if SPF fails for more than gatewayFailed of its
	// mail. A large provider may exceed gatewayShare, but its mail passes SPF.
	gatewayShare, gatewayFailed = 0.30, 0.50
)

// gateway finds gateways, relays and backup MX hosts of this site that are not in verify.skip_networks. The finding is Yellow, not Red,
// because a spammer who sends enough mail looks the same.
func (m *machine) gateway() (found []doctor.Finding) {
	in := m.Inbound
	if in.Err != nil {
		return []doctor.Finding{doctor.OrNotPermitted(in.Err, doctor.Finding{Level: doctor.Yellow, What: "cannot read the journal", Where: in.Err.Error(),
			Why: "doctor reads the journal to find your own mail gateways", Fix: "signpost log"})}
	}
	if in.Messages < fewInbound {
		return nil
	}
	for client, n := range in.Clients {
		share, failed := float64(n.Messages)/float64(in.Messages), float64(n.SPFFailed)/float64(n.Messages)
		if share <= gatewayShare || failed <= gatewayFailed || slices.ContainsFunc(m.Decided, func(p netip.Prefix) bool { return p.Contains(client) }) {
			continue
		}
		networks := append(slices.Clone(m.SkipNetworks), netip.PrefixFrom(client, client.BitLen()))
		found = append(found, doctor.Finding{Level: doctor.Yellow,
			What: fmt.Sprintf("%s delivers %.0f %% of inbound mail, and SPF fails for %.0f %% of that: it may be your own mail gateway", client, 100*share, 100*failed),
			Where: fmt.Sprintf("journal: %d of a sample of %d inbound messages since %s; SPF fail or softfail for %d",
				n.Messages, in.Messages, in.Since.UTC().Format(time.DateOnly), n.SPFFailed),
			Why: "SPF of mail through a gateway, relay or backup MX is checked against the address of that host, so SPF fails and legitimate mail is rejected or quarantined",
			Fix: "skip_networks = [" + doctor.Join(networks, ", ", quoted) + "] # in [verify], if the host is yours and verifies mail itself"})
	}
	slices.SortFunc(found, func(a, b doctor.Finding) int { return strings.Compare(a.What, b.What) })
	return found
}

// goodInbound returns the text of the green finding, for the case that gateway finds nothing.
func (m *machine) goodInbound() string {
	if m.Inbound.Messages < fewInbound {
		return fmt.Sprintf("too few inbound messages in the journal to find a mail gateway: %d of %d", m.Inbound.Messages, fewInbound)
	}
	return fmt.Sprintf("no client looks like your own mail gateway, in a sample of %d inbound messages", m.Inbound.Messages)
}

// quoted returns a network for signpost.toml.
func quoted(p netip.Prefix) string {
	if p.IsSingleIP() {
		return `"` + p.Addr().String() + `"`
	}
	return `"` + p.String() + `"`
}
