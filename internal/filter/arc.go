package filter

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"signpost/internal/authres"
	"signpost/internal/dkim"
	"signpost/internal/domain"
	"signpost/policy"
)

// judgeChain fills in what became of the message's ARC sets. A message without any has no word of ARC in its results.
func (m *message) judgeChain(key func(string) ([]string, error)) {
	chain := m.verification.verifier.Chain(m.filter.Now(), key)
	if chain.Status == dkim.None {
		return
	}
	m.evidence.ARC = &chain
	if chain.Status == dkim.Pass {
		m.evidence.SealedDMARC = sealedDMARC(chain.Sets)
	}
}

// sealedDMARC reads each sealer's result of DMARC. It reads leniently: policy uses only the results of trusted sealers. A set
// with more than one such result says nothing, because one of them may be a client's text that the sealer copied.
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

// headerFrom returns the domain that a DMARC result is about. It fails if the result names none, or more than one.
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

// addressDomain returns the domain of a property value: RFC 8601 section 2.2 allows a local part before it. Sealers also write
// angle brackets, and a display name before them.
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

// arcResult has the properties of RFC 8617 section 10.2: the client's address and, of a chain that passes, the oldest set
// whose message signature holds.
func arcResult(c *dkim.Chain, from policy.Connection) authres.Result {
	r := authres.Result{Method: "arc", Value: string(c.Status), Reason: c.Reason}
	if from.Client.IsValid() {
		r.Props = append(r.Props, authres.Prop{Type: "smtp", Name: "remote-ip", Value: from.Client.String()})
	}
	if c.Status == dkim.Pass {
		r.Props = append(r.Props, authres.Prop{Type: "header", Name: "oldest-pass", Value: strconv.Itoa(c.OldestPass)})
	}
	return r
}

// arcWord has the status and the newest sealer.
func arcWord(c *dkim.Chain) string {
	switch {
	case c == nil:
		return ""
	case len(c.Sets) == 0:
		return string(c.Status)
	}
	return string(c.Status) + ":" + c.Sets[len(c.Sets)-1].Domain
}
