package policy

import (
	"slices"
	"strconv"

	"signpost/internal/dkim"
)

// SealedDMARC is the DMARC result in one ARC set. A set has no SealedDMARC if it states several DMARC results, or none that can be read.
type SealedDMARC struct {
	Instance int    `json:"instance"`
	Domain   string `json:"domain"` // header.from, lower-case A-labels
	Result   string `json:"result"`
}

// sealer returns the newest sealer of a passing chain if the operator trusts that sealer, and "" otherwise. The result saw is the instance
// whose sealer found that the message passed DMARC for domain, or 0 if there is none.
//
// RFC 8617 section 7.2: a chain shows who handled a message, not that they are honest. Only the newest seal shows that the message
// arrived here as its sealer sent it. An earlier set counts only if all later sealers are trusted, because each of them states by cv=pass
// that the message arrived as the previous sealer sent it. Each set must also have a message signature that covers From. Otherwise any
// later sealer could choose the author.
func sealer(e Evidence, r Rules, domain string) (newest string, saw int) {
	if e.ARC == nil || e.ARC.Status != dkim.Pass || len(e.ARC.Sets) == 0 {
		return "", 0
	}
	for i, s := range slices.Backward(e.ARC.Sets) {
		if !s.CoversFrom || !slices.Contains(r.TrustedSealers, s.Domain) {
			return newest, 0
		}
		if i == len(e.ARC.Sets)-1 {
			newest = s.Domain
		}
		if slices.Contains(e.SealedDMARC, SealedDMARC{s.Instance, domain, "pass"}) {
			return newest, s.Instance
		}
	}
	return newest, 0
}

// vouched returns the verdict that accepts a failing message if a trusted sealer found that the message passed DMARC. RFC 9989 section 5.4
// allows a receiver to override a policy by its own knowledge. RFC 9990 calls this override trusted_forwarder.
func vouched(e Evidence, r Rules, domain string, why []Reason) (Verdict, bool) {
	newest, saw := sealer(e, r, domain)
	if saw == 0 {
		return Verdict{}, false
	}
	return Verdict{
		Action:  Accept,
		Reasons: append(why, Reason{Code: SealedPass, Domain: e.ARC.Sets[saw-1].Domain}),
		Evidence: []Reason{
			{Code: ChainValid, Domain: newest, Detail: strconv.Itoa(len(e.ARC.Sets))},
			{Code: SealersTrusted, Detail: strconv.Itoa(saw)},
			{Code: SealerFoundPass, Domain: domain, Detail: strconv.Itoa(saw)},
		},
	}, true
}
