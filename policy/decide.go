package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// The operator's choices about strangers' mail, in the words of the configuration.
const (
	RejectOnEvidence = "evidence" // dmarc.reject
	RejectAlways     = "always"
	RejectNever      = "never"
	QuarantineTag    = "tag" // dmarc.quarantine
	QuarantineHold   = "hold"
	TempErrorAccept  = "accept" // dmarc.temperror
	TempErrorDefer   = "tempfail"
	SPFLeftToDMARC   = "dmarc" // spf.fail
	SPFReject        = "reject"
	HostileRefuse    = "refuse" // verify.hostile_from
	HostileTag       = "tag"
)

// Rules are the operator's choices.
type Rules struct {
	TrustedNetworks []netip.Prefix
	SkipNetworks    []netip.Prefix
	Hosted          map[string]bool     // domains that have had an active key
	SignDomains     []string            // empty: every hosted one
	Subdomains      bool                // a name below a hosted domain signs with that domain's key
	LoginDomains    map[string][]string // login, lower case -> domains it may use; empty: any
	OnMissingKey    MissingKeyAction

	// About strangers' mail; the words are those of the configuration.
	HostileFrom       string            // verify.hostile_from
	Reject            string            // dmarc.reject
	RejectFor         map[string]string // [dmarc.domain.NAME]: domain -> reject
	Quarantine        string            // dmarc.quarantine
	TempError         string            // dmarc.temperror
	TrustedForwarders []netip.Prefix
	TrustedSealers    []string // ARC d=, lower-case A-labels
	SPFFail           string   // spf.fail
	Allow, Deny       []LocalRule
	Forwarders        []Forwarder // dmarc.forwarders_file
}

// Decide returns the verdict on a message whose role is Verify.
func Decide(e Evidence, r Rules) Verdict {
	if !e.Connection.SMTP {
		return Verdict{} // results only: whoever sent it is gone
	}
	if v, ok := denied(e, r); ok {
		return v
	}
	if e.Author.Doubt != "" {
		return hostile(e, r)
	}
	return allowed(e, r, byResults(e, r))
}

// byResults is what SPF and DMARC lead to.
func byResults(e Evidence, r Rules) Verdict {
	d, refused := judgeDMARC(e, r)
	spf, spfRefused := judgeSPF(e, r)
	switch {
	case refused && spfRefused:
		// RFC 7372 section 3.4.
		return Verdict{
			Reply:    Reply{550, "5.7.26", "Multiple authentication checks failed: " + d.Reply.Text + "; " + spf.Reply.Text},
			Reason:   d.Reason + "; " + spf.Reason,
			Evidence: d.Evidence,
		}
	case refused:
		return d
	case d.Reply.Code != 0: // deferred: the next try may know more
		return d
	case spf.Reply.Code != 0, d.Reason == "":
		return spf
	}
	return d
}

// hostile: RFC 9989 section 11.5: mail whose author no two readers would agree on is outside DMARC, and a threat. More
// domains than are looked up are never let through: the one that fails would stand last.
func hostile(e Evidence, r Rules) Verdict {
	if r.HostileFrom == HostileTag && !e.Author.TooMany {
		return Verdict{Tag: e.Author.Doubt, Reason: e.Author.Doubt + "; verify.hostile_from = tag"}
	}
	return Verdict{Reply: Reply{550, "5.6.0", "Message not accepted: " + e.Author.Doubt}, Reason: e.Author.Doubt}
}

// judgeDMARC takes the strictest of what the Author Domains' policies lead to.
func judgeDMARC(e Evidence, r Rules) (worst Verdict, refused bool) {
	rank := func(v Verdict) int {
		switch {
		case v.Reply.Code >= 500:
			return 4
		case v.Reply.Code != 0:
			return 3
		case v.Hold != "" || v.Tag != "":
			return 2
		case v.Reason != "":
			return 1
		}
		return 0
	}
	for _, d := range e.DMARC {
		if v := judgeDomain(e, d, r); rank(v) > rank(worst) {
			worst = v
		}
	}
	return worst, worst.Reply.Code >= 500
}

func judgeDomain(e Evidence, d dmarc.Result, r Rules) Verdict {
	switch d.Status {
	case dmarc.TempError:
		return temporary(e, d, r)
	case dmarc.Fail:
		return failing(e, d, r, "DMARC fails for "+d.Domain)
	}
	return Verdict{}
}

// failing carries out the policy for a message that is not authenticated. what states that; the policy is added to it.
func failing(e Evidence, d dmarc.Result, r Rules, what string) Verdict {
	asked := fmt.Sprintf("%s, %s", what, d.Source(d.PolicyDomain))
	var testing Override
	if d.Testing {
		asked += ", t=y"
		testing = PolicyTestMode
	}
	if d.Policy != dmarc.PolicyQuarantine && d.Policy != dmarc.PolicyReject {
		return Verdict{Reason: asked, Override: testing} // RFC 9989 section 5.4: handling is not to change
	}
	if v, ok := vouched(e, r, d.Domain, asked); ok {
		return v
	}
	if d.Policy == dmarc.PolicyQuarantine {
		return quarantine(asked, testing, r)
	}
	exemption, failed, denied := exempt(e, d, r)
	shown := unrelayed(e, d)
	if len(denied) > 0 {
		shown = denied
	}
	reject, key := r.reject(d.Domain)
	switch {
	case reject == RejectNever:
		return quarantine(asked+"; not rejected: "+key+" = never", LocalPolicy, r)
	case reject == RejectOnEvidence && exemption.why != "":
		// RFC 9989 section 7.4: never on p=reject alone.
		return quarantine(asked+"; not rejected: "+exemption.why, exemption.kind, r)
	case reject == RejectOnEvidence && failed != "":
		text := fmt.Sprintf("DMARC fails for %s and no relay can be verified: lookup of %s failed, try again later", d.Domain, failed)
		if d.Status == dmarc.TempError {
			text = fmt.Sprintf("DMARC cannot be evaluated for %s: lookup of %s failed, try again later", d.Domain, failed)
		}
		return Verdict{
			Reply:  Reply{451, "4.7.1", text},
			Reason: asked + "; not rejected yet: a relay cannot be verified, because the lookup of " + failed + " failed",
		}
	case exemption.why != "":
		shown = []string{key + " = always, although " + exemption.why}
	}
	return Verdict{
		Reply:    Reply{550, "5.7.1", fmt.Sprintf("Email rejected per DMARC policy for %s: neither SPF nor DKIM passes for that domain (%s)", d.Domain, findings(e))},
		Reason:   asked,
		Evidence: shown,
	}
}

func quarantine(why string, o Override, r Rules) Verdict {
	if r.Quarantine == QuarantineHold {
		return Verdict{Hold: why, Reason: why, Override: o}
	}
	return Verdict{Tag: why, Reason: why, Override: o}
}

// temporary decides about a message for which a lookup failed. Such a failure never gets it further than a DMARC failure would,
// since a sender can cause one: it is treated as if the lookup had found nothing, but deferred instead of rejected. It is
// accepted only where the policy is known to be none, or where no policy was ever seen and our own DNS works.
func temporary(e Evidence, d dmarc.Result, r Rules) Verdict {
	v := Verdict{Reason: d.Reason}
	if d.Assumed == dmarc.Pass || d.Policy == dmarc.PolicyNone {
		return v
	}
	switch {
	case e.Fault == Exhausted:
		v.Reply = Reply{451, "4.3.0", "Too many DNS lookups under way here, try again later"}
		v.Reason += "; out of DNS slots or file descriptors"
		return v
	case e.Fault == Unreachable:
		v.Reply = Reply{451, "4.4.3", "DNS does not work here at the moment, try again later"}
		v.Reason += "; the DNS root does not answer either, so the fault is in our own DNS"
		return v
	case r.TempError == TempErrorDefer:
		v.Reply = deferral(d)
		return v
	case d.Assumed != dmarc.Fail:
		return v
	}
	as := failing(e, d, r, d.Reason+"; counts as a DMARC failure for "+d.Domain)
	if as.Reply.Code >= 500 {
		as.Reply, as.Evidence = deferral(d), nil
	}
	return as
}

// deferral asks the client to try again, and names the lookup that failed.
func deferral(d dmarc.Result) Reply {
	failed := "lookup of " + d.Failed + " failed, try again later"
	switch d.Cause {
	case dmarc.DKIM: // RFC 6376 section 6.3
		return Reply{451, "4.7.5", "Unable to verify signature, key server unavailable: " + failed}
	case dmarc.SPF: // RFC 7372 section 3.2
		return Reply{451, "4.7.24", "SPF validation error: " + failed}
	}
	return Reply{451, "4.7.1", "DMARC cannot be evaluated: " + failed}
}

// judgeSPF is spf.fail = "reject". A message that passes DMARC goes on, since SPF breaks at every honest forwarder while
// an aligned signature speaks for the author (RFC 9989 section 7.1); so does one of a trusted forwarder, and one of which a
// trusted sealer swears that it had passed.
func judgeSPF(e Evidence, r Rules) (v Verdict, refused bool) {
	if r.SPFFail != SPFReject || e.SPF == nil || contains(r.TrustedForwarders, e.Connection.Client) {
		return Verdict{}, false
	}
	for _, d := range e.DMARC {
		if _, saw := sealer(e, r, d.Domain); d.Status == dmarc.Pass || saw > 0 {
			return Verdict{}, false
		}
	}
	switch e.SPF.Status {
	case spf.Fail:
		return Verdict{
			Reply:  Reply{550, "5.7.23", fmt.Sprintf("SPF validation failed: %s may not send mail for %s", e.Connection.Client, e.SPF.Domain)},
			Reason: "SPF fails for " + e.SPF.Domain + ", spf.fail = reject",
		}, true
	case spf.TempError:
		v = Verdict{Reason: "SPF of " + e.SPF.Domain + ": " + e.SPF.Reason}
		// A term whose lookup failed may stand between the client and -all. Without any record there is nothing to fail.
		if r.TempError == TempErrorDefer || e.SPF.Record != "" {
			v.Reply = Reply{451, "4.7.24", fmt.Sprintf("SPF validation error for %s: lookup of %s failed, try again later", e.SPF.Domain, e.SPF.Failed)}
		}
		return v, false
	}
	return Verdict{}, false
}

// findings are the checks of a message in words for its sender's administrator.
func findings(e Evidence) string {
	var all []string
	if e.SPF != nil && e.SPF.Domain != "" {
		all = append(all, fmt.Sprintf("SPF %s for %s", e.SPF.Status, e.SPF.Domain))
	}
	const most = 3
	for i, s := range e.DKIM {
		switch {
		case i == most:
			all = append(all, fmt.Sprintf("and %d more signatures", len(e.DKIM)-most))
		case i < most && s.Domain != "":
			all = append(all, fmt.Sprintf("DKIM %s for %s", s.Status, s.Domain))
		case i < most:
			all = append(all, fmt.Sprintf("DKIM %s", s.Status))
		}
	}
	if len(e.DKIM) == 0 {
		all = append(all, "no DKIM signature")
	}
	return strings.Join(all, ", ")
}
