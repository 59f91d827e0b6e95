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

// maxWalkQueries limits the queries of the walks from a message's identifiers. dmarc.MaxQueries applies in addition for each Author
// Domain. The walks from two identifiers are prefetched. The walk from the author visits most of the same names.
const maxWalkQueries = 50

// verification is the state of the lookups for an inbound message.
type verification struct {
	view       *dns.View
	spf        *task[spf.Result]
	verifier   *dkim.Verifier // nil until the end of the header
	policies   []*task[policyOf]
	walks      *dns.View // from identifiers
	prefetched int       // number of identifiers whose walks were prefetched
}

// policyOf is the policy of an Author Domain, with the view for its remaining lookups.
type policyOf struct {
	*dmarc.Discovery
	asker *asker
}

// startSPF starts the SPF check when the envelope is known. The header arrives only after the client has sent the whole message.
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

// startVerifying starts the lookups of all keys and policies that the header names, while the body arrives. Names that could be aligned
// have their own slots and prefetch limit. Otherwise, the sender could use up the slots and the limit with other names.
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
	for _, aligned := range []bool{true, false} { // aligned names first, because later prefetches may exceed the limit
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

// couldAlign reports whether a domain could be aligned with an Author Domain. It compares only the last two labels of the names, which are
// the same in aligned names.
func (m *message) couldAlign(name string) bool {
	return slices.ContainsFunc(m.evidence.Author.Domains, func(author string) bool { return domain.Within(name, lastTwo(author)) })
}

// keyDomain returns the domain (d=) in the DNS name of a key.
func keyDomain(name string) string {
	_, d, _ := strings.Cut(name, "._domainkey.")
	return d
}

// decidingShare sets the reserved part of dns.message_timeout: the last 1/decidingShare of it. This part is for the walks and relays on
// which the verdict depends, and for the check of our own DNS. Waiting for keys, SPF and policies ends before this part begins, so slow
// name servers of a sender cannot use it up.
const decidingShare = 4

// untilDeciding returns the time at which waiting for keys, SPF and policies ends. The parameter begin is the start of dns.message_timeout.
func (m *message) untilDeciding(begin time.Time) time.Time {
	t := m.filter.MessageTimeout
	return begin.Add(t - t/decidingShare)
}

// finishVerifying waits for lookups that are still in progress, and completes the evidence. A new dns.message_timeout begins here,
// because a long body may have used up the first one.
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
			until = earlier(end, time.Now().Add(relayTimeout)) // relays do not affect this verdict, but signpost what-if uses them
		}
		m.findRelays(ctx, until)
	}
}

// settledTimeout limits the wait for lookups that no longer affect the verdict of a passing message, such as the key of a foreign
// signature. Their results are only for the log and the results field.
const settledTimeout = 2 * time.Second

// settled reports whether each Author Domain has a passing signature of its own domain, or of a domain above or below it. For the keys of
// signatures that could be aligned, it waits until the given time.
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

// finishSPF returns the SPF result. If the check is still in progress, finishSPF starts it again, with the answers received so far and
// the time limit of view. If the domain could be aligned, its lookups then use the reserved slots.
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

// findFault checks for a fault on our side. It does so only if a DMARC lookup failed and the message would not be accepted anyway.
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

// alignment is a view for the walks of DMARC. A lookup over the limit returns dmarc.NotAsked, because it is not a temporary error.
type alignment struct{ *dns.View }

// LookupTXT returns the TXT records of a name.
func (a alignment) LookupTXT(ctx context.Context, name string) ([]string, error) {
	all, err := a.View.LookupTXT(ctx, name)
	if dns.OverLimit(err) {
		return nil, dmarc.NotAsked{}
	}
	return all, err
}

// identifiers returns the identifiers that DMARC may align: those that passed, and those that could not be checked. For SPF, this is the
// MAIL FROM identity. For a null sender, that identity is postmaster at the HELO name (RFC 9989 section 3.2.4).
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
