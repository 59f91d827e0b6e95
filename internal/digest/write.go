package digest

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"signpost/internal/report/status"
	"signpost/internal/report/summary"
	"signpost/internal/term"
)

// A digest fits on a screen of 24 lines and 80 columns.
const (
	columns     = 80
	labelWidth  = 12
	mostReasons = 3
	mostSources = 3
	mostKeys    = 2
	mostAlarms  = 3
)

// Write writes the digest as text for a message. It cuts longer lines.
func (d *Digest) Write(w io.Writer, since string) error {
	p := &printer{}
	p.line("Signpost on %s: %s to %s", d.Host, minute(d.From), minute(d.To))
	more := []string{"signpost check", "dkimkey status"}
	var reasons []string
	var sources []string
	switch m := d.Journal; {
	case m == nil:
		p.row("mail", "there is no journal (journal.enabled)")
	case m.Oldest.IsZero():
		p.row("mail", "the journal is empty")
	default:
		p.mail(m, d.From)
		for _, r := range m.Reasons {
			reasons = append(reasons, r.String())
		}
		for _, s := range m.Sources {
			sources = append(sources, fmt.Sprintf("%s: %s sends here and passes DMARC: %d", s.Domain, s.Client, s.N))
		}
		more = append([]string{"signpost log --failed --since " + since}, more...)
	}
	var alarms []string
	for _, problem := range d.Problems {
		alarms = append(alarms, problem.Check+": "+problem.Text)
	}
	for _, a := range d.Alarms {
		name := a.Domain
		if name == "" {
			name = string(a.Code)
		}
		if a.Code == status.UnknownSource {
			sources = append(sources, name+": "+a.String())
		} else {
			alarms = append(alarms, name+": "+a.String())
		}
	}
	var due []string
	for _, k := range d.Keys {
		due = append(due, k.String())
	}
	p.list("why", reasons, mostReasons, 0)
	p.list("new sources", sources, mostSources, 0)
	p.list("keys", due, mostKeys, 0)
	p.list("alarms", alarms, mostAlarms, d.Omitted)
	if d.Sent == nil && d.Seen == nil {
		p.row("reports", "off; docs/reports.md describes how to send and receive them")
	} else {
		p.reports(d)
		more = append(more, "signpost reports received")
	}
	for _, text := range d.Errors {
		p.row("not read", "%s", text)
	}
	p.row("more", "%s", strings.Join(more[:len(more)/2], "; "))
	p.row("", "%s", strings.Join(more[len(more)/2:], "; "))
	_, err := io.WriteString(w, p.b.String())
	return err
}

// String returns the reason with its domains.
func (r Reason) String() string {
	var names []string
	for _, d := range r.Domains {
		name := d.Name
		if name == "" {
			name = "(no domain)"
		}
		names = append(names, fmt.Sprintf("%s %d", name, d.N))
	}
	return fmt.Sprintf("%d %s, %s: %s", r.N, r.Code, r.Action, strings.Join(names, ", "))
}

// String returns the step of the key.
func (k Due) String() string {
	name := strings.TrimSpace(k.Domain + " " + k.Selector)
	if k.Action != "" {
		return name + ": action needed: " + k.Action
	}
	return fmt.Sprintf("%s: %s at %s", name, k.Step, minute(k.At))
}

type printer struct{ b strings.Builder }

// line writes a line. It cuts the line after columns.
func (p *printer) line(format string, args ...any) {
	text := term.Printable(fmt.Sprintf(format, args...))
	if utf8.RuneCountInString(text) > columns {
		text = string([]rune(text)[:columns-1]) + "…"
	}
	p.b.WriteString(text + "\n")
}

// row writes a line with a label. An empty label continues the row before.
func (p *printer) row(label, format string, args ...any) {
	p.line("%-*s %s", labelWidth-1, label, fmt.Sprintf(format, args...))
}

// list writes the first entries. The last line has the number of those that are missing.
func (p *printer) list(label string, all []string, most, missing int) {
	if len(all) == 0 {
		p.row(label, "none")
		return
	}
	missing += max(0, len(all)-most)
	all = all[:min(len(all), most)]
	for i, text := range all {
		if i == len(all)-1 && missing > 0 {
			end := fmt.Sprintf(" (%d more)", missing)
			if room := columns - labelWidth - len(end); utf8.RuneCountInString(text) > room {
				text = string([]rune(text)[:room-1]) + "…"
			}
			text += end
		}
		p.row(label, "%s", text)
		label = ""
	}
}

func (p *printer) mail(m *Mail, from time.Time) {
	note := ""
	if m.Oldest.After(from) {
		note = "the journal begins at " + minute(m.Oldest)
	} else if m.Observed {
		note = "observe mode: actions were not carried out"
	}
	p.line("%-*s %9s %9s   %s", labelWidth-1, "", "messages", "before", note)
	for _, n := range []struct {
		label string
		of    func(*Volumes) int64
		rate  bool
	}{
		{"signed", func(v *Volumes) int64 { return v.Signed }, false},
		{"not signed", func(v *Volumes) int64 { return v.Unsigned }, false},
		{"inbound", func(v *Volumes) int64 { return v.Inbound }, false},
		{"DMARC pass", func(v *Volumes) int64 { return v.Passed }, true},
		{"rejected", func(v *Volumes) int64 { return v.Rejected }, false},
		{"quarantined", func(v *Volumes) int64 { return v.Held }, false},
		{"deferred", func(v *Volumes) int64 { return v.Deferred }, false},
	} {
		before, rate := "-", ""
		if m.Before != nil {
			before = fmt.Sprint(n.of(m.Before))
		}
		if n.rate {
			rate = summary.Percent(m.Now.Passed, m.Now.Inbound)
			if m.Before != nil {
				rate += ", before: " + summary.Percent(m.Before.Passed, m.Before.Inbound)
			}
		}
		p.b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s %9d %9s   %s", labelWidth-1, n.label, n.of(&m.Now), before, rate), " ") + "\n")
	}
}

// reports writes what was sent and received.
func (p *printer) reports(d *Digest) {
	if s := d.Sent; s != nil {
		p.row("sent", "accepted: %d, refused: %d, given up: %d, suppressed: %d, waiting: %d", s.Accepted, s.Refused, s.GivenUp, s.Suppressed, s.Waiting)
	} else {
		p.row("sent", "no reports (reports.send.enabled)")
	}
	r := d.Seen
	if r == nil {
		p.row("received", "no reports (reports.receive.addresses)")
		return
	}
	before := ""
	if d.Earlier != nil && d.Earlier.Messages > 0 {
		before = ", before: " + summary.Percent(d.Earlier.Passed, d.Earlier.Messages)
	}
	p.row("received", "%d reports, %d messages, DMARC pass: %s%s", r.Reports, r.Messages, summary.Percent(r.Passed, r.Messages), before)
}

func minute(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }
