// Package explain explains in English how Signpost handled a message, and why. An explanation has the envelope, the decision, and advice
// for the sender. For each check, it has the result and the DNS record. It makes no DNS queries; it uses the recorded answers.
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

// Row is a labeled line. A Row without a Label continues the previous row. Text may be unprintable.
type Row struct{ Label, Text string }

// Explanation explains one message.
type Explanation struct {
	Short   string   // the action and its reason, in a few sentences
	Head    []Row    // the sender and the role of the message
	Found   []Row    // the checks; none if the role is not verify
	Decided []Row    // the action, and the rule that required it
	Help    []string // advice for the sender or for the postmaster of this site; none if nothing is wrong
}

// Limits on the lengths of displayed texts, in bytes.
const (
	maxText   = 300  // for a DNS record: a reader does not need all 750 bytes of a 4096-bit key
	maxTerm   = 120  // for a term of an SPF record in a sentence
	maxAnswer = 2048 // for the records of a DNS answer
	maxReason = 2048 // for the reasons: enough unless a sender chose very long names
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

// Why returns the reasons for the action as one phrase. Without such reasons, it returns the reason for the role of the message.
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

// more adds text as a continuation of the previous row, unless text is empty.
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
	if author := cmp.Or(strings.Join(x.e.Author.Addresses, ", "), strings.Join(x.e.Author.Domains, ", "), policy.AuthorText(x.e.Author)); author != "" {
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

// recipients returns the recipients that the journal contains. If it does not contain them, recipients returns their number.
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

// markOmitted returns an address. If the journal omits the local part, the result has "..." in its place.
func markOmitted(address string) string {
	if strings.HasPrefix(address, "@") {
		return "..." + address
	}
	return address
}

// client returns the address of the client and the client name that Postfix verified.
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
	if r := x.e.Report; r != nil {
		l.row("report", "%s", reportText(r))
	}
	if len(x.Selectors) > 0 {
		l.row("keys", "%s of %s", strings.Join(x.Selectors, ","), x.Assignment.Domain)
	}
	if r := x.Reply.WithID(x.QueueID); r.Code != 0 && !x.Observe {
		l = append(l, Row{"reply", fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text)})
	}
	return l
}

// reportText states whether a copy of a message to a report address was kept.
func reportText(r *policy.ReceivedReport) string {
	switch r.Copy {
	case policy.ReportKept:
		return "a copy was kept for signpost reports read; authenticated reporter: " + cmp.Or(r.Reporter, r.TLSReporter)
	case policy.ReportUnauthenticated:
		return "no copy was kept for signpost reports read: the reporter is not authenticated"
	case policy.ReportTooLarge:
		return "no copy was kept for signpost reports read: the message is too large"
	case policy.ReportOverLimit:
		return "no copy was kept for signpost reports read: too many reports arrived at the same time, or the spool is full"
	}
	return "no copy was kept for signpost reports read: writing it failed"
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

// compared returns rows that compare our results with the results of another filter on this host.
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
