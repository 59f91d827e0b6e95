// Package story tells a person what became of a message and why: what is known of it, what each check found by which
// record, what was decided, and what its sender can do. It asks nobody: DNS is as it was for the message.
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

// Row is a line with what it is about. One without a Label goes on with the row before. Texts are not made printable.
type Row struct{ Label, Text string }

// Story is a message's.
type Story struct {
	Short   string   // what was done and why, in a few sentences
	Head    []Row    // who sent it, and as what it was treated
	Found   []Row    // the checks; none for our own users' mail
	Decided []Row    // what was done, and by which rule
	Help    []string // what its sender, or the postmaster here, can do; none where all is well
}

// Bounds on what is shown, in octets.
const (
	maxText   = 300  // of one record: a key of 4096 bits has 750, and nobody reads it
	maxReason = 2048 // of what decided, which is to be whole but for a stranger's endless names
)

// Tell tells the story of a message.
func Tell(r filter.Report) Story {
	t := &teller{Report: r, e: &r.Evidence, view: dns.Recall(r.Lookups)}
	s := Story{Short: clip(t.short(), maxReason), Head: t.head(), Decided: t.decided(), Help: t.help()}
	for i := range s.Help {
		s.Help[i] = clip(s.Help[i], maxReason)
	}
	if r.Assignment.Role == policy.Verify {
		s.Found = slices.Concat(t.spf(), t.dkim(), t.arc(), t.dmarc(), t.relays(), t.compared())
	}
	return s
}

type teller struct {
	filter.Report
	e    *policy.Evidence
	view *dns.View
}

// list gathers rows.
type list []Row

func (l *list) row(label, format string, args ...any) {
	*l = append(*l, Row{label, clip(fmt.Sprintf(format, args...), maxText)})
}

// more adds a row to the one before, if there is a text.
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

func (t *teller) head() []Row {
	var l list
	c := t.e.Connection
	l.row("client", "%s, HELO %s", t.client(), cmp.Or(c.HELO, "(none)"))
	if t.e.Envelope.Login != "" {
		l.row("login", "%s", whole(t.e.Envelope.Login))
	}
	if t.e.Envelope.Sender == "" {
		l.row("MAIL FROM", "<>: a bounce, or another notice of a mail server")
	} else {
		l.row("MAIL FROM", "<%s>", whole(t.e.Envelope.Sender))
	}
	l = append(l, t.recipients()...)
	if author := cmp.Or(strings.Join(t.e.Author.Domains, ", "), t.e.Author.Doubt); author != "" {
		l.row("Author", "%s", author)
	}
	if t.Assignment.Role != "" {
		l.row("role", "%s: %s", t.Assignment.Role, t.Assignment.Reason)
	}
	switch t.Assignment.Role {
	case policy.Sign:
		l.more("one of our own users' messages, to be signed for " + t.Assignment.Domain)
	case policy.Verify:
		l.more("a stranger's message, to be checked")
	case policy.Leave:
		l.more("neither checked nor signed")
	}
	return l
}

// recipients are those that the journal keeps, or how many there were.
func (t *teller) recipients() []Row {
	const most = 5
	var l list
	e := t.e.Envelope
	switch shown := e.Recipients[:min(most, len(e.Recipients))]; {
	case len(shown) > 0:
		for i, r := range shown {
			shown := "<" + whole(r) + ">"
			if i == 0 {
				l.row("RCPT TO", "%s", shown)
			} else {
				l.more(shown)
			}
		}
		if n := e.Addressees - len(shown); n > 0 {
			l.more(fmt.Sprintf("and %d more", n))
		}
	case e.Addressees > 0:
		l.row("recipients", "%d", e.Addressees)
	}
	return l
}

// whole marks an address whose local part the journal leaves out.
func whole(address string) string {
	if strings.HasPrefix(address, "@") {
		return "..." + address
	}
	return address
}

// client is the host with the name that Postfix verified.
func (t *teller) client() string {
	c := t.e.Connection
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

func (t *teller) decided() []Row {
	var l list
	l.row("verdict", "%s", t.Done)
	if t.Observe {
		l.more("observe mode: it was let through, and nothing of this was done")
	}
	v := t.Verdict
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
	if t.Selectors != "" {
		l.row("keys", "%s of %s", t.Selectors, t.Assignment.Domain)
	}
	if a := t.Answer(); a.Code != 0 && !t.Observe {
		l = append(l, Row{"reply", fmt.Sprintf("%d %s %s", a.Code, a.Enhanced, a.Text)})
	}
	return l
}

// overrides are the words of RFC 9990, for whoever does not know them.
func overrides(o policy.Override) string {
	switch o {
	case policy.LocalPolicy:
		return "the receiver's own rule, not the policy of the author's domain"
	case policy.MailingList:
		return "relayed by a verified mailing list, which breaks the authentication of what it relays"
	case policy.PolicyTestMode:
		return "the author's domain says that it is testing its policy (t=y)"
	}
	return "it came by a forwarder that is trusted here"
}

// compared has the differences from the results of another filter of this host.
func (t *teller) compared() []Row {
	var l list
	all := policy.Compare(*t.e)
	if len(t.e.Others) > 0 && len(all) == 0 {
		l.row("compared", "the other filter found the same")
	}
	for _, d := range all {
		l.row("differs", "%s", d)
	}
	return l
}
