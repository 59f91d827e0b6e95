package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/policy"
)

// short returns what was done and why, for readers who are not mail administrators.
func (x *explainer) short() string {
	done := x.done()
	if x.Observe {
		done = fmt.Sprintf("Signpost only observes: the message went on untouched. Otherwise it would have been %s.", x.Done)
	}
	return done + " " + x.why()
}

func (x *explainer) done() string {
	word, code, _ := strings.Cut(x.Done, " ")
	switch {
	case word == "signed":
		return "The message was signed."
	case word == "refused":
		return "The message was refused (" + code + "): the sending server was told so, and nobody here got it."
	case word == "deferred":
		return "The message was put off (" + code + "): the sending server was asked to try again later, and does so by itself."
	case word == "held":
		return "The message was held: it waits in the queue here until the postmaster looks at it."
	case word == "tagged":
		return "The message was delivered as a suspicious one, with a header field that says so."
	case x.Assignment.Role == policy.Leave:
		return "The message went through, neither checked nor signed."
	case x.Assignment.Role == policy.Sign:
		return "The message went out unsigned."
	}
	return "The message was accepted."
}

func (x *explainer) why() string {
	a := x.Assignment
	switch {
	case a.Role == policy.Sign && x.Verdict.Reason != "":
		return fmt.Sprintf("It is from one of our own users and should have been signed for %s, but that could not be done: %s.", a.Domain, x.Verdict.Reason)
	case a.Role == policy.Sign:
		text := fmt.Sprintf("It is from one of our own users, %s, and was signed for %s by %s.", x.whose(), a.Domain, keysOf(x.Selectors))
		if absent := policy.Absent(x.e.Absent); absent != "" {
			text += " It has " + absent + "."
		}
		if long := policy.LongLines(x.e.LongLines); long != "" {
			text += " Warning: " + long + "."
		}
		return text
	case a.Role == "":
		return "It could not be worked on to its end, by a fault here that is not the sender's: " + x.Verdict.Reason + "."
	case a.Role == policy.Leave:
		return x.whyLeft()
	case a.Role == policy.Refuse:
		return "It is from one of our own users, and was not taken: " + a.Reason + "."
	case x.e.Author.Doubt != "" && strings.Contains(x.Verdict.Reason, x.e.Author.Doubt):
		return fmt.Sprintf("Programs do not agree on who wrote such a message, which forgers make use of: %s.%s", x.e.Author.Doubt, x.letThrough())
	case strings.HasPrefix(x.Verdict.Reason, "[[deny]]"):
		return "The postmaster here does not want it, whatever the checks say: " + x.Verdict.Reason + "."
	case a.ResultsOnly:
		return "It came from this server's own queue, where nobody is left to be told; it was judged when it first came."
	}
	return x.whyByResults()
}

// whose returns why the client counts as authenticated or trusted: the role's reason begins with it.
func (x *explainer) whose() string {
	switch by, _, _ := strings.Cut(x.Assignment.Reason, ";"); by {
	case "authenticated":
		return "who had logged in"
	case "daemon_name ORIGINATING":
		return "by the service for them (ORIGINATING)"
	case "client in trusted_networks":
		return "at an address of our own networks"
	case "local submission":
		return "at this machine itself"
	default:
		return by
	}
}

// keysOf names keys by their selectors.
func keysOf(selectors string) string {
	if all := strings.Split(selectors, ","); len(all) > 1 {
		return "the keys " + strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
	}
	return "the key " + selectors
}

// whyLeft is about messages that are neither checked nor signed.
func (x *explainer) whyLeft() string {
	reason := x.Assignment.Reason
	_, about, ours := strings.Cut(reason, "; Author Domain ")
	switch {
	case ours && strings.HasSuffix(about, " is not hosted here"):
		return fmt.Sprintf("It is from one of our own users, %s, but no mail of %s is signed here.", x.whose(), strings.TrimSuffix(about, " is not hosted here"))
	case ours:
		return fmt.Sprintf("It is from one of our own users, %s, but %s.", x.whose(), about)
	case reason == "client in verify.skip_networks":
		return "It came from a host whose mail is not checked here (verify.skip_networks)."
	case strings.HasPrefix(reason, "already judged"):
		return "It was checked when it first came: it bears a result of this server already."
	}
	return "The reason: " + reason + "."
}

// letThrough returns the rule that accepted the message nevertheless.
func (x *explainer) letThrough() string {
	if _, rule, ok := strings.Cut(x.Verdict.Reason, "; let through, "); ok {
		return " It was let through all the same (" + rule + ")."
	}
	return ""
}

func (x *explainer) whyByResults() string {
	reason := x.Verdict.Reason
	var all []string
	if d, ok := x.failing(); ok {
		all = append(all, x.whyFailing(d))
	}
	if s := x.e.SPF; s != nil && strings.Contains(reason, "SPF fails for "+s.Domain) {
		all = append(all, fmt.Sprintf("%s says that %s may not send its mail, and this server refuses what fails SPF so (spf.fail = reject).", s.Domain, x.e.Connection.Client))
	}
	if len(all) > 0 {
		return strings.Join(all, " ") + x.letThrough()
	}
	for _, d := range x.e.DMARC {
		if d.Status == dmarc.TempError {
			text := fmt.Sprintf("It is not known whether it is from %s, because a DNS lookup failed: %s%s.", d.Domain, d.Reason, x.behind(d))
			if v := x.Verdict; d.Assumed == dmarc.Fail && (v.Tag != "" || v.Hold != "" || v.Reply.Code != 0) {
				text += fmt.Sprintf(" The message is treated as if DMARC failed, and the policy of %s is %s (%s=%s).", d.PolicyDomain, d.Policy, d.Tag, d.Published)
			}
			return text
		}
	}
	if reason != "" {
		return "The reason: " + reason + "."
	}
	return x.whyFine()
}

// whyFine is about messages that were accepted without a reason.
func (x *explainer) whyFine() string {
	for _, d := range x.e.DMARC {
		switch {
		case d.Status == dmarc.None && d.Record == "":
			return fmt.Sprintf("%s publishes no DMARC policy, so nothing says how to tell its mail from a forgery.", d.Domain)
		case d.Status == dmarc.None || d.Status == dmarc.PermError:
			return fmt.Sprintf("The DMARC record for %s has no effect: %s.", d.Domain, d.Reason)
		}
	}
	if len(x.e.DMARC) == 0 {
		return "There is no author's domain to check."
	}
	var all []string
	for _, d := range x.e.DMARC {
		method, domain, _ := strings.Cut(d.Aligned, " ")
		all = append(all, fmt.Sprintf("It is shown to be from %s: %s passes for %s.", d.Domain, strings.ToUpper(method), domain))
	}
	return strings.Join(all, " ")
}

// failing returns the Author Domain whose failure decided, or the first that fails.
func (x *explainer) failing() (dmarc.Result, bool) {
	for _, d := range x.e.DMARC {
		if d.Status == dmarc.Fail && strings.HasPrefix(x.Verdict.Reason, "DMARC fails for "+d.Domain+",") {
			return d, true
		}
	}
	i := slices.IndexFunc(x.e.DMARC, func(d dmarc.Result) bool { return d.Status == dmarc.Fail && x.Verdict.Reason == "" })
	if i < 0 {
		return dmarc.Result{}, false
	}
	return x.e.DMARC[i], true
}

func (x *explainer) whyFailing(d dmarc.Result) string {
	text := fmt.Sprintf("It says that it is from %s, but nothing shows that: %s.", d.Domain, strings.Join(x.proofs(d), "; "))
	tag := fmt.Sprintf("%s=%s", d.Tag, d.Published)
	switch d.Policy {
	case dmarc.PolicyReject:
		text += fmt.Sprintf(" %s asks to refuse such mail (%s", d.PolicyDomain, tag)
	case dmarc.PolicyQuarantine:
		text += fmt.Sprintf(" %s asks to treat such mail as suspicious (%s", d.PolicyDomain, tag)
	default:
		text += fmt.Sprintf(" %s requests no action (%s", d.PolicyDomain, cmp.Or(d.Fault, tag))
	}
	if d.Policy != dmarc.PolicyReject && d.Published != d.Policy {
		text += ", softened by t=y"
	}
	text += ")."
	text += x.whySeals()
	if _, why, ok := strings.Cut(x.Verdict.Reason, "; not rejected: "); ok {
		text += " It was quarantined instead of rejected: " + why + "."
	} else if _, why, ok := strings.Cut(x.Verdict.Reason, "; not rejected yet: "); ok {
		text += " It was not rejected yet: " + why + "."
	}
	return text
}

// whySeals returns why ARC did not help.
func (x *explainer) whySeals() string {
	c := x.e.ARC
	switch {
	case c == nil || x.Verdict.Override == policy.TrustedForwarder:
		return "" // the reason states its effect
	case c.Status == dkim.Pass && len(c.Sets) > 0:
		return fmt.Sprintf(" Its ARC chain validates (the newest sealer is %s). It would be accepted for that only if dmarc.trusted_sealers named the sealer and its results had dmarc=pass.", c.Sets[len(c.Sets)-1].Domain)
	case c.Status == dkim.Fail:
		return fmt.Sprintf(" Its ARC seals, by which a forwarder could have vouched for it, are not good (%s).", c.Reason)
	}
	return ""
}

func because(word, reason string) string { return strings.TrimSuffix(word+": "+reason, ": ") }

// behind returns the failed lookup, if DMARC's own reason names only its method.
func (x *explainer) behind(d dmarc.Result) string {
	if d.Cause == dmarc.SPF && x.e.SPF != nil && x.e.SPF.Reason != "" {
		return " (" + x.e.SPF.Reason + ")"
	}
	for _, s := range x.e.DKIM {
		if d.Cause == dmarc.DKIM && s.Status == dkim.TempError && x.whyUnaligned(d, dmarc.DKIM, s.Domain, s.Status == dkim.Pass) == "" {
			return " (" + s.Reason + ")"
		}
	}
	return ""
}

// proofs returns what could have shown that a message is from a domain, and did not.
func (x *explainer) proofs(d dmarc.Result) []string {
	var all []string
	whose := "its envelope sender is"
	if s := x.e.SPF; s != nil && s.Identity == spf.HELO {
		whose = "the name by which the host greets (HELO) is"
	}
	switch s := x.e.SPF; {
	case s == nil:
	case s.Domain == "":
		all = append(all, "its envelope names no domain")
	case s.Status == spf.Pass:
		all = append(all, fmt.Sprintf("%s of %s, which may use this host but is another domain", whose, s.Domain))
	case x.whyUnaligned(d, dmarc.SPF, s.Domain, s.Status == spf.Pass) != "":
		all = append(all, fmt.Sprintf("%s of another domain, %s", whose, s.Domain))
	case s.Status == spf.Fail || s.Status == spf.SoftFail:
		all = append(all, fmt.Sprintf("by the SPF record of %s the host %s may not send for it (%s)", s.Domain, x.e.Connection.Client, because(string(s.Status), s.Reason)))
	default:
		all = append(all, fmt.Sprintf("SPF of %s does not say that %s may send for it (%s)", s.Domain, x.e.Connection.Client, because(string(s.Status), s.Reason)))
	}
	others := 0
	for _, s := range x.signatures() {
		switch own := x.whyUnaligned(d, dmarc.DKIM, s.Domain, s.Status == dkim.Pass) == "" && s.Domain != ""; {
		case own && s.Status != dkim.Pass:
			why := s.Reason
			if left := intact(s); left != "" {
				why += "; " + left
			}
			all = append(all, fmt.Sprintf("its signature of %s is not good (%s)", s.Domain, why))
		case s.Status == dkim.Pass:
			all = append(all, "the signature that it has is of another domain, "+s.Domain)
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
		all = append(all, "it has no good DKIM signature")
	}
	return all
}
