package policy

import (
	"fmt"
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

// Decide gives the verdict on a message whose role is Verify.
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
	switch {
	case d.Status == dmarc.TempError:
		return undecided(d, r)
	case d.Status != dmarc.Fail:
		return Verdict{}
	}
	asked := fmt.Sprintf("DMARC fails for %s, %s=%s at %s", d.Domain, d.Tag, d.Published, d.PolicyDomain)
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
	shown, against := evidence(e, d, r)
	reject, key := r.reject(d.Domain)
	switch {
	case reject == RejectNever:
		return quarantine(asked+"; not refused: "+key+" = never", LocalPolicy, r)
	case reject == RejectOnEvidence && against.why != "":
		// RFC 9989 section 7.4: never on p=reject alone.
		return quarantine(asked+"; not refused: "+against.why, against.kind, r)
	case against.why != "":
		shown = append(shown, key+" = always, although "+against.why)
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

// undecided is about a message that could have passed, had DNS answered. Where the policy is known to ask for nothing,
// it is not held up.
func undecided(d dmarc.Result, r Rules) Verdict {
	v := Verdict{Reason: d.Reason}
	if r.TempError != TempErrorDefer || d.Policy == dmarc.PolicyNone {
		return v
	}
	switch d.Cause {
	case dmarc.DKIM: // RFC 6376 section 6.3
		v.Reply = Reply{451, "4.7.5", "Unable to verify signature - key server unavailable: "}
	case dmarc.SPF: // RFC 7372 section 3.2
		v.Reply = Reply{451, "4.7.24", "SPF validation error: "}
	default:
		v.Reply = Reply{451, "4.7.1", "DMARC cannot be evaluated: "}
	}
	v.Reply.Text += d.Reason + ", try again later"
	return v
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
		if r.TempError == TempErrorDefer {
			v.Reply = Reply{451, "4.7.24", "SPF validation error: the records of " + e.SPF.Domain + " could not be looked up, try again later"}
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
