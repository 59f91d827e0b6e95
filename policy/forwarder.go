package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/dkim"
)

// Forwarder is a mailing list or a forwarder that the operator accepted for a time. One of Network, Sealer and Signer is
// given, or Network and Signer, which then have to fit both.
type Forwarder struct {
	Network netip.Prefix // not valid: any. Alone it counts among TrustedForwarders
	Sealer  string       // d= of ARC-Seal; it counts among TrustedSealers
	Signer  string       // d= of a signature that passes: what bears it is let through
	Comment string
	Expires time.Time // from then on it does not count
}

// String names an entry as the operator wrote it.
func (f Forwarder) String() string {
	var parts []string
	for _, p := range []struct{ key, value string }{{"sealer", f.Sealer}, {"signer", f.Signer}} {
		if p.value != "" {
			parts = append(parts, p.key+" "+p.value)
		}
	}
	if f.Network.IsValid() {
		parts = append(parts, "network "+f.Network.String())
	}
	return fmt.Sprintf("%s, %q, until %s", strings.Join(parts, " and "), f.Comment, f.Expires.AddDate(0, 0, -1).Format(time.DateOnly))
}

// forwardersAt puts the accepted forwarders that count at a time where they count. Signers stay where they are.
func (r *Rules) forwardersAt(now time.Time) {
	if len(r.Forwarders) == 0 {
		return
	}
	// What others read is not written to.
	r.TrustedForwarders, r.TrustedSealers = slices.Clip(r.TrustedForwarders), slices.Clip(r.TrustedSealers)
	var signers []Forwarder
	for _, f := range r.Forwarders {
		switch {
		case !now.Before(f.Expires):
		case f.Signer != "":
			signers = append(signers, f)
		case f.Sealer != "":
			r.TrustedSealers = append(r.TrustedSealers, f.Sealer)
		default:
			r.TrustedForwarders = append(r.TrustedForwarders, f.Network)
		}
	}
	r.Forwarders = signers
}

// relayed lets through what was to be refused, held, tagged or deferred, where an accepted forwarder signed it. His signature
// says that it came from him as it is, and the operator that he is to be believed.
func relayed(e Evidence, r Rules, v Verdict) Verdict {
	for _, f := range r.Forwarders {
		signed := func(s dkim.Result) bool { return s.Status == dkim.Pass && s.Domain == f.Signer }
		if f.Signer == "" || f.Network.IsValid() && !contains([]netip.Prefix{f.Network}, e.Connection.Client) || !slices.ContainsFunc(e.DKIM, signed) {
			continue
		}
		return Verdict{Reason: v.Reason + "; let through, trusted_forwarder: [[forwarder]] " + f.String(), Override: TrustedForwarder}
	}
	return v
}
