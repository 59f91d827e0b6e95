package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/domain"
)

// LocalRule is the operator's exception: one [[allow]] or [[deny]]. What is given of Domain and Network has to fit.
type LocalRule struct {
	Domain  string       // the Author Domain, or one above it; empty: any
	Network netip.Prefix // not valid: any
	Comment string
	Expires time.Time // from then on it does not count
}

// String names a rule as the operator wrote it.
func (l LocalRule) String() string {
	var parts []string
	if l.Domain != "" {
		parts = append(parts, "domain "+l.Domain)
	}
	if l.Network.IsValid() {
		parts = append(parts, "network "+l.Network.String())
	}
	return fmt.Sprintf("%s, %q, until %s", strings.Join(parts, " and "), l.Comment, l.Expires.AddDate(0, 0, -1).Format(time.DateOnly))
}

// At gives the rules as they are at a time: without the exceptions and the accepted forwarders that have expired.
func (r Rules) At(now time.Time) Rules {
	r.forwardersAt(now)
	over := func(l LocalRule) bool { return !now.Before(l.Expires) }
	if slices.ContainsFunc(r.Allow, over) {
		r.Allow = slices.DeleteFunc(slices.Clone(r.Allow), over)
	}
	if slices.ContainsFunc(r.Deny, over) {
		r.Deny = slices.DeleteFunc(slices.Clone(r.Deny), over)
	}
	return r
}

// deniedRelay returns the first [[deny]] whose domain is that of a relay, or one above it: it does not spare a message.
func deniedRelay(e Evidence, r Rules, relay Relay) (LocalRule, bool) {
	for _, l := range r.Deny {
		if l.Domain != "" && domain.Within(relay.Domain, l.Domain) && l.from(e) {
			return l, true
		}
	}
	return LocalRule{}, false
}

// denied is the first [[deny]] that fits: one author of its domain is enough.
func denied(e Evidence, r Rules) (Verdict, bool) {
	for _, l := range r.Deny {
		within := func(d string) bool { return domain.Within(d, l.Domain) }
		if !l.from(e) || l.Domain != "" && !slices.ContainsFunc(e.Author.Domains, within) {
			continue
		}
		what := "mail from " + e.Connection.Client.String()
		if l.Domain != "" {
			what = "mail of " + l.Domain
		}
		return Verdict{Reply: Reply{550, "5.7.1", "Refused by local policy: " + what + " is not accepted here"},
			Reason: "[[deny]] " + l.String(), Override: LocalPolicy}, true
	}
	return Verdict{}, false
}

// allowed lets through what was to be refused, held, tagged or deferred, where an [[allow]] fits: all authors have to be of
// its domain.
func allowed(e Evidence, r Rules, v Verdict) Verdict {
	if v.Reply.Code == 0 && v.Hold == "" && v.Tag == "" {
		return v
	}
	for _, l := range r.Allow {
		outside := func(d string) bool { return !domain.Within(d, l.Domain) }
		if !l.from(e) || l.Domain != "" && (len(e.Author.Domains) == 0 || slices.ContainsFunc(e.Author.Domains, outside)) {
			continue
		}
		return Verdict{Reason: v.Reason + "; let through, local_policy: [[allow]] " + l.String(), Override: LocalPolicy}
	}
	return relayed(e, r, v)
}

// from says whether the client is in the rule's network.
func (l LocalRule) from(e Evidence) bool {
	return !l.Network.IsValid() || contains([]netip.Prefix{l.Network}, e.Connection.Client)
}

// reject is dmarc.reject for an Author Domain, and the key that says so: the nearest [dmarc.domain.NAME] at or above it.
func (r Rules) reject(domain string) (word, key string) {
	for name := domain; name != ""; _, name, _ = strings.Cut(name, ".") {
		if word, ok := r.RejectFor[name]; ok {
			return word, "dmarc.domain." + name + ".reject"
		}
	}
	return r.Reject, "dmarc.reject"
}
