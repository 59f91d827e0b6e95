package filter

import (
	"strconv"

	"signpost/internal/authres"
	"signpost/internal/dkim"
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

// sealedDMARC reads what each sealer found out about DMARC. A set that says it twice has said nothing: one of the two may
// be a stranger's words that the sealer wrote down.
func sealedDMARC(sets []dkim.Sealer) []policy.SealedDMARC {
	var all []policy.SealedDMARC
	for _, s := range sets {
		_, results, ok := authres.Read(s.Results)
		if !ok {
			continue
		}
		var said []authres.Result
		for _, r := range results {
			if r.Method == "dmarc" {
				said = append(said, r)
			}
		}
		if len(said) != 1 {
			continue
		}
		if from, ok := headerFrom(said[0]); ok {
			all = append(all, policy.SealedDMARC{Instance: s.Instance, Domain: from, Result: said[0].Value})
		}
	}
	return all
}

// headerFrom is the domain that a DMARC result is about, where it names one.
func headerFrom(r authres.Result) (domain string, ok bool) {
	for _, p := range r.Props {
		if p.Type == "header" && p.Name == "from" {
			d, err := dkim.Domain(p.Value)
			if err != nil || domain != "" {
				return "", false
			}
			domain = d
		}
	}
	return domain, domain != ""
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
