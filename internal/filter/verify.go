package filter

import (
	"context"
	"slices"
	"strings"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/internal/spf"
	"signpost/policy"
)

// maxWalkQueries is how many queries the walks from a message's identifiers may make, in addition to dmarc.MaxQueries for each
// Author Domain. The walks from two identifiers are prefetched, and share most of their names with that from the author.
const maxWalkQueries = 50

// verification is the state of the lookups for an inbound message.
type verification struct {
	view       *dns.View
	spf        *task[spf.Result]
	verifier   *dkim.Verifier // nil until the header is there
	policies   []*task[policyOf]
	walks      *dns.View // from identifiers
	prefetched int       // identifiers whose walks were prefetched
}

// policyOf is an Author Domain's policy, and the view for the lookups that it still needs.
type policyOf struct {
	*dmarc.Discovery
	asker *asker
}

// startSPF starts the SPF check with the envelope: the header arrives only when the client has sent the whole message.
func (m *message) startSPF() {
	f := m.filter
	v := &verification{view: f.Resolver.View(m.evidence.Connection.Client)}
	view := v.view.Until(time.Now().Add(f.MessageTimeout))
	c, sender := m.evidence.Connection, m.evidence.Envelope.Sender
	v.spf = ask(f.Log, "SPF", view, func(a *asker) spf.Result {
		p := &spfPrefetcher{View: a.View, client: c.Client.Unmap().WithZone(""), begun: !a.Asks()}
		return spf.Check(m.ctx, p, c.Client, c.HELO, sender)
	})
	m.verification = v
}

// startVerifying starts the lookups of all keys and policies that the header names, while the body arrives. Names that could be
// aligned have slots and a prefetch limit of their own, so that a sender's other names cannot use them up.
func (m *message) startVerifying() {
	if m.verification == nil {
		m.startSPF()
	}
	f, v := m.filter, m.verification
	view := v.view.Until(m.untilDeciding(time.Now()))
	reserved := view.Reserved()
	v.verifier = dkim.NewVerifier(m.fields, m.evidence.Author.Domains)
	v.walks = reserved.Limit(maxWalkQueries)
	keys := v.verifier.KeyNames()
	for _, aligned := range []bool{true, false} { // the first prefetches are the most likely to be made
		for _, name := range keys {
			switch {
			case m.couldAlign(keyDomain(name)) != aligned:
			case aligned:
				reserved.Prefetch(m.ctx, dns.TXT, name)
			default:
				view.Prefetch(m.ctx, dns.TXT, name)
			}
		}
	}
	candidates := mayAlign(keys, &m.evidence)
	for _, author := range m.evidence.Author.Domains {
		own := reserved.Limit(dmarc.MaxQueries)
		v.prefetchWalks(m.ctx, own, author, candidates)
		v.policies = append(v.policies, ask(f.Log, "DMARC", own, func(a *asker) policyOf {
			return policyOf{dmarc.Discover(m.ctx, a, author), a}
		}))
	}
}

// couldAlign reports whether a domain could be aligned with an Author Domain, as far as the names show: names that are aligned
// share their last two labels.
func (m *message) couldAlign(name string) bool {
	return slices.ContainsFunc(m.evidence.Author.Domains, func(author string) bool { return domain.Within(name, lastTwo(author)) })
}

// keyDomain returns the d= of a key's name.
func keyDomain(name string) string {
	_, d, _ := strings.Cut(name, "._domainkey.")
	return d
}

// decidingShare is the share of dns.message_timeout, one in decidingShare, that is reserved for the walks and relays that decide
// about a message, and for checking our own DNS. Waiting for keys, SPF and policies ends before it, so that slow name servers of
// a sender cannot use up that time.
const decidingShare = 4

// untilDeciding returns the end of the time for keys, SPF and policies if it begins at begin.
func (m *message) untilDeciding(begin time.Time) time.Time {
	t := m.filter.MessageTimeout
	return begin.Add(t - t/decidingShare)
}

// finishVerifying waits for lookups that are still under way, at most dns.message_timeout, and fills in the evidence. Lookups
// that start here have a time of their own, because a long body may have used up that of the header.
func (m *message) finishVerifying(ctx context.Context) {
	v, e := m.verification, &m.evidence
	begin := time.Now()
	end := begin.Add(m.filter.MessageTimeout)
	until := m.untilDeciding(begin)
	if v.view.Open() && m.settled(ctx, until) {
		until = earlier(until, time.Now().Add(settledTimeout))
	}
	others := v.view.Until(until)
	reserved := others.Reserved()
	key := func(name string) ([]string, error) {
		if m.couldAlign(keyDomain(name)) {
			return reserved.LookupTXT(ctx, name)
		}
		return others.LookupTXT(ctx, name)
	}
	e.DKIM = v.verifier.Results(m.filter.Now(), key)
	m.verifyChain(key)
	e.Others = readOthers(m.others)
	result := m.finishSPF(ctx, others)
	e.SPF = &result
	ids := identifiers(e)
	walks := alignment{v.walks.Until(end)}
	for _, p := range v.policies {
		policy := p.wait()
		policy.asker.View = policy.asker.Until(end)
		e.DMARC = append(e.DMARC, policy.Evaluate(ctx, walks, ids))
	}
	m.findFault(ctx, end)
	if slices.ContainsFunc(e.DMARC, dmarc.Result.Unauthenticated) {
		until := end
		if !slices.ContainsFunc(e.DMARC, func(d dmarc.Result) bool { return d.Policy == dmarc.PolicyReject }) {
			until = earlier(end, time.Now().Add(relayTimeout)) // it decides nothing here; signpost what-if uses it
		}
		m.findRelays(ctx, until)
	}
}

// settledTimeout is how long a message that passes waits for names that no longer matter, such as a foreign signature's: their
// results are for the log and the results field.
const settledTimeout = 2 * time.Second

// settled reports whether each Author Domain has a signature that passes, of its own domain or of one above or below it. It waits
// until a time for the keys of signatures that could be aligned.
func (m *message) settled(ctx context.Context, until time.Time) bool {
	own := m.verification.view.Until(until).Reserved()
	domains := m.verification.verifier.Passing(m.filter.Now(), m.couldAlign, func(name string) ([]string, error) { return own.LookupTXT(ctx, name) })
	authors := m.evidence.Author.Domains
	unsigned := func(author string) bool {
		return !slices.ContainsFunc(domains, func(d string) bool { return domain.Within(d, author) || domain.Within(author, d) })
	}
	return len(authors) > 0 && !slices.ContainsFunc(authors, unsigned)
}

func earlier(times ...time.Time) time.Time { return slices.MinFunc(times, time.Time.Compare) }

// finishSPF returns the SPF result. If the check is still under way, it starts again with the answers received so far and the
// time limit of view. A name that could be aligned then has the reserved slots.
func (m *message) finishSPF(ctx context.Context, view *dns.View) spf.Result {
	task := m.verification.spf
	if task.ended() {
		return task.wait()
	}
	if sender := senderDomain(&m.evidence); m.couldAlign(sender) {
		view = view.Reserved()
	}
	c := m.evidence.Connection
	return spf.Check(ctx, view, c.Client, c.HELO, m.evidence.Envelope.Sender)
}

// findFault looks for a fault of our own if a DMARC lookup failed and the message is not accepted anyway.
func (m *message) findFault(ctx context.Context, end time.Time) {
	v, e := m.verification, &m.evidence
	undecided := func(d dmarc.Result) bool {
		return d.Status == dmarc.TempError && d.Assumed != dmarc.Pass && d.Policy != dmarc.PolicyNone
	}
	if !slices.ContainsFunc(e.DMARC, undecided) {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	switch {
	case v.view.Exhausted():
		e.Fault = policy.Exhausted
	case !v.view.RootAnswers(ctx):
		e.Fault = policy.Unreachable
	}
}

// alignment is a view for DMARC's walks: a lookup beyond its limit was never made, and is no temporary error.
type alignment struct{ *dns.View }

// LookupTXT returns the TXT records of a name.
func (a alignment) LookupTXT(ctx context.Context, name string) ([]string, error) {
	all, err := a.View.LookupTXT(ctx, name)
	if dns.OverLimit(err) {
		return nil, dmarc.NotAsked{}
	}
	return all, err
}

// identifiers are what DMARC may align: passes, and what could have been one. SPF counts for the MAIL FROM identity,
// which for a null sender is postmaster at HELO (RFC 9989 section 3.2.4).
func identifiers(e *policy.Evidence) []dmarc.Identifier {
	var ids []dmarc.Identifier
	for _, s := range e.DKIM {
		if s.Status == dkim.Pass || s.Status == dkim.TempError {
			ids = append(ids, dmarc.Identifier{Method: dmarc.DKIM, Domain: s.Domain, Open: s.Status == dkim.TempError, Failed: s.KeyName})
		}
	}
	if s := e.SPF; s.Domain != "" && (s.Status == spf.Pass || s.Status == spf.TempError) {
		ids = append(ids, dmarc.Identifier{Method: dmarc.SPF, Domain: s.Domain, Open: s.Status == spf.TempError, Failed: s.Failed})
	}
	return ids
}
