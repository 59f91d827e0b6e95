package filter

import (
	"context"
	"slices"
	"time"

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
	policies []*task[policyOf]
	walks    *dns.View // from identifiers
	ahead    int       // identifiers that were walked from ahead
}

// policyOf is an Author Domain's policy, and who asks for what is still needed of it.
type policyOf struct {
	*dmarc.Discovery
	asker *asker
}

// startSPF begins with the envelope: the header comes only when the client has sent everything.
func (m *message) startSPF() {
	f := m.filter
	v := &verification{view: f.Resolver.View(m.evidence.Connection.Client)}
	view := v.view.Until(time.Now().Add(f.MessageTimeout))
	c, sender := m.evidence.Connection, m.evidence.Envelope.Sender
	v.spf = ask(f.Log, "SPF", view, func(a *asker) spf.Result {
		ahead := &spfAsker{View: a.View, client: c.Client.Unmap().WithZone(""), begun: !a.Asks()}
		return spf.Check(m.ctx, ahead, c.Client, c.HELO, sender)
	})
	m.verification = v
}

// startVerifying begins with all that the header tells: keys and policies are looked up side by side while the body comes.
func (m *message) startVerifying() {
	if m.verification == nil {
		m.startSPF()
	}
	f, v := m.filter, m.verification
	view := v.view.Until(time.Now().Add(f.MessageTimeout))
	v.verifier = dkim.NewVerifier(m.fields, m.evidence.Author.Domains)
	v.walks = view.Limit(maxWalkQueries)
	keys := v.verifier.KeyNames()
	for _, name := range keys {
		view.Ahead(m.ctx, dns.TXT, name)
	}
	candidates := mayAlign(keys, &m.evidence)
	for _, author := range m.evidence.Author.Domains {
		own := view.Limit(dmarc.MaxQueries)
		v.askAhead(m.ctx, own, author, candidates)
		v.policies = append(v.policies, ask(f.Log, "DMARC", own, func(a *asker) policyOf {
			return policyOf{dmarc.Discover(m.ctx, a, author), a}
		}))
	}
}

// keyPatience is how long it is waited for the key of a signature that fails whatever the key is.
const keyPatience = 2 * time.Second

// finishVerifying waits for what is still open, at most until the time for it is up, and fills in the evidence. What is
// asked only now has its own time, since a long body may have used up that of the header.
func (m *message) finishVerifying(ctx context.Context) {
	v, e := m.verification, &m.evidence
	end := time.Now().Add(m.filter.MessageTimeout)
	view := v.view.Until(end)
	key := func(name string) ([]string, error) { return view.LookupTXT(ctx, name) }
	e.DKIM = v.verifier.Results(m.filter.Now(), key)
	m.judgeChain(key)
	e.Others = readOthers(m.others)
	result := v.spf.wait()
	e.SPF = &result
	ids := identifiers(e)
	walks := v.walks.Until(end)
	for _, p := range v.policies {
		policy := p.wait()
		policy.asker.View = policy.asker.Until(end)
		e.DMARC = append(e.DMARC, policy.Evaluate(ctx, walks, ids))
	}
	if slices.ContainsFunc(e.DMARC, func(d dmarc.Result) bool { return d.Status == dmarc.Fail }) {
		// With the keys that were asked for anyway. It decides nothing, so that nobody waits long for them.
		asked := view.Limit(0).Until(time.Now().Add(keyPatience))
		v.verifier.HeadersHold(e.DKIM, func(name string) ([]string, error) { return asked.LookupTXT(ctx, name) })
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

// relayed gives the word for a field that lists and forwarders leave, or "".
func relayed(name string) string {
	const resent = "resent-"
	switch {
	case named(name, "list-id"):
		return "List-Id"
	case named(name, "list-post"):
		return "List-Post"
	case named(name, "arc-seal"):
		return "ARC-Seal"
	case len(name) >= len(resent) && named(name[:len(resent)], resent):
		return "a Resent- field"
	}
	return ""
}
