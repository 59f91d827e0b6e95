package explain

import (
	"fmt"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/policy"
)

// short returns a short explanation of the action, for readers who are not mail administrators.
func (x *explainer) short() string {
	done := x.done()
	if x.Observe {
		done = fmt.Sprintf("Observe mode: the message was accepted unchanged. Otherwise the action would have been %s.", x.Decided())
	}
	return done + " " + x.why()
}

func (x *explainer) done() string {
	switch x.Decided() {
	case policy.Sign:
		return "The message was signed."
	case policy.Reject:
		return fmt.Sprintf("The message was rejected (%d): the sending server got this reply, and no recipient here got the message.", x.Reply.Code)
	case policy.Tempfail:
		return fmt.Sprintf("The message was deferred (%d): the sending server will retry automatically.", x.Reply.Code)
	case policy.Hold:
		return "The message is on hold: it stays in the queue here until the postmaster releases it."
	case policy.Discard:
		return "The message was discarded: it was accepted, and no recipient got it."
	case policy.Tag:
		return "The message was accepted, with a header field that marks it as suspicious."
	}
	switch x.Role {
	case policy.RoleBypass:
		return "The message was accepted, neither verified nor signed."
	case policy.RoleSign:
		return "The message was sent unsigned."
	}
	return "The message was accepted."
}

func (x *explainer) why() string {
	a, v := x.Assignment, x.Verdict
	switch {
	case v.Code() == policy.InternalError:
		return "Signpost could not process it because of an error on this server, which the sender did not cause."
	case x.Decided() == policy.Sign:
		return x.whySigned()
	case v.Code() == policy.HostileFrom:
		return fmt.Sprintf("Mail programs disagree about the author of such a message, and forgers exploit that: %s.%s", v.Reasons[0], x.acceptedBy())
	case a.Role == policy.RoleSign && a.Domain != "":
		return fmt.Sprintf("It is outbound mail and should have been signed for %s, but could not be signed: %s.", a.Domain, policy.Text(v.Reasons))
	case a.Role == policy.RoleSign:
		return fmt.Sprintf("It is outbound mail, %s: %s.", submitters(a.Reason), policy.Text(v.Reasons))
	case a.Role == policy.RoleBypass:
		text := sentence(a.Reason)
		if r, ok := v.Find(policy.LoginMismatch, policy.TableFailed); ok { // sign.login_mismatch = "log"
			text += " Warning: " + r.String() + "."
		}
		return text
	case v.Code() == policy.LocalDeny:
		return "The postmaster here rejects such mail, whatever the checks find: " + v.Reasons[0].String() + "."
	case v.Code() == policy.HeaderTooLarge:
		return sentence(v.Reasons[0])
	case a.ResultsOnly:
		return "It came from the queue of this host, so there is no client to reply to. The decision was made when the message first arrived."
	}
	return x.whyByResults()
}

func (x *explainer) whySigned() string {
	signed := "was signed"
	if x.Observe {
		signed = "would have been signed"
	}
	text := fmt.Sprintf("It is outbound mail, %s, and %s for %s by %s.", submitters(x.Assignment.Reason), signed, x.Assignment.Domain, keysOf(x.Selectors))
	if absent := policy.Absent(x.e.Absent); absent != "" {
		text += " It has " + absent + "."
	}
	if why := x.Assignment.Reason; why.Address != "" {
		text += " Warning: " + why.String() + "."
	}
	if long := policy.LongLines(x.e.LongLines); long != "" {
		text += " Warning: " + long + "."
	}
	return text
}

// submitters returns a phrase about the origin of an outbound message.
func submitters(r policy.Reason) string {
	switch r.Code {
	case policy.Authenticated, policy.LoginMismatch, policy.TableFailed: // the last two: sign.login_mismatch = "log"
		return "from an authenticated client"
	case policy.Originating:
		return "from the submission service (daemon_name ORIGINATING)"
	case policy.TrustedNetwork:
		return "from a client in trusted_networks"
	case policy.LocalSubmission:
		return "submitted on this host"
	}
	return r.String()
}

// sentence returns a reason as a sentence.
func sentence(r policy.Reason) string {
	switch r.Code {
	case policy.ReportReceived:
		return fmt.Sprintf("It is a report of %s, and signpost reports read has a copy of it (reports.receive.discard).", r.Domain)
	case policy.SkipNetwork:
		return "It came from a client whose mail is not verified here (verify.skip_networks)."
	case policy.OwnResults:
		return "It was verified when it first arrived: it has a result of this server already."
	case policy.NotHosted:
		return fmt.Sprintf("It is outbound mail, but no mail of %s is signed here.", r.Domain)
	case policy.NoActiveKey:
		return fmt.Sprintf("It is outbound mail, but %s has no active key yet.", r.Domain)
	case policy.ListedNoKey:
		return fmt.Sprintf("It is outbound mail of %s, which is in %s, but has no key.", r.Domain, r.Detail)
	case policy.SubdomainOfHosted:
		return fmt.Sprintf("It is outbound mail, but %s is below a hosted domain and sign.subdomains is false.", r.Domain)
	case policy.NotInSignDomains:
		return fmt.Sprintf("It is outbound mail, but %s is not in sign.domains.", r.Domain)
	}
	return "Reason: " + r.String() + "."
}

// keysOf names keys by their selectors.
func keysOf(all []string) string {
	if len(all) > 1 {
		return "the keys " + strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
	}
	return "the key " + strings.Join(all, "")
}

// acceptedBy returns a sentence about the rule that accepted a message that would otherwise have been rejected.
func (x *explainer) acceptedBy() string {
	if r, ok := x.Verdict.Find(policy.LocalAllow, policy.AcceptedForwarder, policy.SealedPass); ok {
		text := r.String()
		if r.Code == policy.SealedPass {
			text = r.Fact()
		}
		return fmt.Sprintf(" It was accepted nevertheless (%s: %s).", x.Override, text)
	}
	return ""
}

func (x *explainer) whyByResults() string {
	var all []string
	if d, ok := x.failing(); ok {
		all = append(all, x.whyFailing(d))
	}
	if r, ok := x.Verdict.Find(policy.SPFFail); ok {
		all = append(all, fmt.Sprintf("%s states that %s may not send its mail, and this server rejects mail that fails SPF (spf.fail = reject).", r.Domain, x.e.Connection.Client))
	}
	if x.Verdict.Code() == policy.Legacy {
		all = append(all, sentence(x.Reasons[0]))
	}
	if len(all) > 0 {
		return strings.Join(all, " ") + x.acceptedBy()
	}
	for _, d := range x.e.DMARC {
		if d.Status == dmarc.TempError {
			text := fmt.Sprintf("It is not known whether it is from %s, because a DNS lookup failed: %s%s.", d.Domain, policy.DMARCText(d), x.failedCheck(d))
			if x.Verdict.Has(policy.TempErrorAsFail) {
				text += fmt.Sprintf(" The message is treated as if DMARC had failed, and the policy of %s is %s (%s=%s).", d.PolicyDomain, d.Policy, d.Tag, d.Published)
			}
			return text + x.exempted() + x.acceptedBy()
		}
	}
	if len(x.Reasons) > 0 && !x.Code.Plain() {
		return sentence(x.Reasons[0])
	}
	return x.whyFine()
}

// whyFine returns the explanation for a message whose acceptance has no special reason.
func (x *explainer) whyFine() string {
	for _, d := range x.e.DMARC {
		switch {
		case d.Status == dmarc.None && d.Record == "":
			return fmt.Sprintf("%s publishes no DMARC policy, so DMARC cannot detect forgeries of its mail.", d.Domain)
		case d.Status == dmarc.None || d.Status == dmarc.PermError:
			return fmt.Sprintf("The DMARC record for %s has no effect: %s.", d.Domain, policy.DMARCText(d))
		}
	}
	if len(x.e.DMARC) == 0 {
		return "There is no Author Domain to check."
	}
	var all []string
	for _, d := range x.e.DMARC {
		if a := d.Aligned; a != nil {
			all = append(all, fmt.Sprintf("It is authenticated as mail of %s: %s passes for %s.", d.Domain, strings.ToUpper(string(a.Method)), a.Domain))
		}
	}
	return strings.Join(all, " ")
}

// failing returns the Author Domain whose DMARC failure caused the action. If no failure caused the action, it returns the first Author
// Domain that fails.
func (x *explainer) failing() (dmarc.Result, bool) {
	r, decided := x.Verdict.Find(policy.DMARCFail)
	for _, d := range x.e.DMARC {
		if d.Status == dmarc.Fail && (decided && d.Domain == r.Domain || !decided && (x.Code.Plain() || x.ResultsOnly || x.Code == policy.Legacy)) {
			return d, true
		}
	}
	return dmarc.Result{}, false
}

func (x *explainer) whyFailing(d dmarc.Result) string {
	text := fmt.Sprintf("It claims to be from %s, but nothing proves it: %s.", d.Domain, strings.Join(x.proofs(d), "; "))
	tag := fmt.Sprintf("%s=%s", d.Tag, d.Published)
	switch d.Policy {
	case dmarc.PolicyReject:
		text += fmt.Sprintf(" %s requests that such mail be rejected (%s", d.PolicyDomain, tag)
	case dmarc.PolicyQuarantine:
		text += fmt.Sprintf(" %s requests that such mail be quarantined (%s", d.PolicyDomain, tag)
	default:
		if d.Fault != nil {
			tag = policy.FaultText(d.Fault.Cause, d.Fault.Detail) + "; with rua it counts as p=none"
		}
		text += fmt.Sprintf(" %s requests no action (%s", d.PolicyDomain, tag)
	}
	if d.Policy != dmarc.PolicyReject && d.Published != d.Policy {
		text += ", weakened by t=y"
	}
	return text + ")." + x.whySeals() + x.exempted()
}

// exempted returns a sentence that explains why the message was not rejected, or was not rejected yet.
func (x *explainer) exempted() string {
	for _, r := range x.Reasons {
		switch {
		case r.Exempts():
			return " It was quarantined instead of rejected: " + r.Fact() + "."
		case r.Code == policy.RelayUnverified:
			return " It was not rejected yet: " + r.Fact() + "."
		}
	}
	return ""
}

// whySeals returns why ARC did not help.
func (x *explainer) whySeals() string {
	c := x.e.ARC
	switch {
	case c == nil || x.Verdict.Override == policy.TrustedForwarder:
		return "" // the text of the reason already states the effect of the chain
	case c.Status == dkim.Pass && len(c.Sets) > 0:
		return fmt.Sprintf(" Its ARC chain validates (the newest sealer is %s). The message would be accepted because of the chain only if dmarc.trusted_sealers named the sealer and the sealer's results stated dmarc=pass.", c.Sets[len(c.Sets)-1].Domain)
	case c.Status == dkim.Fail:
		return fmt.Sprintf(" Its ARC chain, by which a forwarder could have vouched for it, fails (%s).", policy.ChainText(c))
	}
	return ""
}

func because(word, reason string) string { return strings.TrimSuffix(word+": "+reason, ": ") }

// failedCheck completes a DMARC cause that names only the method. It returns the failed SPF or DKIM check in parentheses.
func (x *explainer) failedCheck(d dmarc.Result) string {
	switch d.FailedMethod() {
	case dmarc.SPF:
		if x.e.SPF != nil && x.e.SPF.Cause != "" {
			return " (" + spfText(x.e.SPF) + ")"
		}
	case dmarc.DKIM:
		for _, s := range x.e.DKIM {
			if s.Status == dkim.TempError && x.whyUnaligned(d, dmarc.DKIM, s.Domain, false) == "" {
				return " (" + policy.DKIMText(s) + ")"
			}
		}
	}
	return ""
}

// proofs returns a text for each check that could have authenticated a domain but did not.
func (x *explainer) proofs(d dmarc.Result) []string {
	var all []string
	whose := "its envelope sender"
	if s := x.e.SPF; s != nil && s.Identity == spf.HELO {
		whose = "its HELO name"
	}
	switch s := x.e.SPF; {
	case s == nil:
	case s.Domain == "":
		all = append(all, "its envelope sender has no domain")
	case s.Status == spf.Pass:
		all = append(all, fmt.Sprintf("%s belongs to %s, which is authenticated but is another domain", whose, s.Domain))
	case x.whyUnaligned(d, dmarc.SPF, s.Domain, s.Status == spf.Pass) != "":
		all = append(all, fmt.Sprintf("%s belongs to another domain, %s", whose, s.Domain))
	case s.Status == spf.Fail || s.Status == spf.SoftFail:
		all = append(all, fmt.Sprintf("the SPF record of %s does not allow %s to send for it (%s)", s.Domain, x.e.Connection.Client, because(string(s.Status), spfText(s))))
	default:
		all = append(all, fmt.Sprintf("SPF of %s does not allow %s to send for it (%s)", s.Domain, x.e.Connection.Client, because(string(s.Status), spfText(s))))
	}
	others := 0
	for _, s := range x.signatures() {
		switch own := x.whyUnaligned(d, dmarc.DKIM, s.Domain, s.Status == dkim.Pass) == "" && s.Domain != ""; {
		case own && s.Status != dkim.Pass:
			why := policy.DKIMText(s)
			if left := intact(s); left != "" {
				why += "; " + left
			}
			all = append(all, fmt.Sprintf("its signature of %s does not verify (%s)", s.Domain, why))
		case s.Status == dkim.Pass:
			all = append(all, "its signature of another domain, "+s.Domain+", does not count")
		default:
			others++
		}
		if len(all) > 4 {
			break
		}
	}
	if len(x.e.DKIM) == 0 {
		all = append(all, "it has no DKIM signature")
	} else if others == len(x.e.DKIM) {
		all = append(all, "it has no DKIM signature that verifies")
	}
	return all
}
