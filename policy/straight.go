package policy

import (
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
)

// evidence looks whether a failing message comes straight from a stranger. RFC 9989 section 7.4 forbids to refuse on
// p=reject alone: mailing lists and forwarders break authentication that was good. shown is what tells a forgery from
// those; against is the first thing that could be one of those.
func evidence(e Evidence, d dmarc.Result, r Rules) (shown []string, against doubt) {
	if d.OrgDomain == "" {
		return nil, doubt{LocalPolicy, "the Organizational Domain of " + d.Domain + " could not be looked up"}
	}
	if newest, _ := sealer(e, r, d.Domain); newest != "" {
		return nil, doubt{TrustedForwarder, fmt.Sprintf("it is sealed by %s of dmarc.trusted_sealers, whose results do not say that it passed", newest)}
	}
	// A list or a forwarder breaks a signature; a forger has none to break.
	for _, s := range e.DKIM {
		if s.Domain != "" && dkim.Within(s.Domain, d.OrgDomain) {
			return nil, doubt{LocalPolicy, fmt.Sprintf("it bears a signature of %s (%s), which a list or forwarder may have broken", s.Domain, s.Status)}
		}
	}
	if len(e.Relayed) > 0 {
		kind := LocalPolicy
		if slices.ContainsFunc(e.Relayed, func(name string) bool { return strings.HasPrefix(name, "List-") }) {
			kind = MailingList
		}
		return nil, doubt{kind, "it bears " + strings.Join(e.Relayed, ", ") + ", as lists and forwarders leave"}
	}
	if contains(r.TrustedForwarders, e.Connection.Client) {
		return nil, doubt{TrustedForwarder, "the client is in dmarc.trusted_forwarders"}
	}
	return []string{
		"no signature of " + d.OrgDomain + ", broken or not",
		"no List-Id, List-Post, ARC-Seal or Resent- field",
		"the client is in no trusted_forwarders",
		"no temporary error among what could align",
	}, doubt{}
}

// doubt is what could make a failing message an honest one; why is empty where nothing could.
type doubt struct {
	kind Override
	why  string
}
