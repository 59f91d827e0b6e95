package filter

import (
	"cmp"
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

const (
	// maxHeaderAge is the age up to which a signature of the author's organization counts as a sign of a relay. Lists and forwarders
	// deliver within days. An older message is more likely to be a replay with another body.
	maxHeaderAge = 7 * 24 * time.Hour
	// maxHeaderSkew is how far in the future the time of such a signature may be.
	maxHeaderSkew = time.Hour
	// maxRelayQueries limits the lookups that verify claims about relays. Honest mail needs one or two walks.
	maxRelayQueries = 30
	// relayTimeout limits the time for these lookups if the message cannot be rejected anyway.
	relayTimeout = 2 * time.Second
)

// traces holds the header fields that lists and forwarders add. If several fields have the same name, it holds the topmost one. Anyone can
// add such fields. If DMARC does not authenticate the message, their claims are verified.
type traces struct {
	listID, listPost, resentFrom string
}

// note keeps a field that lists and forwarders add. It returns the field's name for the evidence, or "" for other fields.
func (t *traces) note(name, value string) string {
	const resent = "resent-"
	first := func(to *string) {
		if *to == "" {
			*to = value
		}
	}
	switch {
	case named(name, "list-id"):
		first(&t.listID)
		return "List-Id"
	case named(name, "list-post"):
		first(&t.listPost)
		return "List-Post"
	case named(name, "arc-seal"):
		return "ARC-Seal"
	case len(name) >= len(resent) && named(name[:len(resent)], resent):
		if named(name, "resent-from") {
			first(&t.resentFrom)
		}
		return "Resent-"
	}
	return ""
}

// relays verifies the signs that a message was relayed: docs/decisions/evidence.md.
type relays struct {
	ctx  context.Context
	view *dns.View
	e    *policy.Evidence
	now  time.Time
}

// findRelays adds the evidence about relays. The claims of a message cause lookups of names that its sender chooses. These lookups end at
// until.
func (m *message) findRelays(ctx context.Context, until time.Time) {
	e, verifier := &m.evidence, m.verification.verifier
	r := &relays{ctx: ctx, view: m.verification.view.Until(until).Limit(maxRelayQueries), e: e, now: m.filter.Now()}
	e.RelaysChecked = true
	var failing []dmarc.Result
	for _, d := range e.DMARC {
		if d.Unauthenticated() {
			failing = append(failing, d)
		}
	}
	within := func(name string) bool {
		return slices.ContainsFunc(failing, func(d dmarc.Result) bool { return domain.Within(name, d.OrgDomain) })
	}
	keys := m.verification.view.Reserved().Until(until)
	verifier.CheckHeaders(e.DKIM, within, func(name string) ([]string, error) { return keys.LookupTXT(ctx, name) })
	for _, d := range failing {
		r.author(d, verifier)
		r.srs(d)
	}
	r.list(m.traces)
	r.resent(m.traces)
	r.arc()
}

// verified adds a verified relay. author is empty if the relay is not about one author.
func (r *relays) verified(kind policy.RelayKind, domain, method, author string) {
	r.e.Relays = append(r.e.Relays, policy.Relay{Kind: kind, Domain: domain, Method: method, Author: author})
}

// open adds a relay that could not be verified because a lookup failed. failed is the DNS name of the lookup. This sets Relay.Failed,
// because an empty Failed would mean that the relay is verified.
func (r *relays) open(kind policy.RelayKind, domain, method, author, failed string) {
	r.e.Relays = append(r.e.Relays, policy.Relay{Kind: kind, Domain: domain, Method: method, Author: author, Failed: cmp.Or(failed, domain)})
}

// same reports whether two domains belong to one organization. If a lookup fails, same returns its DNS name.
func (r *relays) same(a, b string) (bool, string) {
	return dmarc.SameOrganization(r.ctx, alignment{r.view}, a, b)
}

// author adds a relay if a recent signature of the author's organization verifies over From, Subject, To and Date.
func (r *relays) author(d dmarc.Result, verifier *dkim.Verifier) {
	for i, s := range r.e.DKIM {
		if !s.HeaderHolds && !s.HoldsUntagged && !s.HeaderOpen || !domain.Within(s.Domain, d.OrgDomain) || !verifier.SignsIdentity(i) {
			continue
		}
		if at, ok := verifier.SignedAt(i); !ok || r.now.Sub(at) > maxHeaderAge || at.Sub(r.now) > maxHeaderSkew {
			continue
		}
		switch same, failed := r.same(s.Domain, d.Domain); {
		case !same && failed == "":
		case s.HeaderOpen:
			r.open(policy.RelayAuthor, s.Domain, "dkim", d.Domain, s.KeyName)
		case same:
			r.verified(policy.RelayAuthor, s.Domain, "dkim", d.Domain)
		default:
			r.open(policy.RelayAuthor, s.Domain, "dkim", d.Domain, failed)
		}
	}
}

// srs adds a forwarder that rewrote MAIL FROM. The embedded domain must belong to the author's organization, and SPF must pass.
func (r *relays) srs(d dmarc.Result) {
	s := r.e.SPF
	embedded := spf.SRSDomain(r.e.Envelope.Sender)
	if embedded == "" || s.Identity != spf.MailFrom || s.Status != spf.Pass && s.Status != spf.TempError {
		return
	}
	switch same, failed := r.same(embedded, d.Domain); {
	case same && s.Status == spf.Pass:
		r.verified(policy.RelaySRS, s.Domain, "spf", d.Domain)
	case same:
		r.open(policy.RelaySRS, s.Domain, "spf", d.Domain, s.Failed)
	case failed != "":
		r.open(policy.RelaySRS, s.Domain, "spf", d.Domain, failed)
	}
}

// list adds the mailing list if List-Id and the mailto of List-Post belong to one organization, and this organization passes DKIM or SPF.
func (r *relays) list(t traces) {
	id, post := listDomain(t.listID), postDomain(t.listPost)
	if id == "" || post == "" {
		return
	}
	switch same, failed := r.same(id, post); {
	case same:
		r.passing(policy.RelayList, post)
	case failed != "":
		r.open(policy.RelayList, post, "dkim", "", failed)
	}
}

// resent adds the domains of Resent-From that pass DKIM or SPF.
func (r *relays) resent(t traces) {
	if t.resentFrom == "" {
		return
	}
	for _, domain := range dmarc.ReadAuthor([]string{t.resentFrom}).Domains {
		r.passing(policy.RelayResent, domain)
	}
}

// passing adds a relay if the organization of domain passes DKIM, or SPF for MAIL FROM. If the organization does not pass, but a failed
// lookup could have led to a pass, passing adds the failure.
func (r *relays) passing(kind policy.RelayKind, domain string) {
	open := ""
	try := func(of string, passed bool, method, failed string) bool {
		same, unknown := r.same(of, domain)
		if same && passed {
			r.verified(kind, of, method, "")
			return true
		}
		if same {
			unknown = failed
		}
		if open == "" {
			open = unknown
		}
		return false
	}
	for _, s := range r.e.DKIM {
		if (s.Status == dkim.Pass || s.Status == dkim.TempError) && try(s.Domain, s.Status == dkim.Pass, "dkim", s.KeyName) {
			return
		}
	}
	if s := r.e.SPF; s.Identity == spf.MailFrom && (s.Status == spf.Pass || s.Status == spf.TempError) && try(s.Domain, s.Status == spf.Pass, "spf", s.Failed) {
		return
	}
	if open != "" {
		r.open(kind, domain, "dkim", "", open)
	}
}

// arc adds the newest sealer of a chain that validates. Its message signature must cover From. Otherwise anyone who has a sealed message
// could replace the author, and the sealer would not be responsible.
func (r *relays) arc() {
	c := r.e.ARC
	if c == nil || len(c.Sets) == 0 {
		return
	}
	switch newest := c.Sets[len(c.Sets)-1]; {
	case !newest.CoversFrom:
	case c.Status == dkim.Pass:
		r.verified(policy.RelayARC, newest.Domain, "arc", "")
	case c.Temporary:
		r.open(policy.RelayARC, newest.Domain, "arc", "", c.Failed)
	}
}

// listDomain returns the domain of a List-Id (RFC 2919), or "" if there is none.
func listDomain(value string) string {
	if i := strings.LastIndexByte(value, '<'); i >= 0 {
		value, _, _ = strings.Cut(value[i+1:], ">")
	}
	d, err := domain.Parse(strings.TrimSpace(value))
	if err != nil {
		return ""
	}
	return d
}

// postDomain returns the domain of the first mailto URL of a List-Post (RFC 2369 section 3.4), or "" if there is none.
func postDomain(value string) string {
	for url := range strings.SplitSeq(value, "<") {
		url, _, closed := strings.Cut(url, ">")
		const scheme = "mailto:"
		if url = strings.TrimSpace(url); !closed || len(url) < len(scheme) || !strings.EqualFold(url[:len(scheme)], scheme) {
			continue
		}
		address, _, _ := strings.Cut(url[len(scheme):], "?")
		if at := strings.LastIndexByte(address, '@'); at >= 0 {
			if d, err := domain.Parse(address[at+1:]); err == nil {
				return d
			}
		}
	}
	return ""
}
