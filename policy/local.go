package policy

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/domain"
)

// LocalRule is an exception of the operator: one [[allow]] or [[deny]]. If both Domain and Network are set, both must match.
type LocalRule struct {
	Domain  string       // the Author Domain or a parent of it; empty: any domain
	Network netip.Prefix // not valid: any network
	Comment string
	Expires time.Time // from this time on, the rule does not apply
}

// String returns a rule as key=value pairs.
func (l LocalRule) String() string {
	text := commonKeys(l.Network, l.Comment, l.Expires)
	if l.Domain != "" {
		text = "domain=" + l.Domain + " " + text
	}
	return text
}

// At returns the rules that apply at the time now. They include no expired exception and no expired accepted forwarder.
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

// deniedRelay returns the first [[deny]] whose domain is the domain of the relay or a parent of it. Such a relay does not count as
// evidence.
func deniedRelay(e Evidence, r Rules, relay Relay) (LocalRule, bool) {
	for _, l := range r.Deny {
		if l.Domain != "" && domain.Within(relay.Domain, l.Domain) && l.from(e) {
			return l, true
		}
	}
	return LocalRule{}, false
}

// denied returns the verdict of the first [[deny]] that matches. A domain matches if at least one Author Domain is within it.
func denied(e Evidence, r Rules) (Verdict, bool) {
	for _, l := range r.Deny {
		within := func(d string) bool { return domain.Within(d, l.Domain) }
		if !l.from(e) || l.Domain != "" && !slices.ContainsFunc(e.Author.Domains, within) {
			continue
		}
		return refuse(replyDenied(l.Domain, e.Connection.Client), Reason{Code: LocalDeny, Domain: l.Domain, Detail: l.String()}), true
	}
	return Verdict{}, false
}

// allowed returns a verdict that accepts the message if an [[allow]] or an accepted forwarder matches. If none matches, or if v already
// accepts the message, it returns v. The domain of an [[allow]] matches if all Author Domains are within it.
func allowed(e Evidence, r Rules, v Verdict) Verdict {
	if v.Action == Accept {
		return v
	}
	for _, l := range r.Allow {
		outside := func(d string) bool { return !domain.Within(d, l.Domain) }
		if !l.from(e) || l.Domain != "" && (len(e.Author.Domains) == 0 || slices.ContainsFunc(e.Author.Domains, outside)) {
			continue
		}
		return Verdict{Action: Accept, Reasons: append(v.Reasons, Reason{Code: LocalAllow, Domain: l.Domain, Detail: l.String()})}
	}
	return relayed(e, r, v)
}

// from reports whether the client's address is in the network of the rule.
func (l LocalRule) from(e Evidence) bool {
	return !l.Network.IsValid() || contains([]netip.Prefix{l.Network}, e.Connection.Client)
}

// reject returns the value of dmarc.reject for an Author Domain, and the configuration key that sets it. The nearest [dmarc.domain.NAME] at
// or above the domain takes precedence.
func (r Rules) reject(domain string) (word, key string) {
	for name := domain; name != ""; _, name, _ = strings.Cut(name, ".") {
		if word, ok := r.RejectFor[name]; ok {
			return word, "dmarc.domain." + name + ".reject"
		}
	}
	return r.Reject, "dmarc.reject"
}
