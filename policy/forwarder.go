package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/dkim"
)

// Forwarder is a mailing list or a forwarder that the operator accepted until a date. Exactly one of Network, Sealer and Signer is set, or
// both Network and Signer are set. If both are set, both must match.
type Forwarder struct {
	Network netip.Prefix // not valid: any network. If Signer is empty, At adds Network to TrustedForwarders
	Sealer  string       // d= of ARC-Seal; At adds it to TrustedSealers
	Signer  string       // d= of a signature; a message is accepted if that signature passes
	Comment string
	Expires time.Time // from this time on, the entry does not apply
}

// String returns an entry as key=value pairs.
func (f Forwarder) String() string {
	var b strings.Builder
	for _, p := range []struct{ key, value string }{{"sealer", f.Sealer}, {"signer", f.Signer}} {
		if p.value != "" {
			b.WriteString(p.key + "=" + p.value + " ")
		}
	}
	return b.String() + commonKeys(f.Network, f.Comment, f.Expires)
}

// commonKeys returns the keys that [[allow]], [[deny]] and [[forwarder]] have in common, as key=value pairs.
func commonKeys(network netip.Prefix, comment string, expires time.Time) string {
	text := fmt.Sprintf("comment=%q expires=%s", comment, expires.AddDate(0, 0, -1).Format(time.DateOnly))
	if network.IsValid() {
		text = "network=" + network.String() + " " + text
	}
	return text
}

// forwardersAt adds accepted forwarders to TrustedForwarders and TrustedSealers, unless they have expired at the time now. Only those with
// a Signer stay in Forwarders.
func (r *Rules) forwardersAt(now time.Time) {
	if len(r.Forwarders) == 0 {
		return
	}
	// The caller's slices share memory with the configuration, which other goroutines read.
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

// relayed returns a verdict that accepts the message if an accepted forwarder signed it. Otherwise it returns v, a verdict that does not
// accept the message. A passing signature shows that the message was not changed after the forwarder signed it, and the operator trusts the
// forwarder.
func relayed(e Evidence, r Rules, v Verdict) Verdict {
	for _, f := range r.Forwarders {
		signed := func(s dkim.Result) bool { return s.Status == dkim.Pass && s.Domain == f.Signer }
		if f.Signer == "" || f.Network.IsValid() && !contains([]netip.Prefix{f.Network}, e.Connection.Client) || !slices.ContainsFunc(e.DKIM, signed) {
			continue
		}
		return Verdict{Action: Accept, Reasons: append(v.Reasons, Reason{Code: AcceptedForwarder, Domain: f.Signer, Detail: f.String()})}
	}
	return v
}
