package glance

import (
	"fmt"
	"io"
	"strings"
	"time"

	"signpost/internal/doctor"
	"signpost/internal/report/received"
	"signpost/internal/report/summary"
	"signpost/internal/term"
)

// Write writes everything about a domain as text.
func (d *Domain) Write(w io.Writer) error {
	p := printer{paint: term.Paint(w)}
	hosted := "not hosted here"
	if d.Hosted {
		hosted = "hosted here"
	}
	p.line("%s: %s; DNS: %s", d.Name, hosted, doctor.Count(d.Findings))
	if d.Hosted {
		p.keys(d.Keys)
	}
	p.head("DNS")
	for _, f := range d.Findings {
		p.finding(f)
	}
	if d.DNS.SPF != "" {
		p.field("SPF lookups", fmt.Sprintf("%d of 10, without an answer: %d of 2", d.DNS.SPFLookups, d.DNS.SPFVoid))
	}
	for _, r := range d.Optional {
		p.field("optional", r.Check+": "+r.Why)
		p.field("", r.Line)
	}
	if d.Mail != nil {
		p.head("Mail since %s", day(d.Mail.Since))
		p.field("outbound", fmt.Sprintf("signed: %d, not signed: %d", d.Mail.Signed, d.Mail.Unsigned))
		p.field("inbound", fmt.Sprintf("with this domain in From: DMARC passed: %d, failed: %d, no policy: %d", d.Mail.Passed, d.Mail.Failed, d.Mail.Other))
		p.field("more", "signpost log --domain "+d.Name)
	}
	if d.Hosted {
		p.reports(d)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// printer collects text. All texts are made printable.
type printer struct {
	b     strings.Builder
	paint term.Painter
}

func (p *printer) line(format string, args ...any) {
	p.b.WriteString(term.PrintableLines(fmt.Sprintf(format, args...)) + "\n")
}

func (p *printer) head(format string, args ...any) { p.line("\n"+format, args...) }

// field writes a text with a label. Further lines of the text have the same indentation.
func (p *printer) field(label, text string) {
	p.line("  %-12s %s", label, strings.ReplaceAll(text, "\n", "\n               "))
}

func (p *printer) keys(all []Key) {
	p.head("Keys")
	for _, k := range all {
		kind := k.Algorithm
		if k.Algorithm == "rsa" {
			kind = fmt.Sprintf("%d-bit RSA", k.Bits)
		}
		p.field(k.Selector, fmt.Sprintf("%s, %s since %s; %s", kind, k.State, day(k.Since), k.Next))
		if k.Action != "" {
			p.field("", "action needed: "+k.Action)
		}
		if k.Note != "" {
			p.field("", "receivers: "+k.Note)
		}
	}
	if len(all) == 0 {
		p.line("  none")
	}
}

func (p *printer) finding(f doctor.Finding) {
	level := fmt.Sprintf("%-6s", f.Level)
	switch f.Level {
	case doctor.Green:
		level = p.paint.Good(level)
	case doctor.Yellow:
		level = p.paint.Warn(level)
	case doctor.Red:
		level = p.paint.Bad(level)
	}
	p.b.WriteString("  " + level + " " + term.PrintableLines(fmt.Sprintf("%-9s %s", f.Check, f.Headline())) + "\n")
	p.detail("where", f.Where)
	if f.Level != doctor.Green {
		p.detail("why", f.Why)
		p.detail("fix", f.Fixes())
	}
}

func (p *printer) detail(label, text string) {
	if text != "" {
		p.line("                   %-5s %s", label, strings.ReplaceAll(text, "\n", "\n                         "))
	}
}

func (p *printer) reports(d *Domain) {
	r := d.Reports
	if r == nil {
		p.head("Reports of receivers")
		p.line("  none; docs/reports.md describes how to receive them")
		return
	}
	p.head("Reports of receivers since %s", day(r.Since))
	p.field("messages", fmt.Sprintf("%d, passed DMARC: %s; reporters: %d, the last report is about %s", r.Messages, summary.Percent(r.Passed, r.Messages), r.Reporters, day(r.Last)))
	p.senders("who sends", r.Senders)
	p.senders("who fails", r.Failing)
	for _, a := range r.Alarms {
		p.field("alarm", string(a.Code)+": "+a.String()+"\n"+summary.Advice(a.Code))
	}
	if d.DNS.Policy != "reject" {
		p.field("next step", summary.Cost(r.Cost))
		p.field("", summary.Verdict(r.Cost))
	}
	p.field("more", "signpost reports received "+d.Name)
}

// senders writes a line for each address. Its owner is own, known or other: docs/reports.md, "What the reports state".
func (p *printer) senders(label string, all []received.Source) {
	for _, s := range all {
		p.field(label, fmt.Sprintf("%-15s %-5s messages: %d, failed: %d, DKIM aligned: %d, SPF aligned: %d", s.Address, s.Owner, s.Messages, s.Failed, s.DKIM, s.SPF))
		label = ""
	}
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
