package explain

import (
	"io"
	"strings"
	"time"

	"signpost/internal/journal"
	"signpost/internal/term"
	"signpost/policy"
)

// Columns of a List.
const (
	timeColumn = iota
	idColumn
	clientColumn
	domainColumn
	roleColumn
	verdictColumn
	resultsColumn
	reasonColumn
	listColumns
)

const (
	// maxCell is the greatest width of a column: names of usual length fit.
	maxCell = 48
	// maxListReason is the greatest width of a reason in a List.
	maxListReason = 300
)

// List writes messages, one a line.
type List struct {
	table *term.Table
	paint term.Painter
}

// NewList returns a List for an output with so many columns; 0: no bound. In a narrow terminal results and reason have a line of
// their own.
func NewList(w io.Writer, columns int) *List {
	l := &List{paint: term.Paint(w)}
	l.table = term.NewTable(w, columns, resultsColumn, l.color)
	return l
}

// Write writes messages in their order.
func (l *List) Write(all []journal.Entry) error {
	rows := make([][]string, len(all))
	for i := range all {
		rows[i] = cells(&all[i])
	}
	return l.table.Write(rows)
}

func (l *List) color(column int, text string) string {
	switch column {
	case verdictColumn:
		word := strings.TrimRight(text, " ")
		return l.verdict(word) + text[len(word):]
	case resultsColumn:
		words := strings.Split(text, " ")
		for i, word := range words {
			if method, result, ok := strings.Cut(word, "="); ok {
				words[i] = method + "=" + l.paint.Status(result)
			}
		}
		return strings.Join(words, " ")
	}
	return text
}

func (l *List) verdict(word string) string {
	switch strings.Trim(word, "()") {
	case "refused":
		return l.paint.Bad(word)
	case "deferred", "held", "tagged":
		return l.paint.Warn(word)
	case "signed":
		return l.paint.Good(word)
	}
	return word
}

// cells returns the cells of a message. Each is one word, except results and reason.
func cells(e *journal.Entry) []string {
	row := make([]string, listColumns)
	row[timeColumn] = e.Time.Local().Format(time.DateTime)
	row[idColumn] = cell(e.Evidence.QueueID)
	row[clientColumn] = "unknown"
	if c := e.Evidence.Connection.Client; c.IsValid() {
		row[clientColumn] = cell(c.Unmap().String())
	}
	row[domainColumn] = cell(e.Domain())
	row[roleColumn] = cell(string(e.Assignment.Role))
	row[verdictColumn] = cell(e.Word())
	if e.Observe {
		row[verdictColumn] = "(" + row[verdictColumn] + ")"
	}
	row[resultsColumn] = results(e)
	reason := e.Verdict.Reason
	if reason == "" && e.Assignment.Role != policy.Verify {
		reason = e.Assignment.Reason
	}
	row[reasonColumn] = term.Shorten(strings.Join(strings.Fields(term.Printable(reason)), " "), maxListReason)
	return row
}

// results returns the results of the checks, or the keys that signed.
func results(e *journal.Entry) string {
	o := e.Outcome()
	var all []string
	for _, r := range [][2]string{{"spf", o.SPF}, {"dkim", o.DKIM}, {"arc", o.ARC}, {"dmarc", o.DMARC}} {
		if r[1] != "" && e.Assignment.Role == policy.Verify {
			all = append(all, r[0]+"="+cell(r[1]))
		}
	}
	if e.Selectors != "" {
		all = append(all, "keys="+cell(e.Selectors))
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, " ")
}

// cell returns untrusted text as one word, or "-".
func cell(text string) string {
	text = strings.ReplaceAll(term.Printable(text), " ", "?")
	if text == "" {
		return "-"
	}
	return term.Shorten(text, maxCell)
}
