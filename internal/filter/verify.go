package filter

import (
	"context"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/policy"
)

// maxWalkQueries is how many queries may be made for walks from a message's identifiers; each Author Domain has its own
// besides (dmarc.MaxQueries). Two identifiers are walked from as it comes, and share most of their way with the author.
const maxWalkQueries = 50

// verification is what is asked about a stranger's message while it comes in.
type verification struct {
	view     *dns.View
	spf      *task[spf.Result]
	verifier *dkim.Verifier // nil until the header is there
	keys     map[string]*task[keyAnswer]
	policies []*task[*dmarc.Discovery]
	cancels  []context.CancelFunc
}

type keyAnswer struct {
	records []string
	err     error
}

// startSPF begins with the envelope: the header comes only when the client has sent everything.
func (m *message) startSPF(ctx context.Context) {
	f := m.filter
	ctx, cancel := context.WithTimeout(ctx, f.MessageTimeout)
	v := &verification{view: f.Resolver.View(), cancels: []context.CancelFunc{cancel}}
	c, e := m.evidence.Connection, m.evidence.Envelope
	v.spf = begin(f.Log, "SPF", func() spf.Result { return spf.Check(ctx, v.view, c.Client, c.HELO, e.Sender) })
	m.verification = v
}

// startVerifying begins with all that the header tells: keys and policies are looked up side by side while the body comes.
func (m *message) startVerifying() {
	if m.verification == nil {
		m.startSPF(m.ctx)
	}
	f, v := m.filter, m.verification
	ctx, cancel := context.WithTimeout(m.ctx, f.MessageTimeout)
	v.cancels = append(v.cancels, cancel)
	v.verifier = dkim.NewVerifier(m.fields, m.evidence.Author.Domains)
	v.keys = map[string]*task[keyAnswer]{}
	for _, name := range v.verifier.KeyNames() {
		v.keys[name] = begin(f.Log, "DKIM key", func() keyAnswer {
			records, err := v.view.LookupTXT(ctx, name)
			return keyAnswer{records, err}
		})
	}
	for _, author := range m.evidence.Author.Domains {
		v.policies = append(v.policies, begin(f.Log, "DMARC", func() *dmarc.Discovery {
			return dmarc.Discover(ctx, v.view.Limit(dmarc.MaxQueries), author)
		}))
	}
}

// finishVerifying waits for what is still open, at most until the time for it is up, and fills in the evidence. What is
// asked only now has its own time, since a long body may have used up that of the header.
func (m *message) finishVerifying(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.filter.MessageTimeout)
	defer cancel()
	v, e := m.verification, &m.evidence
	defer func() {
		for _, cancel := range v.cancels {
			cancel()
		}
	}()
	key := func(name string) ([]string, error) {
		a := v.keys[name].wait()
		return a.records, a.err
	}
	e.DKIM = v.verifier.Results(m.filter.Now(), key)
	m.judgeChain(key)
	e.Others = readOthers(m.others)
	result := v.spf.wait()
	e.SPF = &result
	ids := identifiers(e)
	walks := v.view.Limit(maxWalkQueries)
	for _, p := range v.policies {
		e.DMARC = append(e.DMARC, p.wait().Evaluate(ctx, walks, ids))
	}
}

// identifiers are what DMARC may align: passes, and what could have been one. SPF counts for the MAIL FROM identity,
// which for a null sender is postmaster at HELO (RFC 9989 section 3.2.4).
func identifiers(e *policy.Evidence) []dmarc.Identifier {
	var ids []dmarc.Identifier
	for _, s := range e.DKIM {
		if s.Status == dkim.Pass || s.Status == dkim.TempError {
			ids = append(ids, dmarc.Identifier{Method: dmarc.DKIM, Domain: s.Domain, Open: s.Status == dkim.TempError})
		}
	}
	if s := e.SPF; s.Domain != "" && (s.Status == spf.Pass || s.Status == spf.TempError) {
		ids = append(ids, dmarc.Identifier{Method: dmarc.SPF, Domain: s.Domain, Open: s.Status == spf.TempError})
	}
	return ids
}

// relayed gives the word for a field (name in lower case) that lists and forwarders leave, or "".
func relayed(name string) string {
	switch name {
	case "list-id":
		return "List-Id"
	case "list-post":
		return "List-Post"
	case "arc-seal":
		return "ARC-Seal"
	}
	if strings.HasPrefix(name, "resent-") {
		return "a Resent- field"
	}
	return ""
}
