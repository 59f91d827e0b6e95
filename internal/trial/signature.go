package trial

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dmarc"
	"signpost/internal/doctor"
	"signpost/internal/explain"
	"signpost/policy"
)

// signature reports whether the daemon signed a message, or would have signed it in enforce mode.
func (s *Site) signature(ctx context.Context, m *Message) bool {
	r := m.record
	if d := r.Author.Domains; len(d) > 0 && !slices.Contains(d, domainOf(m.From)) {
		m.add(stepSignature, doctor.Finding{Level: doctor.Red, What: "Postfix changed the domain in From from " + domainOf(m.From) + " to " + strings.Join(d, ", ") + " before Signpost received the message", Where: s.rewriters(ctx),
			Why: "Signpost signs for the domain that it receives", Fix: "postconf -n | grep -E 'canonical|masquerade|header_checks' # then exclude the domain"})
	}
	if r.Decided() != policy.Sign {
		m.add(stepSignature, s.unsigned(m))
		return false
	}
	by := fmt.Sprintf("%s, s=%s", r.Domain, strings.Join(r.Selectors, " and "))
	if r.Observe {
		m.add(stepSignature, doctor.Finding{Level: doctor.Yellow, What: "the message was not signed, because the mode is observe; in enforce mode it is signed: d=" + r.Domain, Where: s.File + ": mode = \"observe\"",
			Why: "receivers find no DKIM signature", Fix: `mode = "enforce" # when the log shows what you expect: docs/observe.md`})
	} else {
		m.good(stepSignature, "Signpost signed the message: d=%s", by)
	}
	if long := policy.LongLines(r.LongLines); long != "" {
		m.add(stepSignature, doctor.Finding{Level: doctor.Yellow, What: long, Where: m.QueueID, Why: "Postfix breaks these lines after signing", Fix: "signpost explain " + m.QueueID})
	}
	return true
}

// rewriters returns the settings of Postfix that change addresses in header fields.
func (s *Site) rewriters(ctx context.Context) string {
	names := []string{"canonical_maps", "sender_canonical_maps", "masquerade_domains", "header_checks"}
	main, err := s.parameters(ctx, names...)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, name := range names {
		if main[name] != "" {
			all = append(all, "main.cf: "+name+" = "+main[name])
		}
	}
	return strings.Join(all, "\n")
}

// unsigned returns the finding for a message that was not signed, with the fix for its code.
func (s *Site) unsigned(m *Message) doctor.Finding {
	r := m.record
	author := cmp.Or(r.Assignment.Reason.Domain, domainOf(m.From))
	f := doctor.Finding{Level: doctor.Red, What: "the message was not signed: " + cmp.Or(explain.Why(r), string(r.Code)), Where: fmt.Sprintf("%s: role=%s action=%s code=%s", m.QueueID, r.Role, r.Action, r.Code),
		Why: "receivers find no DKIM signature, and DMARC depends on SPF alone", Fix: "signpost explain " + m.QueueID}
	if r.Action == policy.Reject || r.Action == policy.Tempfail {
		f.Why = "Postfix did not accept the message"
	}
	if r.Role == policy.RoleVerify {
		f.What = "the message was not signed, but verified as inbound mail: the client " + r.Client.String() + " is neither authenticated nor in trusted_networks"
		f.Fix = "trusted_networks = [\"" + r.Client.String() + "\"] # add it to the list in " + s.File + " if this client is yours"
		if m.Name == bySubmission {
			f.What = "the message was not signed, but verified as inbound mail: Postfix sent no login to Signpost, and the client " + r.Client.String() + " is not in trusted_networks"
		}
		return f
	}
	switch r.Code {
	case policy.NotHosted, policy.ListedNoKey:
		f.Fix = "dkimkey add " + author
	case policy.NoActiveKey:
		f.Fix = "dkimkey rotate " + author + " --wait"
	case policy.SubdomainOfHosted:
		f.Fix = "dkimkey add " + author + " # or: subdomains = true, in [sign]"
	case policy.NotInSignDomains:
		f.Fix = "domains = [..., " + fmt.Sprintf("%q", author) + "] # in [sign]"
	case policy.NoUsableKey, policy.OnMissingKey, policy.SigningFailed:
		f.Fix = "dkimkey status " + author
	case policy.SkipNetwork:
		f.Fix = "skip_networks = [...] # in [verify], without a network that contains " + r.Client.String()
	case policy.LoginMismatch:
		f.Fix = "signpost test --login NAME --from ADDRESS # an address of this login; or change sign.login_domains or sign.login_maps: docs/tables.md"
	case policy.TableFailed:
		f.Fix = "signpost doctor # check tables"
	}
	return f
}

// published reports whether the records of the keys that signed are published, and what receivers will find.
func (s *Site) published(ctx context.Context, m *Message) {
	r := m.record
	selectors, ready := r.Selectors, len(r.Selectors) > 0
	for _, selector := range selectors {
		algorithm, o := s.Look(ctx, r.Domain, selector)
		name := selector + "._domainkey." + r.Domain
		switch {
		case o.Ready:
			m.good(stepRecord, "the record of the key %s (%s) matches the key, and a signature verifies with it: %s", name, algorithm, o.Words)
			continue
		case o.Silent:
			m.add(stepRecord, doctor.Finding{Level: doctor.Yellow, What: "not all name servers answer for " + name, Where: o.Words, Why: "receivers may not find the record", Fix: "dkimkey check " + r.Domain})
			ready = ready && o.Enough
			continue
		}
		ready = false
		m.add(stepRecord, doctor.Finding{Level: doctor.Red, What: "the record of the key " + name + " is not published, or is another one", Where: o.Words, Why: "the signature fails at receivers", Fix: "dkimkey check " + r.Domain + " # prints the record to publish"})
	}
	if r.Observe {
		return
	}
	var signers []string
	if ready {
		signers = []string{r.Domain}
	}
	author := domainOf(m.From)
	result := s.DMARC(ctx, author, signers)
	p := ""
	if result.PolicyDomain != "" {
		p = fmt.Sprintf(" (%s=%s of %s)", result.Tag, result.Published, result.PolicyDomain)
	}
	dkim := map[bool]string{true: "pass", false: "fail"}[ready]
	switch result.Status {
	case dmarc.Pass:
		m.good(stepReceivers, "receivers find dkim=%s for d=%s, aligned with %s in From: dmarc=pass%s", dkim, r.Domain, author, p)
	case dmarc.None:
		m.add(stepReceivers, doctor.Finding{Level: level(ready), What: fmt.Sprintf("receivers find dkim=%s for d=%s, and dmarc=none: %s has no DMARC policy", dkim, r.Domain, author), Where: "_dmarc." + author,
			Why: "Gmail, Yahoo and Microsoft require a DMARC record of bulk senders", Fix: "signpost dmarc " + author})
	case dmarc.Fail:
		m.add(stepReceivers, doctor.Finding{Level: doctor.Red, What: fmt.Sprintf("receivers find dkim=%s for d=%s: dmarc=fail%s unless SPF passes", dkim, r.Domain, p), Where: result.Record,
			Why: "receivers may reject the mail, and always if it was forwarded", Fix: "signpost doctor " + author})
	default:
		m.add(stepReceivers, doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("receivers find dkim=%s for d=%s: dmarc=%s", dkim, r.Domain, result.Status), Where: result.Failed,
			Why: "the policy is unknown, because a DNS lookup failed", Fix: "signpost dmarc " + author})
	}
}

func level(good bool) doctor.Level {
	if good {
		return doctor.Yellow
	}
	return doctor.Red
}

// causes lists the checks of doctor that can explain what a step found. They are shown after this step.
func causes(step, name string) []string {
	switch step {
	case stepQueue:
		return []string{"postfix", "table-types", "sender-logins", "milter-protocol", "milter-timeouts"}
	case stepMilter:
		lists := []string{"non-smtpd-milters", "internal-mail"}
		if name == bySubmission {
			lists = []string{"smtpd-milters", "milter-maps"}
		}
		return append(lists, "socket-path", "socket-access", "socket-answers", "default-action", "state-dir", "config")
	case stepSignature:
		return []string{"mode", "key-files", "mynetworks", "originating", "tables", "milter-order", "other-signer", "reinjection", "generic-maps", "eight-bit"}
	case stepRecord:
		return []string{"domain", "dkim"}
	case stepReceivers:
		return []string{"sends", "spf", "spf-tree", "dmarc"}
	case stepAlone:
		return []string{"mode", "config", "key-files", "tables", "state-dir", "socket-access", "socket-answers"}
	case stepForgery:
		return []string{"mode", "config", "smtpd-milters", "milter-maps", "originating", "mynetworks", "socket-path", "socket-access", "socket-answers", "default-action", "client-names", "header-rewrite"}
	}
	return nil
}

// explain runs the checks of doctor that can explain the steps, and adds their findings.
func (s *Site) explain(ctx context.Context, r *Report, from string, steps ...string) {
	s.Progress("checking Postfix, this host and the DNS records of %s", domainOf(from))
	var checks []string
	for _, step := range steps {
		for _, name := range []string{bySendmail, bySubmission} {
			checks = append(checks, causes(step, name)...)
		}
	}
	slices.Sort(checks)
	r.attach(s.Doctor(ctx, domainOf(from), slices.Compact(checks)))
}

// attach adds the findings of doctor after the steps that they explain. Of the green findings, it keeps those about SPF and DMARC.
func (r *Report) attach(found []doctor.Finding) {
	found = slices.DeleteFunc(slices.Clone(found), func(f doctor.Finding) bool {
		return f.Level == doctor.Green && f.Check != "spf" && f.Check != "dmarc"
	})
	for i := range r.Messages {
		m := &r.Messages[i]
		var all []doctor.Finding
		for j, step := range m.Findings {
			all = append(all, step)
			if j+1 < len(m.Findings) && m.Findings[j+1].Check == step.Check {
				continue // the findings follow the last line of a step
			}
			found = slices.DeleteFunc(found, func(f doctor.Finding) bool {
				mine := slices.Contains(causes(step.Check, m.Name), f.Check)
				if mine {
					all = append(all, f)
				}
				return mine
			})
		}
		m.Findings = all
	}
	r.Other = found
}
