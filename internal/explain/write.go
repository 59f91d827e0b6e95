package explain

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/internal/term"
	"signpost/milter"
	"signpost/policy"
)

const (
	// labelWidth is the width of the column of labels.
	labelWidth = 12
	// leastText is the minimum width of the column of texts. If the terminal is too narrow for it, the terminal wraps the lines.
	leastText = 20
)

// Date returns a time in the format of an explanation.
func Date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// WriteEntry explains a message of the journal.
func WriteEntry(w io.Writer, e *journal.Entry) {
	x := Message(&e.Record)
	rows := []Row{{"message", cmp.Or(e.QueueID, "(no queue ID)")}}
	if e.MessageID != "" {
		rows = append(rows, Row{"Message-ID", e.MessageID})
	}
	if e.Cut {
		rows = append(rows, Row{"incomplete", journal.CutNote})
	}
	rows = append(rows, Row{"received", Date(e.Time)}, Row{"in short", x.Short})
	writeRows(w, append(rows, x.Head...))
	if len(x.Found) > 0 {
		fmt.Fprintln(w)
		writeRows(w, x.Found)
	}
	fmt.Fprintln(w)
	writeRows(w, x.Decided)
	x.writeHelp(w)
}

func (x Explanation) writeHelp(w io.Writer) {
	label := "what helps"
	for _, text := range x.Help {
		writeRows(w, []Row{{label, "- " + text}})
		label = ""
	}
}

// WriteRecord explains a message for which Signpost has just made a decision. It also writes each DNS answer and the changes to the header.
func WriteRecord(w io.Writer, r *decision.Record, edits milter.Edits) {
	x := Message(r)
	writeRows(w, x.Head)
	if len(x.Found) > 0 {
		writeRows(w, x.Found)
		fmt.Fprintln(w)
		writeRows(w, answers(r))
	}
	fmt.Fprintln(w)
	writeRows(w, x.Decided)
	for _, d := range edits.Delete {
		writeRows(w, []Row{{"removes", fmt.Sprintf("%s number %d: it uses our name, or a program could take it for ours", d.Name, d.Index)}})
	}
	x.writeHelp(w)
	for _, i := range slices.Backward(edits.Insert) { // the field that is inserted last is at the top of the header
		fmt.Fprintf(w, "%s:%s\n", i.Name, term.PrintableLines(i.Value))
	}
}

// answers returns the DNS answers.
func answers(r *decision.Record) (rows []Row) {
	for _, l := range r.Lookups {
		notes := []string{time.Duration(l.Took).Round(10 * time.Microsecond).String()}
		if l.Authentic {
			notes = append(notes, "DNSSEC")
		}
		if l.Cached {
			notes = append(notes, "cached")
		}
		rows = append(rows, Row{"DNS", fmt.Sprintf("%s %s: %s (%s)", l.Name, l.Type, clip(answerOf(l), maxAnswer), strings.Join(notes, ", "))})
	}
	return rows
}

// answerOf returns the records of a lookup, or its status if it has none.
func answerOf(l dns.Lookup) string {
	if len(l.Records) == 0 && l.Cut == 0 {
		return l.Status.Words()
	}
	var all []string
	for _, r := range l.Records {
		if l.Type == "TXT" {
			r = strconv.Quote(r)
		}
		all = append(all, r)
	}
	if l.Cut > 0 {
		all = append(all, fmt.Sprintf("(incomplete, %d bytes in all)", l.Cut))
	}
	return strings.Join(all, ", ")
}

// WriteSPF writes an SPF check with each of its steps.
func WriteSPF(w io.Writer, r spf.Result, walk *spf.Path) {
	writeRows(w, spfRows(walk.Steps))
	writeRow(w, "counted", fmt.Sprintf("DNS lookups %d/%d, void lookups %d/%d", walk.Terms, spf.MaxTerms, walk.Voids, spf.MaxVoids))
	fmt.Fprintf(w, "\n%-*s %s for %s\n", labelWidth, "result", term.Paint(w).Status(string(r.Status)), term.Printable(r.Domain))
	if text := spfText(&r); r.Status != spf.Pass && text != "" {
		writeRow(w, "because", text)
	}
}

// WriteDMARC writes the DMARC policy for a domain with each step of the tree walk.
func WriteDMARC(w io.Writer, r dmarc.Result, steps []dmarc.Step) {
	writeRows(w, dmarcRows(steps))
	fmt.Fprintln(w)
	writeRow(w, "org. domain", cmp.Or(r.OrgDomain, "not known"))
	if r.Status != "" {
		fmt.Fprintf(w, "%-*s %s\n", labelWidth, "policy", term.Paint(w).Status(string(r.Status)))
	} else {
		writeRow(w, "policy", policyOf(r, "_dmarc."+r.PolicyDomain))
		if r.Testing {
			writeRow(w, "", testMode)
		}
	}
	if text := policy.DMARCText(r); text != "" {
		writeRow(w, "because", text)
	}
}

// writeRow writes a row on one line. It does not break the text.
func writeRow(w io.Writer, label, text string) {
	fmt.Fprintf(w, "%-*s %s\n", labelWidth, label, term.Printable(text))
}

// writeRows writes rows, with their texts in a column. It breaks long lines, so that no part of an untrusted text is in the column of
// labels.
func writeRows(w io.Writer, rows []Row) {
	paint := term.Paint(w)
	room := term.LineWidth
	if width, _ := term.Size(w); width > 0 {
		room = min(room, width)
	}
	room = max(room-labelWidth-1, leastText)
	for _, r := range rows {
		label := r.Label
		for i, line := range term.Break(term.Printable(r.Text), room) {
			if word, rest, _ := strings.Cut(line, " "); i == 0 && methodLabel(label) {
				line = strings.TrimSuffix(paint.Status(word)+" "+rest, " ")
			}
			fmt.Fprintf(w, "%-*s %s\n", labelWidth, label, line)
			label = ""
		}
	}
}

func methodLabel(label string) bool {
	return label == "SPF" || label == "DKIM" || label == "ARC" || label == "DMARC"
}
