package digest

import (
	"fmt"
	"io"
	"strings"
	"time"

	"signpost/internal/report/status"
	"signpost/internal/report/summary"
	"signpost/internal/term"
)

// mostLines limits each list.
const mostLines = 5

// Write writes the digest as text for a message: at most 80 columns, if names are short.
func (d *Digest) Write(w io.Writer, since string) error {
	p := &printer{}
	p.line("Signpost on %s: %s to %s", d.Host, minute(d.From), minute(d.To))
	if m := d.Journal; m == nil {
		p.line("mail        there is no journal")
	} else {
		p.mail(m, d.From, since)
	}
	p.keys(d.Keys)
	p.alarms(d)
	if s := d.Sent; s != nil {
		p.row("sent", "%s; waiting: %d", strings.Join([]string{fmt.Sprintf("accepted: %d", s.Accepted), fmt.Sprintf("refused: %d", s.Refused), fmt.Sprintf("given up: %d", s.GivenUp),
			fmt.Sprintf("suppressed: %d", s.Suppressed)}, ", "), s.Waiting)
	}
	if r := d.Seen; r != nil {
		p.row("received", "%d reports about %d domains: %d messages, %s passed DMARC", r.Reports, r.Domains, r.Messages, summary.Percent(r.Passed, r.Messages))
	}
	for _, text := range d.Errors {
		p.row("not read", "%s", text)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

type printer struct{ b strings.Builder }

func (p *printer) line(format string, args ...any) {
	p.b.WriteString(term.Printable(fmt.Sprintf(format, args...)) + "\n")
}

// row writes a line with a label. An empty label continues the row before.
func (p *printer) row(label, format string, args ...any) {
	p.line("%-11s %s", label, fmt.Sprintf(format, args...))
}

func (p *printer) mail(m *Mail, from time.Time, since string) {
	switch {
	case m.Oldest.IsZero():
		p.row("mail", "the journal is empty")
		return
	case m.Oldest.After(from):
		p.row("journal", "it begins at %s: the numbers are those since then", minute(m.Oldest))
	}
	p.line("%-11s %10s %12s", "", "messages", "before")
	number := func(label string, of func(*Volumes) int64) {
		before := "-"
		if m.Before != nil {
			before = fmt.Sprint(of(m.Before))
		}
		p.line("%-11s %10d %12s", label, of(&m.Now), before)
	}
	number("signed", func(v *Volumes) int64 { return v.Signed })
	number("not signed", func(v *Volumes) int64 { return v.Unsigned })
	number("inbound", func(v *Volumes) int64 { return v.Inbound })
	number("DMARC pass", func(v *Volumes) int64 { return v.Passed })
	number("DMARC fail", func(v *Volumes) int64 { return v.Failed })
	number("rejected", func(v *Volumes) int64 { return v.Rejected })
	number("quarantined", func(v *Volumes) int64 { return v.Held })
	number("deferred", func(v *Volumes) int64 { return v.Deferred })
	if m.Observed {
		p.row("", "in observe mode, actions were not carried out")
	}
	label := "why"
	for _, r := range m.Reasons[:min(len(m.Reasons), mostReasons)] {
		var names []string
		for _, d := range r.Domains {
			name := d.Name
			if name == "" {
				name = "(no domain)"
			}
			names = append(names, fmt.Sprintf("%s %d", name, d.N))
		}
		p.row(label, "%d %s, %s: %s", r.N, r.Code, r.Action, strings.Join(names, ", "))
		label = ""
	}
	p.more(len(m.Reasons)-mostReasons, "signpost log --failed --since "+since)
	label = "new sources"
	for _, s := range m.Sources[:min(len(m.Sources), mostSources)] {
		p.row(label, "%s sends as %s, and passes DMARC: %d", s.Client, s.Domain, s.N)
		label = ""
	}
	p.more(len(m.Sources)-mostSources, "")
}

// more states that there are more lines, and the command that shows them.
func (p *printer) more(n int, command string) {
	switch {
	case n > 0 && command != "":
		p.row("", "%d more: %s", n, command)
	case n > 0:
		p.row("", "%d more", n)
	}
}

func (p *printer) keys(all []Due) {
	if len(all) == 0 {
		p.row("keys", "nothing is due")
	}
	label := "keys"
	for _, k := range all[:min(len(all), mostLines)] {
		switch {
		case k.Action != "":
			p.row(label, "%s %s: action needed: %s", k.Domain, k.Selector, k.Action)
		default:
			p.row(label, "%s %s: %s at %s", k.Domain, k.Selector, k.Step, minute(k.At))
		}
		label = ""
	}
	p.more(len(all)-mostLines, "dkimkey status")
}

func (p *printer) alarms(d *Digest) {
	if d.Problem == "" && len(d.Alarms) == 0 {
		p.row("alarms", "none")
		return
	}
	label := "alarms"
	if d.Problem != "" {
		p.row(label, "%s", d.Problem)
		label = ""
	}
	for _, a := range d.Alarms[:min(len(d.Alarms), mostLines)] {
		name := a.Domain
		if a.Code == status.ReporterSilent {
			name = string(a.Code)
		}
		p.row(label, "%s: %s", name, a)
		label = ""
	}
	p.more(len(d.Alarms)-mostLines+d.Omitted, "signpost reports received")
}

func minute(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }
