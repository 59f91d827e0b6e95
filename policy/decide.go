package policy

import (
	"net/netip"

	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// The values of the configuration keys for inbound mail.
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

// Rules are the operator's settings.
type Rules struct {
	TrustedNetworks []netip.Prefix
	SkipNetworks    []netip.Prefix
	Hosted          map[string]bool     // domains that have had an active key
	SignDomains     []string            // empty: every hosted one
	Subdomains      bool                // mail from a name below a hosted domain is signed with that domain's key
	LoginDomains    map[string][]string // maps a login in lower case to the domains that it may use; empty: no restrictions
	LoginMaps       bool                // sign.login_maps is set
	LoginSender     bool                // sign.login_sender
	LoginUnlisted   Action              // sign.login_unlisted: Accept or Reject
	LoginMismatch   Action              // sign.login_mismatch: Reject, or Accept if it is "log"
	OnMissingKey    Action              // Tempfail, Hold or Accept

	// Settings for inbound mail. The values are those of the configuration.
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
	DiscardReports    bool        // reports.receive.discard
}

// Decide returns the verdict on a message whose role is RoleVerify.
func Decide(e Evidence, r Rules) Verdict {
	if !e.Connection.SMTP {
		return accept() // ResultsOnly: there is no client that could receive a reply
	}
	v := decide(e, r)
	v.Override = override(v.Reasons)
	return received(e, r, v)
}

func decide(e Evidence, r Rules) Verdict {
	if v, ok := denied(e, r); ok {
		return v
	}
	if e.Author.Cause != "" {
		return hostile(e, r)
	}
	return allowed(e, r, byResults(e, r))
}

// byResults returns the verdict that follows from the results of SPF and DMARC.
func byResults(e Evidence, r Rules) Verdict {
	d := decideDMARC(e, r)
	spf := decideSPF(e, r)
	switch {
	case d.Action == Reject && spf.Action == Reject:
		return Verdict{Action: Reject, Reply: replyBoth(d.Reply, spf.Reply), Reasons: append(d.Reasons, spf.Reasons...), Evidence: d.Evidence}
	case d.Action == Reject:
		return d
	case d.Action == Tempfail: // a retry may succeed
		return d
	case spf.Action != "" && (spf.Action != Accept || d.Code().Plain()):
		return spf
	}
	return d
}

// hostile returns the verdict on a message in which two programs may find different authors. DMARC cannot be evaluated for such a message,
// which is a threat (RFC 9989 section 11.5). A From field with too many domains is never accepted: a forger would put the forged domain
// last, where it is not checked.
func hostile(e Evidence, r Rules) Verdict {
	why := hostileFrom(e.Author)
	if r.HostileFrom == HostileTag && e.Author.Cause != dmarc.FromTooManyDomains {
		return Verdict{Action: Tag, Reasons: []Reason{why, {Code: HostileTagged}}}
	}
	return refuse(replyTo(why), why)
}

func hostileFrom(a dmarc.Author) Reason {
	return Reason{Code: HostileFrom, Detail: a.Detail, Cause: string(a.Cause)}
}

// decideDMARC returns the strictest verdict of all Author Domains.
func decideDMARC(e Evidence, r Rules) Verdict {
	if len(e.DMARC) == 0 {
		return accept(Reason{Code: NoAuthor})
	}
	rank := func(v Verdict) int {
		switch v.Action {
		case Reject:
			return 5
		case Tempfail:
			return 4
		case Hold, Tag:
			return 3
		}
		if !v.Code().Plain() {
			return 2
		}
		return 1
	}
	var worst Verdict
	for i, d := range e.DMARC {
		if v := decideDomain(e, d, r); i == 0 || rank(v) > rank(worst) {
			worst = v
		}
	}
	return worst
}

// requested returns the tag that requests the policy, such as "sp=reject".
func requested(d dmarc.Result) string { return d.Tag + "=" + string(d.Published) }

func dmarcFail(d dmarc.Result) Reason {
	r := Reason{Code: DMARCFail, Domain: d.Domain, Detail: requested(d)}
	if d.Fault != nil {
		r.Cause = string(d.Fault.Cause) // it counts as p=none
	}
	return r
}

func decideDomain(e Evidence, d dmarc.Result, r Rules) Verdict {
	switch d.Status {
	case dmarc.TempError:
		return temporary(e, d, r)
	case dmarc.Fail:
		return failing(e, d, r, dmarcFail(d))
	case dmarc.Pass:
		return accept(Reason{Code: DMARCPass, Domain: d.Domain})
	case dmarc.PermError:
		return accept(Reason{Code: DMARCPermError, Domain: d.Domain, Cause: string(d.Cause)})
	}
	return accept(Reason{Code: DMARCNone, Domain: d.Domain})
}

// failing returns the verdict that the policy requests for a message that is not authenticated. The parameter why has the reasons so far.
func failing(e Evidence, d dmarc.Result, r Rules, why ...Reason) Verdict {
	if d.Testing {
		why = append(why, Reason{Code: TestMode})
	}
	if d.Policy != dmarc.PolicyQuarantine && d.Policy != dmarc.PolicyReject {
		return accept(why...) // RFC 9989 section 5.4: the policy none does not change how the message is handled
	}
	if v, ok := vouched(e, r, d.Domain, why); ok {
		return v
	}
	if d.Policy == dmarc.PolicyQuarantine {
		return quarantine(r, why...)
	}
	exemption, failed, denied := exempt(e, d, r)
	shown := unrelayed(e, d)
	if len(denied) > 0 {
		shown = denied
	}
	reject, key := r.reject(d.Domain)
	switch {
	case reject == RejectNever:
		return quarantine(r, append(why, Reason{Code: NeverReject, Detail: key})...)
	case reject == RejectOnEvidence && exemption.Code != "":
		// RFC 9989 section 7.4: p=reject alone is not sufficient for a rejection.
		return quarantine(r, append(why, exemption)...)
	case reject == RejectOnEvidence && failed != "":
		return refuse(replyUnverified(d, failed), append(why, Reason{Code: RelayUnverified, Detail: failed})...)
	case exemption.Code != "":
		shown = []Reason{{Code: AlwaysReject, Detail: key}, exemption}
	}
	v := refuse(replyRejected(e, d), why...)
	v.Evidence = shown
	return v
}

func quarantine(r Rules, why ...Reason) Verdict {
	if r.Quarantine == QuarantineHold {
		return Verdict{Action: Hold, Reasons: why}
	}
	return Verdict{Action: Tag, Reasons: why}
}

// temporary returns the verdict on a message for which a lookup failed. A sender can cause such a failure, so the verdict is never milder
// than the verdict on a DMARC failure. The message is treated as if the lookup had found nothing, but it is deferred instead of rejected.
// It is accepted in two cases: the policy is known to be none, or no policy was ever seen and our own DNS works.
func temporary(e Evidence, d dmarc.Result, r Rules) Verdict {
	why := Reason{Code: DMARCTempError, Domain: d.Domain, Detail: d.Failed, Cause: string(d.Cause)}
	switch {
	case d.Assumed == dmarc.Pass || d.Policy == dmarc.PolicyNone:
		return accept(why)
	case e.Fault == Exhausted:
		return refuse(replyExhausted(), why, Reason{Code: NoSlot})
	case e.Fault == Unreachable:
		return refuse(replyDNSDown(), why, Reason{Code: DNSDown})
	case r.TempError == TempErrorDefer:
		return refuse(replyTempfail(d), why)
	case d.Assumed != dmarc.Fail:
		return accept(why)
	}
	as := failing(e, d, r, why, Reason{Code: TempErrorAsFail, Domain: d.Domain, Detail: requested(d)})
	if as.Action == Reject {
		as.Action, as.Reply, as.Evidence = Tempfail, replyTempfail(d), nil
	}
	return as
}

// decideSPF returns the verdict of spf.fail = "reject". The zero Verdict leaves the decision to DMARC. decideSPF returns the zero Verdict
// if the message passes DMARC, if it is from a trusted forwarder, or if a trusted sealer found that it passed DMARC. SPF fails at every
// honest forwarder, whereas an aligned signature is evidence of the author (RFC 9989 section 7.1).
func decideSPF(e Evidence, r Rules) Verdict {
	if r.SPFFail != SPFReject || e.SPF == nil || contains(r.TrustedForwarders, e.Connection.Client) {
		return Verdict{}
	}
	for _, d := range e.DMARC {
		if _, saw := sealer(e, r, d.Domain); d.Status == dmarc.Pass || saw > 0 {
			return Verdict{}
		}
	}
	switch e.SPF.Status {
	case spf.Fail:
		return refuse(replySPF(e), Reason{Code: SPFFail, Domain: e.SPF.Domain, Detail: e.Connection.Client.String()})
	case spf.TempError:
		why := Reason{Code: SPFTempError, Domain: e.SPF.Domain, Detail: e.SPF.Failed, Cause: string(e.SPF.Cause)}
		// The term whose lookup failed is before -all and might have matched. Without any record, SPF cannot fail.
		if r.TempError == TempErrorDefer || e.SPF.Record != "" {
			return refuse(replySPFTempfail(e.SPF), why)
		}
		return accept(why)
	}
	return Verdict{}
}
