package worker

import (
	"strings"

	"signpost/internal/domain"
	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
)

// sources collects the messages that pass DMARC in our name, and come from addresses that are neither ours nor known.
type sources struct {
	site Site
	all  bundles
}

// add adds a record. A message with a signature of a key of ours that passes is no concern: a forwarder passed it on. All other messages are: they
// have a signature with an aligned domain and a key that we do not have, or SPF passed because our record includes the address.
func (s sources) add(p received.Passed) {
	a := status.Alarm{Code: status.UnknownSource, Domain: p.Domain, Source: p.Source}
	if p.DKIM {
		other, ours := s.signers(p)
		switch {
		case ours:
			return
		case other != nil:
			a.Signer, a.Selector = other.Domain, other.Selector
		case !p.SPF && s.anyKey(p.Domain):
			return // the report does not name the signature, which may be ours
		}
	}
	s.all.add(a, p.Evidence, p.Messages).from(p.Source, p.Messages)
}

// signers looks at the aligned signatures of a record that pass. ours is true if one of them is, or may be, of a key of ours; other is the first
// one that is not.
func (s sources) signers(p received.Passed) (other *read.Signature, ours bool) {
	for i, sig := range p.Signatures {
		if sig.Result != "pass" || !aligned(sig.Domain, p) {
			continue
		}
		selectors := s.site.Keys[sig.Domain]
		switch {
		case selectors[strings.ToLower(sig.Selector)] || sig.Selector == "" && len(selectors) > 0:
			return nil, true
		case other == nil:
			other = &p.Signatures[i]
		}
	}
	return other, false
}

// aligned reports whether a domain can be aligned with the header From of a record: both have the same Policy Domain, or one is above the other.
func aligned(name string, p received.Passed) bool {
	from := p.HeaderFrom
	if from == "" {
		from = p.Domain
	}
	return domain.Within(name, from) || domain.Within(from, name) || domain.Within(name, p.Domain) && domain.Within(from, p.Domain)
}

// anyKey reports whether we have or had a key of a Policy Domain or a domain below it.
func (s sources) anyKey(policyDomain string) bool {
	for name, selectors := range s.site.Keys {
		if len(selectors) > 0 && domain.Within(name, policyDomain) {
			return true
		}
	}
	return false
}

func (s sources) alarms(total map[string]int64) (all []status.Alarm) {
	for _, b := range s.all.sorted() {
		if b.Messages >= minMessages {
			all = append(all, b.finish(total[b.Domain]))
		}
	}
	return all
}
