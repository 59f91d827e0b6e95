// Package forwarders searches the journal for mailing lists and forwarders whose genuine mail fails DMARC, and proposes to trust them. The
// conditions and their reasons are in docs/decisions/forwarders.md.
package forwarders

import (
	"cmp"
	"context"
	"errors"
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

// Conditions for a proposal. To meet them, a forger would have to relay genuine messages of several domains for days. For each forged
// message, the forger would need at least one genuine message.
const (
	MinMessages = 12 // that failed
	MinDays     = 5  // number of days with failed messages, and with messages proved genuine
	MinAuthors  = 3  // number of organizations among the failed messages, and among the genuine ones
	// mostOfOne is the maximum share of one organization in the messages that failed, in percent.
	mostOfOne = 75
	// leastGenuine is the minimum share of messages that are proved genuine, in percent.
	leastGenuine = 50
)

// maxSeen limits the messages in memory, to about 60 MiB.
const maxSeen = 200_000

// Learner collects the relayed messages of a journal.
type Learner struct {
	Rules policy.Rules // the rules in effect now; relays that they already trust are not proposed
	seen  []seen
	Full  bool // maxSeen was reached
}

// seen is a relayed message.
type seen struct {
	day       int64 // since 1970, UTC
	author    string
	failed    bool
	broken    bool   // it has a failing signature of the author's organization
	proof     string // a signature that only the author's organization can have made, or ""
	list      bool
	sealer    string
	saw       bool // the sealer states that the message passed DMARC there
	signers   []string
	client    netip.Addr
	host      string // the domain of the client's verified name, or ""
	ownSender bool   // SPF passes for an envelope sender that is not in the author's organization
}

// Learn reads the messages since a given time. It calls read after each.
func Learn(ctx context.Context, past *journal.Reader, since time.Time, rules policy.Rules, read func()) (*Learner, error) {
	l := &Learner{Rules: rules}
	err := past.Each(ctx, journal.Filter{Since: since, Outcome: relayed}, func(e *journal.Entry) bool {
		l.Add(e)
		read()
		return ctx.Err() == nil && !l.Full
	})
	return l, errors.Join(err, ctx.Err())
}

// relayed reports whether a list or a forwarder can have relayed a message with this outcome. Such a message either fails DMARC, or passes
// DMARC by a signature. In the second case, SPF fails or an ARC chain passes.
func relayed(o journal.Outcome) bool {
	return o.DMARC == "fail" || o.DMARC == "pass" && o.DKIM == "pass" && (o.SPF == "fail" || o.SPF == "softfail" || o.ARC == "pass")
}

// Add collects a message.
func (l *Learner) Add(e *journal.Entry) {
	s, ok := look(e)
	if !ok || l.trusted(s) {
		return
	}
	if len(l.seen) == maxSeen {
		l.Full = true
		return
	}
	l.seen = append(l.seen, s)
}

// trusted reports whether the rules in effect already trust the relay.
func (l *Learner) trusted(s seen) bool {
	client := func(p netip.Prefix) bool { return p.Contains(s.client) }
	signer := func(f policy.Forwarder) bool { return slices.Contains(s.signers, f.Signer) }
	return s.sealer != "" && slices.Contains(l.Rules.TrustedSealers, s.sealer) || slices.ContainsFunc(l.Rules.TrustedForwarders, client) ||
		slices.ContainsFunc(l.Rules.Forwarders, signer)
}

// look returns the parts of an entry that the Learner needs. It identifies a relay only by results that pass, because anyone can write the
// header fields of a relay.
func look(e *journal.Entry) (s seen, ok bool) {
	ev := &e.Evidence
	if e.Role != policy.RoleVerify || !ev.Connection.SMTP || len(ev.DMARC) != 1 || ev.SPF == nil {
		return s, false
	}
	d := ev.DMARC[0]
	org := cmp.Or(d.OrgDomain, d.Domain)
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
	// A message that passes DMARC counts as relayed in two cases: SPF fails for an envelope sender in the author's domain, or the relay
	// sealed the message. Neither is true of mail from a host that the author uses for sending, such as a newsletter host.
	byKey := d.Status == dmarc.Pass && d.Aligned != nil && d.Aligned.Method == dmarc.DKIM
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

// hostDomain returns the domain of a verified host name: Postfix's {client_name}.
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

// Proposals returns the proposals, those with the most messages first. Each message counts for only one kind of proposal. It counts for its
// sealer, if there is none for its signers, and if there are none for its network.
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
		left = slices.DeleteFunc(slices.Clone(left), func(s seen) bool {
			return slices.ContainsFunc(k.of(&s), func(name string) bool { return taken[name] })
		})
	}
	slices.SortFunc(all, func(a, b Proposal) int {
		return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// around returns the network by which clients are grouped. narrow returns the smallest network of a group.
func around(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits)
	return p
}

// day returns a date. The parameter is the number of days since 1970-01-01.
func day(n int64) time.Time { return time.Unix(n*86400, 0).UTC() }
