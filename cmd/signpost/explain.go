package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"signpost/internal/cli"
	"signpost/internal/filter"
	"signpost/internal/spf"
	"signpost/milter"
	"signpost/policy"
)

// explain shows a report to a person: what was known, what each method found with its records, what DNS said, and what
// follows.
func explain(w io.Writer, r filter.Report, edits milter.Edits, reply milter.Reply) {
	paint := cli.Paint(w)
	row := func(name, format string, args ...any) {
		text := printable(fmt.Sprintf(format, args...))
		if name == "SPF" || name == "DKIM" || name == "ARC" || name == "DMARC" {
			word, rest, _ := strings.Cut(text, " ")
			text = strings.TrimSuffix(paint.Status(word)+" "+rest, " ")
		}
		fmt.Fprintf(w, "%-12s %s\n", name, text)
	}
	e := r.Evidence
	row("client", "%s, HELO %s", e.Connection.Client, cmp.Or(e.Connection.HELO, "(none)"))
	row("MAIL FROM", "<%s>", e.Envelope.Sender)
	row("role", "%s: %s", r.Assignment.Role, r.Assignment.Reason)
	if r.Assignment.Role == policy.Verify {
		methods(row, e)
		differences(row, e)
		fmt.Fprintln(w)
		for _, l := range r.Lookups {
			notes := []string{l.Took.Round(10 * time.Microsecond).String()}
			if l.Authentic {
				notes = append(notes, "DNSSEC")
			}
			if l.Cached {
				notes = append(notes, "cached")
			}
			row("DNS", "%s %s: %s (%s)", l.Name, l.Type, l.Answer, strings.Join(notes, ", "))
		}
	}
	fmt.Fprintln(w)
	row("verdict", "%s", r.Done)
	if r.Verdict.Reason != "" {
		row("because", "%s", r.Verdict.Reason)
	}
	for _, s := range r.Verdict.Evidence {
		row("", "%s", s)
	}
	if reply.Code != 0 {
		row("reply", "%d %s %s", reply.Code, reply.Enhanced, reply.Text)
	}
	for _, d := range edits.Delete {
		row("removes", "%s number %d: it claims to be ours, or cannot be read", d.Name, d.Index)
	}
	for i := len(edits.Insert) - 1; i >= 0; i-- { // the last one ends on top
		fmt.Fprintf(w, "%s:%s\n", edits.Insert[i].Name, edits.Insert[i].Value)
	}
}

func methods(row func(name, format string, args ...any), e policy.Evidence) {
	detail := func(s string) {
		if s != "" {
			row("", "%s", s)
		}
	}
	author := strings.Join(e.Author.Domains, ", ")
	row("Author", "%s", cmp.Or(author, e.Author.Doubt))
	if s := e.SPF; s != nil {
		identity := "MAIL FROM"
		if s.Identity == spf.HELO {
			identity = "HELO, since the sender is null"
		}
		row("SPF", "%s for %s (%s)", s.Status, cmp.Or(s.Domain, "no domain"), identity)
		detail(s.Reason)
		detail(s.Record)
	}
	if len(e.DKIM) == 0 {
		row("DKIM", "none: the message has no signature")
	}
	for _, s := range e.DKIM {
		row("DKIM", "%s d=%s s=%s a=%s", s.Status, s.Domain, s.Selector, s.Algorithm)
		detail(s.Reason)
		if s.KeyRecord != "" {
			detail(fmt.Sprintf("%d bits at %s: %s", s.KeyBits, s.KeyName, s.KeyRecord))
		}
	}
	chain(row, e)
	for _, d := range e.DMARC {
		row("DMARC", "%s for %s", d.Status, d.Domain)
		detail(d.Reason)
		if d.Aligned != "" {
			detail("aligned: " + d.Aligned)
		}
		if d.PolicyDomain != "" {
			detail(fmt.Sprintf("policy %s, by %s=%s at _dmarc.%s: %s", cmp.Or(d.Policy, "unknown"), cmp.Or(d.Tag, "p"), d.Published, d.PolicyDomain, d.Record))
		}
		if d.OrgDomain != "" {
			detail("Organizational Domain " + d.OrgDomain)
		}
	}
}

// chain shows the ARC sets, the newest first.
func chain(row func(name, format string, args ...any), e policy.Evidence) {
	if e.ARC == nil {
		return
	}
	row("ARC", "%s", e.ARC.Status)
	if e.ARC.Reason != "" {
		row("", "%s", e.ARC.Reason)
	}
	if e.ARC.OldestPass > 0 {
		row("", "the message was changed before instance %d", e.ARC.OldestPass)
	}
	for _, s := range slices.Backward(e.ARC.Sets) {
		row("", "instance %d: d=%s s=%s cv=%s", s.Instance, s.Domain, s.Selector, s.CV)
		if !s.CoversFrom {
			row("", "its message signature does not cover From")
		}
		for _, d := range e.SealedDMARC {
			if d.Instance == s.Instance {
				row("", "it says dmarc=%s for %s", d.Result, d.Domain)
			}
		}
	}
}

// differences shows where the results differ from those that another filter of this host wrote.
func differences(row func(name, format string, args ...any), e policy.Evidence) {
	all := policy.Compare(e)
	if len(e.Others) > 0 && len(all) == 0 {
		row("compared", "the other filter found the same")
	}
	for _, d := range all {
		row("differs", "%s", d)
	}
}

// printable keeps a stranger's control characters from the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
