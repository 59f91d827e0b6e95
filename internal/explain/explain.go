// Package explain explains in English what was done with a message and why. An explanation has the envelope, the result and the DNS record
// of each check, the decision, and what the sender can do. It makes no DNS queries; it uses the recorded answers.
//
// [Message] returns the [Explanation] of a decision.Record, which the web page shows. [WriteEntry] writes the explanation of a
// journal entry as text, as signpost explain does. [NewList] writes one line for each entry, as signpost log does. [WriteSPF]
// and [WriteDMARC] write the steps of a check.
//
//	for _, entry := range entries {
//		explain.WriteEntry(os.Stdout, &entry)
//	}
package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/decision"
	"signpost/internal/dns"
	"signpost/policy"
)

// Row is a labeled line. A Row without a Label continues the one before. Text may be unprintable.
type Row struct{ Label, Text string }

// Explanation explains one message.
type Explanation struct {
	Short   string   // what was done and why, in a few sentences
	Head    []Row    // who sent it, and its role
	Found   []Row    // the checks; none if the role is not verify
	Decided []Row    // what was done, and by which rule
	Help    []string // what the sender or the postmaster here can do; none if nothing is wrong
}

// Bounds on what is shown, in bytes.
const (
	maxText   = 300  // of a record: the 750 bytes of a 4096-bit key do not help the reader
	maxTerm   = 120  // of a term of an SPF record in a sentence
	maxAnswer = 2048 // of the records of a DNS answer
	maxReason = 2048 // of the reasons, which should be complete unless a sender chose very long names
)

// Message explains a message.
func Message(r *decision.Record) Explanation {
	x := &explainer{Record: r, e: &r.Evidence, view: dns.Recall(r.Lookups)}
	e := Explanation{Short: clip(x.short(), maxReason), Head: x.head(), Decided: x.decided(), Help: x.help()}
	for i := range e.Help {
		e.Help[i] = clip(e.Help[i], maxReason)
	}
	if r.Role == policy.RoleVerify {
		e.Found = slices.Concat(x.spf(), x.dkim(), x.arc(), x.dmarc(), x.relays(), x.compared())
	}
	return e
}

// Why returns why a message was not simply accepted or signed, as one phrase.
func Why(r *decision.Record) string {
	if text := policy.Text(r.Reasons); text != "" {
		return text
	}
	return r.Assignment.Reason.String()
}

type explainer struct {
	*decision.Record
	e    *policy.Evidence
	view *dns.View
}

// list collects rows.
type list []Row

func (l *list) row(label, format string, args ...any) {
	*l = append(*l, Row{label, clip(fmt.Sprintf(format, args...), maxText)})
}

// more continues the row before, unless text is empty.
func (l *list) more(text string) {
	if text != "" {
		*l = append(*l, Row{"", clip(text, maxText)})
	}
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s... (%d bytes)", strings.ToValidUTF8(s[:most], ""), len(s))
}

func (x *explainer) head() []Row {
	var l list
	c := x.e.Connection
	l.row("client", "%s, HELO %s", x.client(), cmp.Or(c.HELO, "(none)"))
	if x.e.Envelope.Login != "" {
		l.row("login", "%s", markOmitted(x.e.Envelope.Login))
	}
	if x.e.Envelope.Sender == "" {
		l.row("MAIL FROM", "<> (null sender: a bounce, or another notice of a mail server)")
	} else {
		l.row("MAIL FROM", "<%s>", markOmitted(x.e.Envelope.Sender))
	}
	l = append(l, x.recipients()...)
	if author := cmp.Or(strings.Join(x.e.Author.Domains, ", "), policy.AuthorText(x.e.Author)); author != "" {
		l.row("Author", "%s", author)
	}
	switch x.Role {
	case policy.RoleSign:
		l.row("role", "sign: outbound mail, %s", submitters(x.Assignment.Reason))
	case policy.RoleVerify:
		l.row("role", "verify: inbound mail")
		if x.ResultsOnly {
			l.more(x.Assignment.Reason.String())
		}
	case policy.RoleBypass:
		l.row("role", "bypass: neither verified nor signed")
		l.more(x.Assignment.Reason.String())
	}
	return l
}

// recipients returns the recipients that the journal keeps, or their number.
func (x *explainer) recipients() []Row {
	const most = 5
	var l list
	e := x.e.Envelope
	switch shown := e.Recipients[:min(most, len(e.Recipients))]; {
	case len(shown) > 0:
		label := "RCPT TO"
		for _, r := range shown {
			l.row(label, "<%s>", markOmitted(r))
			label = ""
		}
		if n := e.Addressees - len(shown); n > 0 {
			l.more(fmt.Sprintf("and %d more", n))
		}
	case e.Addressees > 0:
		l.row("recipients", "%d", e.Addressees)
	}
	return l
}

// markOmitted returns an address with "..." in place of a local part that the journal omits.
func markOmitted(address string) string {
	if strings.HasPrefix(address, "@") {
		return "..." + address
	}
	return address
}

// client returns the client with the name that Postfix verified.
func (x *explainer) client() string {
	c := x.e.Connection
	switch {
	case !c.Client.IsValid():
		return "unknown"
	case !c.SMTP:
		return c.Client.String() + " (not by SMTP)"
	case c.Name == "":
		return c.Client.String()
	case c.Name != "unknown":
		return fmt.Sprintf("%s (%s)", c.Client, c.Name)
	case c.PTR != "" && c.PTR != "unknown":
		return fmt.Sprintf("%s (its name in DNS, %s, does not resolve to this address)", c.Client, c.PTR)
	}
	return c.Client.String() + " (no name in DNS)"
}

func (x *explainer) decided() []Row {
	var l list
	action := string(x.Decided())
	if r := x.Reply; r.Code != 0 {
		action = fmt.Sprintf("%s %d %s", x.Decided(), r.Code, r.Enhanced)
	}
	l.row("action", "%s", action)
	if x.Observe {
		l.more("observe mode: the message was accepted unchanged, and this action was not carried out")
	}
	if x.Code != "" {
		l.row("code", "%s", x.Code)
	}
	if text := policy.Text(x.Reasons); text != "" {
		l = append(l, Row{"because", clip(text, maxReason)})
	}
	evidence := x.Verdict.Evidence
	switch {
	case len(evidence) > 1 && x.Decided() == policy.Reject:
		l.more("there is no evidence that a mailing list or a forwarder relayed it:")
	case len(evidence) > 1:
		l.more("a trusted forwarder vouches for it:")
	}
	for _, r := range evidence {
		l.more(r.String())
	}
	if x.Override != "" {
		l.row("override", "%s: %s", x.Override, overrides(x.Override))
	}
	if len(x.Selectors) > 0 {
		l.row("keys", "%s of %s", strings.Join(x.Selectors, ","), x.Assignment.Domain)
	}
	if r := x.Reply.WithID(x.QueueID); r.Code != 0 && !x.Observe {
		l = append(l, Row{"reply", fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text)})
	}
	return l
}

// overrides explains an override type of RFC 9990.
func overrides(o policy.Override) string {
	switch o {
	case policy.LocalPolicy:
		return "a rule of the receiver, not the policy of the author's domain"
	case policy.MailingList:
		return "relayed by a verified mailing list, which breaks the authentication of the mail that it relays"
	case policy.PolicyTestMode:
		return "the policy of the author's domain is in test mode (t=y)"
	case policy.TrustedForwarder:
		return "relayed by a forwarder that is trusted here"
	}
	return ""
}

// compared returns the comparison of our results with those of another filter on this host.
func (x *explainer) compared() []Row {
	var l list
	c := policy.Compare(*x.e)
	if len(c.Same) > 0 {
		l.row("compared", "the other filter reported the same result for %s", strings.Join(c.Same, ", "))
	}
	if len(c.Missing) > 0 {
		l.row("compared", "the other filter reported no result for %s", strings.Join(c.Missing, ", "))
	}
	for _, d := range c.Different {
		l.row("differs", "%s", d)
	}
	return l
}
