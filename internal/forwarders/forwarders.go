// Package forwarders learns from the journal which mailing lists and forwarders bring mail that fails DMARC through no fault
// of its author, and proposes to believe them. docs/decisions/forwarders.md has what is asked of them, and why.
package forwarders

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/domain"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/policy"
)

// What is asked of a list or a forwarder before it is proposed. It is what a spoofer finds dear: he has to relay at least as
// many real messages, of several domains that are not his, as he forges, for days.
const (
	MinMessages = 12 // that failed
	MinDays     = 5  // on which some failed, and on which some were shown to be genuine
	MinAuthors  = 3  // organisations, among both
	// mostOfOne is how large a part of those that failed may be one organisation's, in per cent.
	mostOfOne = 75
	// leastGenuine is how large a part of all has to be shown to be genuine, in per cent.
	leastGenuine = 50
)

// maxSeen bounds what is remembered of messages: some 60 MiB.
const maxSeen = 200_000

// Learner gathers what the journal knows of relayed mail.
type Learner struct {
	Rules policy.Rules // in effect now: what they believe already is not proposed
	seen  []seen
	Full  bool // there was no room for more
}

// seen is a message that somebody else than its author's server brought.
type seen struct {
	day       int64 // since 1970, UTC
	author    string
	failed    bool
	broken    bool   // it bears a signature of its author's organisation, which fails
	proof     string // a signature that nobody but the author's organisation can have made, "" where there is none
	list      bool
	sealer    string
	saw       bool // the sealer found that it passed DMARC
	signers   []string
	client    netip.Addr
	host      string // the domain of its name, which DNS confirms; "" where there is none
	ownSender bool   // SPF passes for the envelope, which is not the author's
}

// Add takes a message.
func (l *Learner) Add(e *journal.Entry) {
	s, ok := look(e)
	if !ok || l.believed(s) {
		return
	}
	if len(l.seen) == maxSeen {
		l.Full = true
		return
	}
	l.seen = append(l.seen, s)
}

// believed says that the rules in effect take care of it.
func (l *Learner) believed(s seen) bool {
	client := func(p netip.Prefix) bool { return p.Contains(s.client) }
	signer := func(f policy.Forwarder) bool { return slices.Contains(s.signers, f.Signer) }
	return s.sealer != "" && slices.Contains(l.Rules.TrustedSealers, s.sealer) || slices.ContainsFunc(l.Rules.TrustedForwarders, client) ||
		slices.ContainsFunc(l.Rules.Forwarders, signer)
}

// look takes what is of use out of an entry. Only what passes counts for him who relays: anybody can write the rest.
func look(e *journal.Entry) (s seen, ok bool) {
	ev := &e.Evidence
	if e.Assignment.Role != policy.Verify || !ev.Connection.SMTP || len(ev.DMARC) != 1 || ev.SPF == nil {
		return s, false
	}
	d := ev.DMARC[0]
	org := d.OrgDomain
	if org == "" {
		org = d.Domain
	}
	s = seen{day: e.Time.Unix() / 86400, author: strings.Clone(org), failed: d.Status == dmarc.Fail, client: ev.Connection.Client.Unmap()}
	own := func(name string) bool { return domain.Within(name, org) || domain.Within(org, name) }
	s.ownSender = ev.SPF.Status == spf.Pass && !own(ev.SPF.Domain)
	s.list = slices.ContainsFunc(ev.Relayed, func(name string) bool { return strings.HasPrefix(name, "List-") })
	for _, sig := range ev.DKIM {
		switch mine := own(sig.Domain); {
		case mine && s.failed && sig.Status != dkim.Pass:
			s.broken = true
			if sig.HeaderHolds || sig.HoldsUntagged {
				s.proof = sig.Signature
			}
		case !mine && sig.Status == dkim.Pass && !slices.Contains(s.signers, sig.Domain):
			s.signers = append(s.signers, sig.Domain)
		}
	}
	if c := ev.ARC; c != nil && c.Status == dkim.Pass && len(c.Sets) > 0 {
		if last := c.Sets[len(c.Sets)-1]; last.CoversFrom {
			s.sealer = last.Domain
			s.saw = slices.Contains(ev.SealedDMARC, policy.SealedDMARC{Instance: last.Instance, Domain: d.Domain, Result: "pass"})
		}
	}
	s.host = hostDomain(ev.Connection.Name)
	if s.failed {
		return s, true
	}
	// One that passes shows that he relays, where its envelope is the author's, whose SPF does not have him, or where he sealed
	// it: who is sent to by the author himself, as a newsletter's host is, does neither.
	byKey := d.Status == dmarc.Pass && strings.HasPrefix(d.Aligned, "dkim ")
	astray := (ev.SPF.Status == spf.Fail || ev.SPF.Status == spf.SoftFail) && own(ev.SPF.Domain)
	if !byKey || !astray && !s.saw {
		return s, false
	}
	for _, sig := range ev.DKIM {
		if sig.Status == dkim.Pass && own(sig.Domain) {
			s.proof = sig.Signature
		}
	}
	return s, s.proof != ""
}

// hostDomain is the domain of a host that Postfix's {client_name} names: DNS says so forward and back.
func hostDomain(name string) string {
	d, err := domain.Parse(name)
	if err != nil || name == "unknown" {
		return ""
	}
	if _, above, _ := strings.Cut(d, "."); strings.Contains(above, ".") {
		return above
	}
	if strings.Contains(d, ".") {
		return d
	}
	return ""
}

// Proposals are who is worth to be believed, most messages first. A message that one of them accounts for counts for no other:
// a seal says more than a signature, and that more than a network.
func (l *Learner) Proposals() []Proposal {
	var all []Proposal
	left := l.seen
	for _, k := range []struct {
		kind Kind
		of   func(s *seen) []string
	}{
		{Sealer, func(s *seen) []string {
			if s.sealer == "" {
				return nil
			}
			return []string{s.sealer}
		}},
		{Signer, func(s *seen) []string { return s.signers }},
		{Network, func(s *seen) []string {
			if s.host == "" || !s.client.IsValid() {
				return nil
			}
			return []string{around(s.client).String() + " " + s.host}
		}},
	} {
		groups := map[string]*group{}
		for i := range left {
			for _, name := range k.of(&left[i]) {
				if groups[name] == nil {
					groups[name] = newGroup()
				}
				groups[name].add(&left[i])
			}
		}
		taken := map[string]bool{}
		for name, g := range groups {
			if g.convinces(k.kind) {
				taken[name] = true
				all = append(all, g.proposal(k.kind, name))
			}
		}
		var rest []seen
		for _, s := range left {
			if !slices.ContainsFunc(k.of(&s), func(name string) bool { return taken[name] }) {
				rest = append(rest, s)
			}
		}
		left = rest
	}
	slices.SortFunc(all, func(a, b Proposal) int {
		if a.Failed != b.Failed {
			return b.Failed - a.Failed
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

// around is the network that a client is seen in, before it is narrowed to those that were seen.
func around(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits)
	return p
}

// day gives the date of one.
func day(n int64) time.Time { return time.Unix(n*86400, 0).UTC() }
