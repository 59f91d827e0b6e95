package explain

import (
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/policy"
)

// short says what was done and why, for a person who is not of the trade.
func (t *teller) short() string {
	done := t.done()
	if t.Observe {
		done = fmt.Sprintf("Signpost only observes: the message went on untouched. Otherwise it would have been %s.", t.Done)
	}
	return done + " " + t.why()
}

func (t *teller) done() string {
	word, code, _ := strings.Cut(t.Done, " ")
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
	case t.Assignment.Role == policy.Leave:
		return "The message went through, neither checked nor signed."
	case t.Assignment.Role == policy.Sign:
		return "The message went out unsigned."
	}
	return "The message was accepted."
}

func (t *teller) why() string {
	a := t.Assignment
	switch {
	case a.Role == policy.Sign && t.Verdict.Reason != "":
		return fmt.Sprintf("It is from one of our own users and should have been signed for %s, but that could not be done: %s.", a.Domain, t.Verdict.Reason)
	case a.Role == policy.Sign:
		text := fmt.Sprintf("It is from one of our own users, %s, and was signed for %s by %s.", t.whose(), a.Domain, keysOf(t.Selectors))
		if absent := policy.Absent(t.e.Absent); absent != "" {
			text += " It has " + absent + "."
		}
		if long := policy.LongLines(t.e.LongLines); long != "" {
			text += " Warning: " + long + "."
		}
		return text
	case a.Role == "":
		return "It could not be worked on to its end, by a fault here that is not the sender's: " + t.Verdict.Reason + "."
	case a.Role == policy.Leave:
		return t.whyLeft()
	case a.Role == policy.Refuse:
		return "It is from one of our own users, and was not taken: " + a.Reason + "."
	case t.e.Author.Doubt != "" && strings.Contains(t.Verdict.Reason, t.e.Author.Doubt):
		return fmt.Sprintf("Programs do not agree on who wrote such a message, which forgers make use of: %s.%s", t.e.Author.Doubt, t.letThrough())
	case strings.HasPrefix(t.Verdict.Reason, "[[deny]]"):
		return "The postmaster here does not want it, whatever the checks say: " + t.Verdict.Reason + "."
	case a.ResultsOnly:
		return "It came from this server's own queue, where nobody is left to be told; it was judged when it first came."
	}
	return t.whyByResults()
}

// whose is by what a user counts as one of ours, as the role's reason begins.
func (t *teller) whose() string {
	switch by, _, _ := strings.Cut(t.Assignment.Reason, ";"); by {
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
func (t *teller) whyLeft() string {
	reason := t.Assignment.Reason
	_, about, ours := strings.Cut(reason, "; Author Domain ")
	switch {
	case ours && strings.HasSuffix(about, " is not hosted here"):
		return fmt.Sprintf("It is from one of our own users, %s, but no mail of %s is signed here.", t.whose(), strings.TrimSuffix(about, " is not hosted here"))
	case ours:
		return fmt.Sprintf("It is from one of our own users, %s, but %s.", t.whose(), about)
	case reason == "client in verify.skip_networks":
		return "It came from a host whose mail is not checked here (verify.skip_networks)."
	case strings.HasPrefix(reason, "already judged"):
		return "It was checked when it first came: it bears a result of this server already."
	}
	return "The reason: " + reason + "."
}

// letThrough is what the rule said that let a message through all the same.
func (t *teller) letThrough() string {
	if _, rule, ok := strings.Cut(t.Verdict.Reason, "; let through, "); ok {
		return " It was let through all the same (" + rule + ")."
	}
	return ""
}

func (t *teller) whyByResults() string {
	reason := t.Verdict.Reason
	var all []string
	if d, ok := t.failing(); ok {
		all = append(all, t.whyFailing(d))
	}
	if s := t.e.SPF; s != nil && strings.Contains(reason, "SPF fails for "+s.Domain) {
		all = append(all, fmt.Sprintf("%s says that %s may not send its mail, and this server refuses what fails SPF so (spf.fail = reject).", s.Domain, t.e.Connection.Client))
	}
	if len(all) > 0 {
		return strings.Join(all, " ") + t.letThrough()
	}
	for _, d := range t.e.DMARC {
		if d.Status == dmarc.TempError {
			text := fmt.Sprintf("It is not known whether it is from %s, because a DNS lookup failed: %s%s.", d.Domain, d.Reason, t.behind(d))
			if v := t.Verdict; d.Assumed == dmarc.Fail && (v.Tag != "" || v.Hold != "" || v.Reply.Code != 0) {
				text += fmt.Sprintf(" The message is treated as if DMARC failed, and the policy of %s is %s (%s=%s).", d.PolicyDomain, d.Policy, d.Tag, d.Published)
			}
			return text
		}
	}
	if reason != "" {
		return "The reason: " + reason + "."
	}
	return t.whyFine()
}

// whyFine is about messages that nothing is held against.
func (t *teller) whyFine() string {
	for _, d := range t.e.DMARC {
		switch {
		case d.Status == dmarc.None && d.Record == "":
			return fmt.Sprintf("%s publishes no DMARC policy, so nothing says how to tell its mail from a forgery.", d.Domain)
		case d.Status == dmarc.None || d.Status == dmarc.PermError:
			return fmt.Sprintf("The DMARC record for %s has no effect: %s.", d.Domain, d.Reason)
		}
	}
	if len(t.e.DMARC) == 0 {
		return "There is no author's domain to check."
	}
	var all []string
	for _, d := range t.e.DMARC {
		method, domain, _ := strings.Cut(d.Aligned, " ")
		all = append(all, fmt.Sprintf("It is shown to be from %s: %s passes for %s.", d.Domain, strings.ToUpper(method), domain))
	}
	return strings.Join(all, " ")
}

// failing is the Author Domain whose failing decided, or the first that fails.
func (t *teller) failing() (dmarc.Result, bool) {
	for _, d := range t.e.DMARC {
		if d.Status == dmarc.Fail && strings.HasPrefix(t.Verdict.Reason, "DMARC fails for "+d.Domain+",") {
			return d, true
		}
	}
	i := slices.IndexFunc(t.e.DMARC, func(d dmarc.Result) bool { return d.Status == dmarc.Fail && t.Verdict.Reason == "" })
	if i < 0 {
		return dmarc.Result{}, false
	}
	return t.e.DMARC[i], true
}

func (t *teller) whyFailing(d dmarc.Result) string {
	text := fmt.Sprintf("It says that it is from %s, but nothing shows that: %s.", d.Domain, strings.Join(t.proofs(d), "; "))
	switch d.Policy {
	case dmarc.PolicyReject:
		text += fmt.Sprintf(" %s asks to refuse such mail (%s=%s).", d.PolicyDomain, d.Tag, d.Published)
	case dmarc.PolicyQuarantine:
		text += fmt.Sprintf(" %s asks to treat such mail as suspicious (%s=%s).", d.PolicyDomain, d.Tag, d.Published)
		if d.Published == dmarc.PolicyReject {
			text = strings.TrimSuffix(text, ").") + ", softened by t=y)."
		}
	default:
		because := d.Fault
		if because == "" {
			because = fmt.Sprintf("%s=%s", d.Tag, d.Published)
		}
		text += fmt.Sprintf(" %s requests no action (%s).", d.PolicyDomain, because)
		if d.Published != dmarc.PolicyNone {
			text = strings.TrimSuffix(text, ").") + ", softened by t=y)."
		}
	}
	text += t.whySeals()
	if _, why, ok := strings.Cut(t.Verdict.Reason, "; not rejected: "); ok {
		text += " It was quarantined instead of rejected: " + why + "."
	} else if _, why, ok := strings.Cut(t.Verdict.Reason, "; not rejected yet: "); ok {
		text += " It was not rejected yet: " + why + "."
	}
	return text
}

// whySeals says why ARC did not help.
func (t *teller) whySeals() string {
	c := t.e.ARC
	switch {
	case c == nil || t.Verdict.Override == policy.TrustedForwarder:
		return "" // the reason says what it did
	case c.Status == dkim.Pass && len(c.Sets) > 0:
		return fmt.Sprintf(" Its ARC chain validates (the newest sealer is %s). It would be accepted for that only if dmarc.trusted_sealers named the sealer and its results had dmarc=pass.", c.Sets[len(c.Sets)-1].Domain)
	case c.Status == dkim.Fail:
		return fmt.Sprintf(" Its ARC seals, by which a forwarder could have vouched for it, are not good (%s).", c.Reason)
	}
	return ""
}

func because(word, reason string) string { return strings.TrimSuffix(word+": "+reason, ": ") }

// behind is which look-up failed, where DMARC's own reason names only whose it was.
func (t *teller) behind(d dmarc.Result) string {
	if d.Cause == dmarc.SPF && t.e.SPF != nil && t.e.SPF.Reason != "" {
		return " (" + t.e.SPF.Reason + ")"
	}
	for _, s := range t.e.DKIM {
		if d.Cause == dmarc.DKIM && s.Status == dkim.TempError && t.stranger(d, dmarc.DKIM, s.Domain, s.Status == dkim.Pass) == "" {
			return " (" + s.Reason + ")"
		}
	}
	return ""
}

// proofs are what could have shown that a message is from a domain, and did not.
func (t *teller) proofs(d dmarc.Result) []string {
	var all []string
	whose := "its envelope sender is"
	if s := t.e.SPF; s != nil && s.Identity == spf.HELO {
		whose = "the name by which the host greets (HELO) is"
	}
	switch s := t.e.SPF; {
	case s == nil:
	case s.Domain == "":
		all = append(all, "its envelope names no domain")
	case s.Status == spf.Pass:
		all = append(all, fmt.Sprintf("%s of %s, which may use this host but is another domain", whose, s.Domain))
	case t.stranger(d, dmarc.SPF, s.Domain, s.Status == spf.Pass) != "":
		all = append(all, fmt.Sprintf("%s of another domain, %s", whose, s.Domain))
	case s.Status == spf.Fail || s.Status == spf.SoftFail:
		all = append(all, fmt.Sprintf("by the SPF record of %s the host %s may not send for it (%s)", s.Domain, t.e.Connection.Client, because(string(s.Status), s.Reason)))
	default:
		all = append(all, fmt.Sprintf("SPF of %s does not say that %s may send for it (%s)", s.Domain, t.e.Connection.Client, because(string(s.Status), s.Reason)))
	}
	others := 0
	for _, s := range t.signatures() {
		switch own := t.stranger(d, dmarc.DKIM, s.Domain, s.Status == dkim.Pass) == "" && s.Domain != ""; {
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
	if len(t.e.DKIM) == 0 {
		all = append(all, "it has no DKIM signature")
	} else if others == len(t.e.DKIM) {
		all = append(all, "it has no good DKIM signature")
	}
	return all
}
