package digest

import (
	"fmt"
	"io"
	"strings"
	"time"

	"signpost/internal/report/summary"
	"signpost/internal/term"
)

// A digest fits on a screen of this size.
const screenLines, screenColumns = 24, 80

// section is a list of the digest. Each list has at least one line for an item, and a line with the command that shows more.
type section struct {
	label   string
	items   []string // empty: there is nothing to show
	none    string   // the line if there are no items
	command string
}

// Write writes the digest as text for a message: at most 24 lines of 80 columns. Longer lines and lists are cut.
func (d *Digest) Write(w io.Writer, since string) error {
	p := &printer{}
	p.line("Signpost on %s: %s to %s", d.Host, minute(d.From), minute(d.To))
	var lists []section
	if m := d.Journal; m == nil {
		p.row("mail", "there is no journal")
	} else if p.mail(m, d.From) {
		lists = append(lists, section{"why", m.why(), "everything was accepted", "signpost log --failed --since " + since})
	}
	lists = append(lists, section{"new sources", d.sources(), "none", "signpost reports received"}, section{"keys", d.due(), "nothing is due", "dkimkey status"},
		section{"alarms", d.alarms(), "none", "signpost check"})
	tail := &printer{}
	tail.reports(d)
	if len(d.Errors) > 0 {
		rest := ""
		if more := len(d.Errors) - 1; more > 0 {
			rest = fmt.Sprintf(" (%d more: signpost digest --json)", more)
		}
		tail.row("not read", "%s%s", cut(term.Printable(d.Errors[0]), screenColumns-12-len(rest)), rest)
	}
	p.lists(lists, screenLines-p.lines-tail.lines)
	_, err := io.WriteString(w, p.b.String()+tail.b.String())
	return err
}

type printer struct {
	b     strings.Builder
	lines int
}

func (p *printer) line(format string, args ...any) {
	p.b.WriteString(cut(strings.TrimRight(term.Printable(fmt.Sprintf(format, args...)), " "), screenColumns) + "\n")
	p.lines++
}

// cut returns a printable text that fits into columns.
func cut(s string, columns int) string {
	if head, rest := term.Cut(s, columns); rest == "" {
		return head
	}
	head, _ := term.Cut(s, columns-1)
	return head + "…"
}

// row writes a line with a label. An empty label continues the row before.
func (p *printer) row(label, format string, args ...any) {
	p.line("%-11s %s", label, fmt.Sprintf(format, args...))
}

// mail writes the numbers, in two columns. It reports whether the journal has messages.
func (p *printer) mail(m *Mail, from time.Time) bool {
	if m.Oldest.IsZero() {
		p.row("mail", "the journal is empty")
		return false
	}
	before := func(text func(*Volumes) string) string {
		if m.Before == nil {
			return "-"
		}
		return text(m.Before)
	}
	cell := func(label string, text func(*Volumes) string) string {
		return fmt.Sprintf("%-11s %10s %10s", label, text(&m.Now), before(text))
	}
	number := func(label string, of func(*Volumes) int64) string {
		return cell(label, func(v *Volumes) string { return fmt.Sprint(of(v)) })
	}
	p.line("%-11s %10s %10s     %-11s %10s %10s", "", "messages", "before", "", "messages", "before")
	p.line("%s     %s", number("signed", func(v *Volumes) int64 { return v.Signed }), number("rejected", func(v *Volumes) int64 { return v.Rejected }))
	p.line("%s     %s", number("not signed", func(v *Volumes) int64 { return v.Unsigned }), number("quarantined", func(v *Volumes) int64 { return v.Held }))
	p.line("%s     %s", number("inbound", func(v *Volumes) int64 { return v.Inbound }), number("deferred", func(v *Volumes) int64 { return v.Deferred }))
	p.line("%s     %s", number("DMARC pass", func(v *Volumes) int64 { return v.Passed }), number("DMARC fail", func(v *Volumes) int64 { return v.Failed }))
	p.line("%s     of inbound mail passed DMARC", cell("pass rate", func(v *Volumes) string { return rate(v.Passed, v.Inbound) }))
	var notes []string
	if m.Oldest.After(from) {
		notes = append(notes, "the journal begins at "+minute(m.Oldest))
	}
	if m.Observed {
		notes = append(notes, "observe mode: actions not carried out")
	}
	if len(notes) > 0 {
		p.row("note", "%s", strings.Join(notes, "; "))
	}
	return true
}

// rate returns a part of all as a percentage, or "-" if there is nothing to count.
func rate(part, all int64) string {
	if all == 0 {
		return "-"
	}
	return summary.Percent(part, all)
}

// lists writes the lists. Each gets one item, and then the others share the rest of the lines, one after the other.
func (p *printer) lists(all []section, lines int) {
	shown := make([]int, len(all))
	for i, s := range all {
		lines-- // one item, or that there are none
		if len(s.items) > 0 {
			lines-- // the command
			shown[i] = 1
		}
	}
	for progress := true; progress; {
		progress = false
		for i, s := range all {
			if lines > 0 && shown[i] < len(s.items) {
				shown[i]++
				lines--
				progress = true
			}
		}
	}
	for i, s := range all {
		if len(s.items) == 0 {
			p.row(s.label, "%s (%s)", s.none, s.command)
			continue
		}
		label := s.label
		for _, text := range s.items[:shown[i]] {
			p.row(label, "%s", text)
			label = ""
		}
		if more := len(s.items) - shown[i]; more > 0 {
			p.row("", "%d more: %s", more, s.command)
		} else {
			p.row("", "more: %s", s.command)
		}
	}
}

func (m *Mail) why() (all []string) {
	for _, r := range m.Reasons {
		var names []string
		for _, d := range r.Domains {
			name := d.Name
			if name == "" {
				name = "(no domain)"
			}
			names = append(names, fmt.Sprintf("%s %d", name, d.N))
		}
		all = append(all, fmt.Sprintf("%d %s, %s: %s", r.N, r.Code, r.Action, strings.Join(names, ", ")))
	}
	return all
}

// sources returns the new sources of the reports and of the journal alternately, so that both are seen if the list is cut.
func (d *Digest) sources() (all []string) {
	var reported, local []Source
	if d.Seen != nil {
		reported = d.Seen.Sources
	}
	if d.Journal != nil {
		local = d.Journal.Sources
	}
	for i := range max(len(reported), len(local)) {
		if i < len(reported) {
			s := reported[i]
			all = append(all, fmt.Sprintf("%d in reports: %s sends as %s", s.N, s.Client, s.Domain))
		}
		if i < len(local) {
			s := local[i]
			all = append(all, fmt.Sprintf("%d passed DMARC here: %s sends as %s", s.N, s.Client, s.Domain))
		}
	}
	return all
}

func (d *Digest) due() (all []string) {
	for _, k := range d.Keys {
		if k.Action != "" {
			all = append(all, fmt.Sprintf("%s %s: action needed: %s", k.Domain, k.Selector, k.Action))
		} else {
			all = append(all, fmt.Sprintf("%s %s: %s at %s", k.Domain, k.Selector, k.Step, minute(k.At)))
		}
	}
	return all
}

// alarms returns one line for each check with problems, and one for each kind of alarm in received reports, with their numbers.
func (d *Digest) alarms() (all []string) {
	for _, one := range d.Problems {
		all = append(all, fmt.Sprintf("%s: %d: %s", one.Check, one.N, one.First))
	}
	type kind struct {
		n     int
		names []string
	}
	kinds, order := map[string]*kind{}, []string{}
	for _, a := range d.Alarms {
		code, name := string(a.Code), a.Domain
		if name == "" {
			name = strings.Join(a.Reporters, " ")
		}
		if kinds[code] == nil {
			kinds[code] = &kind{}
			order = append(order, code)
		}
		kinds[code].n++
		kinds[code].names = append(kinds[code].names, name)
	}
	for _, code := range order {
		all = append(all, fmt.Sprintf("%s: %d (signpost reports received): %s", strings.ReplaceAll(code, "_", " "), kinds[code].n, strings.Join(kinds[code].names, ", ")))
	}
	if d.Omitted > 0 {
		all = append(all, fmt.Sprintf("others of reports: %d (signpost reports received)", d.Omitted))
	}
	return all
}

// reports writes what was sent, and what receivers state about the mail of this site.
func (p *printer) reports(d *Digest) {
	if s := d.Sent; s != nil {
		p.row("sent", "accepted %d, refused %d, given up %d, waiting %d (signpost reports)", s.Accepted, s.Refused, s.GivenUp, s.Waiting)
	}
	if r := d.Seen; r != nil {
		p.row("received", "%d reports about %d domains (signpost reports received)", r.Reports, r.Domains)
		p.row("", "own mail: %d, before %d", r.Own.Messages, r.OwnBefore.Messages)
		p.row("", "DMARC %s (%s), DKIM %s (%s), SPF %s (%s)", rate(r.Own.Passed, r.Own.Messages), rate(r.OwnBefore.Passed, r.OwnBefore.Messages),
			rate(r.Own.DKIM, r.Own.Messages), rate(r.OwnBefore.DKIM, r.OwnBefore.Messages), rate(r.Own.SPF, r.Own.Messages), rate(r.OwnBefore.SPF, r.OwnBefore.Messages))
	}
	switch {
	case d.Sent == nil && d.Seen == nil:
		p.row("reports", "off (docs/reports.md)")
	case d.Sent == nil:
		p.row("sent", "reports: off (docs/reports.md)")
	case d.Seen == nil:
		p.row("received", "reports: off (docs/reports.md)")
	}
}

func minute(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }
