package policy

import (
	"fmt"
	"slices"

	"signpost/internal/dkim"
)

// SealedDMARC is what one ARC set says of DMARC, where it says it once and can be read.
type SealedDMARC struct {
	Instance int    `json:"instance"`
	Domain   string `json:"domain"` // header.from, lower-case A-labels
	Result   string `json:"result"`
}

// sealer is the newest sealer of a chain that passes, where the operator trusts him, or "". saw is the set in which he, or
// one before him, found that the message passed DMARC for a domain, or 0.
//
// RFC 8617 section 7.2: a chain shows who handled a message, not that they are honest. Only the newest seal says that the
// message came to us as its sealer sent it. From there back each set counts only while its sealer is trusted, since each
// of them swears, by cv=pass, that the message came to him as the one before had sent it. A message signature without From
// would let whoever came after it choose the author.
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

// vouched lets a failing message through of which a trusted sealer swears that it passed when it came to him: RFC 9989
// section 5.4 has the receiver's own knowledge override a policy, and RFC 9990 calls this one trusted_forwarder.
func vouched(e Evidence, r Rules, domain, asked string) (Verdict, bool) {
	newest, saw := sealer(e, r, domain)
	if saw == 0 {
		return Verdict{}, false
	}
	s := e.ARC.Sets[saw-1]
	return Verdict{
		Override: TrustedForwarder,
		Reason:   fmt.Sprintf("%s; let through, trusted_forwarder: sealed by %s, which had seen dmarc=pass", asked, s.Domain),
		Evidence: []string{
			fmt.Sprintf("the ARC chain passes, last sealed by %s (instance %d)", newest, len(e.ARC.Sets)),
			"every sealer from instance " + fmt.Sprint(saw) + " on is in dmarc.trusted_sealers",
			fmt.Sprintf("instance %d says dmarc=pass for %s", saw, domain),
		},
	}, true
}
