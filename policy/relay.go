package policy

import (
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
	RelayList   RelayKind = "mailing_list"  // List-Id and List-Post belong to one organization, and it passes DKIM or SPF
	RelaySRS    RelayKind = "srs"           // a forwarder rewrote MAIL FROM, and the forwarder's domain passes SPF
	RelayResent RelayKind = "resent"        // the domain of Resent-From passes DKIM or SPF
	RelayARC    RelayKind = "arc"           // an ARC chain that validates
)

// Relay is a sign that a message was relayed. Signs are recorded for messages that DMARC does not authenticate. The sign is verified, or
// could not be verified because a DNS lookup failed.
type Relay struct {
	Kind   RelayKind `json:"kind"`
	Domain string    `json:"domain"`           // the responsible domain, d= or the domain of MAIL FROM; a [[deny]] can name it
	Method string    `json:"method"`           // the method that verified Domain: dkim, spf or arc
	Author string    `json:"author,omitempty"` // the Author Domain to which the relay applies; empty: any
	Failed string    `json:"failed,omitempty"` // not verified: the DNS name whose lookup failed
}

// reason returns the relay as a Reason.
func (r Relay) reason() Reason {
	code := map[RelayKind]Code{RelayAuthor: AuthorHeader, RelayList: MailingListRelay, RelaySRS: SRSRelay, RelayResent: ResentRelay, RelayARC: ARCRelay}[r.Kind]
	return Reason{Code: code, Domain: r.Domain, Detail: r.Method}
}

// exempt returns the first reason not to reject a message at p=reject (RFC 9989 section 7.4). found is zero if there is none. In that case,
// failed is the DNS name of a lookup that failed and that could have shown a reason. The result denied has the relays that do not count
// because of a [[deny]].
func exempt(e Evidence, d dmarc.Result, r Rules) (found Reason, failed string, denied []Reason) {
	if newest, _ := sealer(e, r, d.Domain); newest != "" {
		code := SealedWithoutPass
		if !slices.ContainsFunc(e.SealedDMARC, func(s SealedDMARC) bool { return s.Instance == len(e.ARC.Sets) }) {
			code = SealedUnreadable
		}
		return Reason{Code: code, Domain: newest}, "", nil
	}
	if contains(r.TrustedForwarders, e.Connection.Client) {
		return Reason{Code: TrustedClient}, "", nil
	}
	for _, relay := range e.Relays {
		rule, deny := deniedRelay(e, r, relay)
		switch {
		case relay.Author != "" && relay.Author != d.Domain:
		case deny:
			denied = append(denied, Reason{Code: RelayDenied, Domain: relay.Domain, Detail: rule.String()})
		case relay.Failed == "":
			return relay.reason(), "", nil
		case failed == "":
			failed = relay.Failed
		}
	}
	return Reason{}, failed, denied
}

// unrelayed returns the evidence for a rejection: it states which signs of a relay the message lacks.
func unrelayed(e Evidence, d dmarc.Result) []Reason {
	var all []Reason
	const most = 3
	for _, s := range e.DKIM {
		switch {
		case s.Domain == "" || !domain.Within(s.Domain, d.OrgDomain) || len(all) == most:
		case s.HeaderHolds || s.HoldsUntagged:
			all = append(all, Reason{Code: HeaderStale, Domain: s.Domain})
		default:
			all = append(all, Reason{Code: HeaderBroken, Domain: s.Domain, Detail: string(s.Status)})
		}
	}
	if len(all) == 0 {
		all = append(all, Reason{Code: NoAuthorSignature, Domain: d.OrgDomain})
	}
	return append(all, Reason{Code: NoRelay, Detail: strings.Join(e.Relayed, ",")}, Reason{Code: NotTrusted})
}
