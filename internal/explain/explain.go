// Package explain explains to people what was done with a message and why: what is known of it, what each check found in which
// record, what was decided, and what its sender can do. It makes no DNS query: it uses the recorded answers.
package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dns"
	"signpost/internal/filter"
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
	Help    []string // what its sender or the postmaster here can do; none if all is well
}

// Bounds on what is shown, in bytes.
const (
	maxText   = 300  // of a record: a key of 4096 bits has 750 bytes, which are of no interest
	maxReason = 2048 // of what decided, which should be complete unless a sender chose very long names
)

// Message explains a message.
func Message(r filter.Report) Explanation {
	x := &explainer{Report: r, e: &r.Evidence, view: dns.Recall(r.Lookups)}
	e := Explanation{Short: clip(x.short(), maxReason), Head: x.head(), Decided: x.decided(), Help: x.help()}
	for i := range e.Help {
		e.Help[i] = clip(e.Help[i], maxReason)
	}
	if r.Assignment.Role == policy.Verify {
		e.Found = slices.Concat(x.spf(), x.dkim(), x.arc(), x.dmarc(), x.relays(), x.compared())
	}
	return e
}

type explainer struct {
	filter.Report
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
	return fmt.Sprintf("%s... (%d octets)", strings.ToValidUTF8(s[:most], ""), len(s))
}

func (x *explainer) head() []Row {
	var l list
	c := x.e.Connection
	l.row("client", "%s, HELO %s", x.client(), cmp.Or(c.HELO, "(none)"))
	if x.e.Envelope.Login != "" {
		l.row("login", "%s", whole(x.e.Envelope.Login))
	}
	if x.e.Envelope.Sender == "" {
		l.row("MAIL FROM", "<>: a bounce, or another notice of a mail server")
	} else {
		l.row("MAIL FROM", "<%s>", whole(x.e.Envelope.Sender))
	}
	l = append(l, x.recipients()...)
	if author := cmp.Or(strings.Join(x.e.Author.Domains, ", "), x.e.Author.Doubt); author != "" {
		l.row("Author", "%s", author)
	}
	if x.Assignment.Role != "" {
		l.row("role", "%s: %s", x.Assignment.Role, x.Assignment.Reason)
	}
	switch x.Assignment.Role {
	case policy.Sign:
		l.more("one of our own users' messages, to be signed for " + x.Assignment.Domain)
	case policy.Verify:
		l.more("a stranger's message, to be checked")
	case policy.Leave:
		l.more("neither checked nor signed")
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
			l.row(label, "<%s>", whole(r))
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

// whole marks an address whose local part the journal omits.
func whole(address string) string {
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
		return fmt.Sprintf("%s (calls itself %s in DNS, which does not lead back to it)", c.Client, c.PTR)
	}
	return c.Client.String() + " (without a name in DNS)"
}

func (x *explainer) decided() []Row {
	var l list
	l.row("verdict", "%s", x.Done)
	if x.Observe {
		l.more("observe mode: it was let through, and nothing of this was done")
	}
	v := x.Verdict
	if v.Reason != "" {
		l = append(l, Row{"because", clip(v.Reason, maxReason)})
	}
	switch {
	case len(v.Evidence) > 1 && v.Reply.Code >= 500:
		l.more("nothing shows that a mailing list or a forwarder relayed it:")
	case len(v.Evidence) > 1:
		l.more("a forwarder that is trusted here vouches for it:")
	}
	for _, s := range v.Evidence {
		l.more(s)
	}
	if v.Override != "" {
		l.row("override", "%s: %s", v.Override, overrides(v.Override))
	}
	if x.Selectors != "" {
		l.row("keys", "%s of %s", x.Selectors, x.Assignment.Domain)
	}
	if a := x.Answer(); a.Code != 0 && !x.Observe {
		l = append(l, Row{"reply", fmt.Sprintf("%d %s %s", a.Code, a.Enhanced, a.Text)})
	}
	return l
}

// overrides explains the words of RFC 9990.
func overrides(o policy.Override) string {
	switch o {
	case policy.LocalPolicy:
		return "the receiver's own rule, not the policy of the author's domain"
	case policy.MailingList:
		return "relayed by a verified mailing list, which breaks the authentication of what it relays"
	case policy.PolicyTestMode:
		return "the author's domain says that it is testing its policy (t=y)"
	case policy.TrustedForwarder:
		return "it came by a forwarder that is trusted here"
	}
	return ""
}

// compared returns the differences from the results of another filter on this host.
func (x *explainer) compared() []Row {
	var l list
	all := policy.Compare(*x.e)
	if len(x.e.Others) > 0 && len(all) == 0 {
		l.row("compared", "the other filter found the same")
	}
	for _, d := range all {
		l.row("differs", "%s", d)
	}
	return l
}
