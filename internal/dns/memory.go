package dns

import (
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// policyMemory is the time for which a DMARC record is remembered after its TTL has expired. Few outages of name servers are longer. If
	// a domain withdraws its policy, the policy should not remain in effect for longer than this.
	policyMemory = 7 * 24 * time.Hour
	// maxPolicy limits the bytes that are remembered for one name. Published records have one or two hundred bytes.
	maxPolicy = 2 << 10
	// maxPolicies limits the bytes that are remembered for all names: about ten thousand names. The least recently used names are
	// forgotten first. An attacker can displace names that are rarely used. This takes a few hundred messages, each with many domains. If a
	// lookup of such a name then fails, its policy counts as never seen.
	maxPolicies = 4 << 20
	// useInterval limits how often a cached answer is marked as used. Marking it at each use would delay every message.
	useInterval = time.Minute
	// policyOverhead is the approximate memory in bytes that a remembered name needs in addition to its texts.
	policyOverhead = 256
	// policyLabel begins the names of DMARC records: RFC 9989 section 4.5.
	policyLabel = "_dmarc."
)

// learn remembers the DMARC records of an answer from the network. If the name no longer has DMARC records, learn forgets the earlier ones.
// A failed lookup changes nothing. Call it with mu held.
func (r *Resolver) learn(q question, a *answer, now time.Time) {
	if q.qtype != dns.TypeTXT || !strings.HasPrefix(q.name, policyLabel) || a.err != nil && !a.err.IsNotFound {
		return
	}
	r.policies.remove(q.name)
	var records []string
	text := 0
	for _, t := range a.text {
		if isPolicy(t) {
			records = append(records, strings.Clone(t))
			text += len(t)
		}
	}
	if text > 0 && text <= maxPolicy {
		a.policy, a.used = r.policies.put(q.name, records, now.Add(a.ttl+policyMemory), policyOverhead+len(q.name)+text), now
	}
}

// use marks the record of a cached answer as used. a may be nil. Call it with mu held.
func (r *Resolver) use(a *answer, now time.Time) {
	if a != nil && a.policy != nil && now.Sub(a.used) > useInterval {
		a.used = now
		r.policies.order.MoveToFront(a.policy) // has no effect if a.policy was removed from the list
	}
}

// isPolicy reports whether a TXT record begins like a DMARC record: RFC 9989 section 4.8, dmarc-version.
func isPolicy(text string) bool {
	name, version, _ := strings.Cut(text, "=")
	version, _, _ = strings.Cut(version, ";")
	return strings.EqualFold(strings.TrimRight(name, " \t"), "v") && strings.Trim(version, " \t") == "DMARC1"
}

// Remembered returns the DMARC records of the last answer for name that contained such records. They are kept for 7 days after their TTL
// has expired. It returns nil if no records are kept. Possible reasons are that name does not begin with _dmarc., was not looked up, or had
// no such record in a later answer. A failed lookup changes nothing.
func (v *View) Remembered(name string) []string {
	full, err := canonical(name)
	if err != nil {
		return nil
	}
	r := v.shared.resolver
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.policies.get(full, now))
}
