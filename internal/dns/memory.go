package dns

import (
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// policyMemory is how long a DMARC record is remembered beyond its TTL: an outage of a domain's name servers that lasts
	// longer is rare, and a domain that gave up its policy is not held to it for longer.
	policyMemory = 7 * 24 * time.Hour
	// maxPolicy bounds the bytes that are remembered of one name. Published records have a hundred or two.
	maxPolicy = 2 << 10
	// maxPolicies bounds the bytes that are remembered in all, some ten thousand names. The least recently used names are
	// forgotten first. A name in use is forgotten only if that many other names with DMARC records arrive between two of its
	// uses: some hundred messages that name nothing but such domains. Such a flood displaces the names of rare mail. If their
	// lookup then fails, it counts as if no policy had ever been seen.
	maxPolicies = 4 << 20
	// useInterval is how often a use of a cached answer is noted: noting every use would cost each message time.
	useInterval = time.Minute
	// policyOverhead is about what a remembered name takes beside its text.
	policyOverhead = 256
	// policyLabel begins the names of DMARC records: RFC 9989 section 4.5.
	policyLabel = "_dmarc."
)

// learn notes an answer from the network: it remembers DMARC records, and forgets them if the name no longer has any. A failed
// lookup changes nothing. Call it with mu held.
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
		r.policies.order.MoveToFront(a.policy) // which does nothing if it was removed
	}
}

// isPolicy reports whether a TXT record begins as a DMARC record does: RFC 9989 section 4.8, dmarc-version.
func isPolicy(text string) bool {
	name, version, _ := strings.Cut(text, "=")
	version, _, _ = strings.Cut(version, ";")
	return strings.EqualFold(strings.TrimRight(name, " \t"), "v") && strings.Trim(version, " \t") == "DMARC1"
}

// Remembered returns the DMARC records of the last answer for name that had any. They are kept for 7 days beyond their TTL.
// It returns nil if none are kept: name does not begin with _dmarc., has not been looked up, or a later answer had no such
// record. A lookup that fails changes nothing.
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
