package policy

import (
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dmarc"
	"signpost/internal/domain"
)

// RelayKind is a way in which an honest message can lose its authentication.
type RelayKind string

// The kinds.
const (
	RelayAuthor RelayKind = "author_header" // a signature of the author's organization verifies over the header
	RelayList   RelayKind = "mailing_list"  // List-Id and List-Post of one organization, which passes DKIM or SPF
	RelaySRS    RelayKind = "srs"           // MAIL FROM rewritten by a forwarder, which passes SPF
	RelayResent RelayKind = "resent"        // the domain of Resent-From passes DKIM or SPF
	RelayARC    RelayKind = "arc"           // an ARC chain that validates
)

// Relay is a verified sign that a message which DMARC does not authenticate was relayed, or one that could not be verified
// because a DNS lookup failed.
type Relay struct {
	Kind   RelayKind `json:"kind"`
	Domain string    `json:"domain"`           // the responsible domain, which can be denied: d= or the domain of MAIL FROM
	Method string    `json:"method"`           // what verified Domain: dkim, spf or arc
	Author string    `json:"author,omitempty"` // the Author Domain that it applies to; empty: any
	Failed string    `json:"failed,omitempty"` // not verified: the DNS name whose lookup failed
}

func (r Relay) String() string {
	what := map[RelayKind]string{
		RelayAuthor: "only the header is authenticated, by a signature of",
		RelayList:   "relayed by the mailing list of",
		RelaySRS:    "forwarded by",
		RelayResent: "resent by",
		RelayARC:    "ARC chain validates, last sealed by",
	}[r.Kind]
	if r.Failed != "" {
		return fmt.Sprintf("not verified, because the lookup of %s failed: %s %s", r.Failed, what, r.Domain)
	}
	return fmt.Sprintf("%s %s (verified by %s)", what, r.Domain, strings.ToUpper(r.Method))
}

// override returns the RFC 9990 override type for this relay.
func (r Relay) override() Override {
	if r.Kind == RelayList {
		return MailingList
	}
	return LocalPolicy
}

// exemption is a reason not to reject a message at p=reject: RFC 9989 section 7.4.
type exemption struct {
	kind Override
	why  string
}

// exempt returns the first exemption of a message. If there is none, failed is the DNS name of a failed lookup that could have
// shown one, and denied lists the relays that do not count because of a [[deny]].
func exempt(e Evidence, d dmarc.Result, r Rules) (found exemption, failed string, denied []string) {
	if newest, _ := sealer(e, r, d.Domain); newest != "" {
		said := "whose results do not say that it passed"
		if !slices.ContainsFunc(e.SealedDMARC, func(s SealedDMARC) bool { return s.Instance == len(e.ARC.Sets) }) {
			said = "whose results have no DMARC result that can be read"
		}
		return exemption{TrustedForwarder, fmt.Sprintf("sealed by %s of dmarc.trusted_sealers, %s", newest, said)}, "", nil
	}
	if contains(r.TrustedForwarders, e.Connection.Client) {
		return exemption{TrustedForwarder, "the client is in dmarc.trusted_forwarders"}, "", nil
	}
	for _, relay := range e.Relays {
		rule, deny := deniedRelay(e, r, relay)
		switch {
		case relay.Author != "" && relay.Author != d.Domain:
		case deny:
			denied = append(denied, relay.String()+", which does not count: [[deny]] "+rule.String())
		case relay.Failed == "":
			return exemption{relay.override(), relay.String()}, "", nil
		case failed == "":
			failed = relay.Failed
		}
	}
	return exemption{}, failed, denied
}

// unrelayed returns the evidence for a rejection: the signs of a relay that were looked for and not found.
func unrelayed(e Evidence, d dmarc.Result) []string {
	var all []string
	const most = 3
	for _, s := range e.DKIM {
		switch {
		case s.Domain == "" || !domain.Within(s.Domain, d.OrgDomain) || len(all) == most:
		case s.HeaderHolds || s.HoldsUntagged:
			all = append(all, fmt.Sprintf("its signature of %s verifies over the header, but is over 7 days old or does not cover From, Subject, To and Date", s.Domain))
		default:
			all = append(all, fmt.Sprintf("its signature of %s does not verify over the header (%s)", s.Domain, s.Status))
		}
	}
	if len(all) == 0 {
		all = append(all, "no signature of "+d.OrgDomain)
	}
	none := "no mailing list, forwarder, Resent-From domain or ARC chain could be verified"
	if len(e.Relayed) > 0 {
		none += ", although it has " + strings.Join(e.Relayed, ", ")
	}
	return append(all, none, "the client is not in dmarc.trusted_forwarders")
}
