package filter

import (
	"errors"
	"slices"
	"strings"

	"signpost/internal/authres"
	"signpost/internal/dkim"
	"signpost/internal/domain"
	"signpost/policy"
)

// verifyChain records the ARC chain in the evidence. A message without ARC sets has no arc result.
func (m *message) verifyChain(key func(string) ([]string, error)) {
	chain := m.verification.verifier.Chain(m.filter.Now(), key)
	if chain.Status == dkim.None {
		return
	}
	m.evidence.ARC = &chain
	if chain.Status == dkim.Pass {
		m.evidence.SealedDMARC = sealedDMARC(chain.Sets)
	}
}

// sealedDMARC returns the DMARC result of each sealer. It is lenient, because package policy uses only results of trusted sealers. It
// ignores a set with more than one DMARC result, because the sealer may have copied one of them from its client.
func sealedDMARC(sets []dkim.Sealer) []policy.SealedDMARC {
	var all []policy.SealedDMARC
	for _, s := range sets {
		results, ok := authres.ReadTrusted(s.Results)
		if !ok {
			continue
		}
		results = slices.DeleteFunc(results, func(r authres.Result) bool { return r.Method != "dmarc" })
		if len(results) != 1 {
			continue
		}
		if from, ok := headerFrom(results[0]); ok {
			all = append(all, policy.SealedDMARC{Instance: s.Instance, Domain: from, Result: results[0].Value})
		}
	}
	return all
}

// headerFrom returns the domain that a DMARC result is about. ok is false if the result names no domain, or more than one.
func headerFrom(r authres.Result) (domain string, ok bool) {
	for _, p := range r.Props {
		if p.Type == "header" && p.Name == "from" {
			d, err := addressDomain(p.Value)
			if err != nil || domain != "" {
				return "", false
			}
			domain = d
		}
	}
	return domain, domain != ""
}

// addressDomain returns the domain of a property value. RFC 8601 section 2.2 allows a local part before the domain. Some sealers also
// write angle brackets, and a display name before them.
func addressDomain(value string) (string, error) {
	if name, address, ok := strings.Cut(value, "<"); ok {
		inside, closed := strings.CutSuffix(address, ">")
		if !closed || strings.ContainsAny(name, "@,;:") {
			return "", errors.New("not an address")
		}
		value = inside
	}
	at := strings.LastIndexByte(value, '@')
	local := value[:max(at, 0)]
	quoted := len(local) > 1 && local[0] == '"' && local[len(local)-1] == '"'
	if !quoted && strings.ContainsAny(local, "@,;:<>()[]\\\" \t\r\n") {
		return "", errors.New("not one address")
	}
	return domain.Parse(value[at+1:])
}
