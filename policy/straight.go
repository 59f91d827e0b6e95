package policy

import (
	"fmt"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
)

// evidence looks whether a failing message comes straight from a stranger. RFC 9989 section 7.4 forbids to refuse on
// p=reject alone: mailing lists and forwarders break authentication that was good. shown is what tells a forgery from
// those; against is the first thing that could be one of those, or "" where nothing is.
func evidence(e Evidence, d dmarc.Result, r Rules) (shown []string, against string) {
	if d.OrgDomain == "" {
		return nil, "the Organizational Domain of " + d.Domain + " could not be looked up"
	}
	if newest, _ := sealer(e, r, d.Domain); newest != "" {
		return nil, fmt.Sprintf("it is sealed by %s of dmarc.trusted_sealers, whose results do not say that it passed", newest)
	}
	// A list or a forwarder breaks a signature; a forger has none to break.
	for _, s := range e.DKIM {
		if s.Domain != "" && dkim.Within(s.Domain, d.OrgDomain) {
			return nil, fmt.Sprintf("it bears a signature of %s (%s), which a list or forwarder may have broken", s.Domain, s.Status)
		}
	}
	if len(e.Relayed) > 0 {
		return nil, "it bears " + strings.Join(e.Relayed, ", ") + ", as lists and forwarders leave"
	}
	if contains(r.TrustedForwarders, e.Connection.Client) {
		return nil, "the client is in dmarc.trusted_forwarders"
	}
	return []string{
		"no signature of " + d.OrgDomain + ", broken or not",
		"no List-Id, List-Post, ARC-Seal or Resent- field",
		"the client is in no trusted_forwarders",
		"no temporary error among what could align",
	}, ""
}
