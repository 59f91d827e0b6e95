package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"signpost/internal/cli"
	"signpost/internal/journal"
	"signpost/policy"
)

// Columns of a line of signpost log.
const (
	timeColumn = iota
	idColumn
	clientColumn
	domainColumn
	roleColumn
	verdictColumn
	resultsColumn
	reasonColumn
	logColumns
)

// maxCell is how wide a column may become, and maxReason how long a reason: names of usual length fit.
const (
	maxCell   = 48
	maxReason = 300
	// leastResults is what is to be left of a line for results and reason: in a narrower terminal they get one of their own, which
	// begins so far in that it looks like no message.
	leastResults = 40
	resultsIn    = "    "
)

// table writes messages a line each, the columns aligned. They grow, and never shrink, so that a live list stays quiet.
type table struct {
	w      io.Writer
	paint  cli.Painter
	room   int // columns of the terminal; 0: no bound
	widths [logColumns]int
}

func newTable(w io.Writer) *table {
	return &table{w: w, paint: cli.Paint(w), room: cli.Width(w)}
}

func (t *table) write(all []journal.Entry) error {
	rows := make([][logColumns]string, len(all))
	for i := range all {
		rows[i] = cells(&all[i])
		for c, text := range rows[i] {
			t.widths[c] = max(t.widths[c], cli.Columns(text))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		t.line(&b, r)
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}

// line is one, or two in a narrow terminal. It ends where the terminal does: what went on in the next one could look like a message of its own.
func (t *table) line(b *strings.Builder, cells [logColumns]string) {
	at := 0
	last := reasonColumn
	for last > 0 && cells[last] == "" {
		last--
	}
	var before int
	for _, width := range t.widths[:resultsColumn] {
		before += width + 1
	}
	apart := t.room > 0 && t.room-before < leastResults
	for c, text := range cells[:last+1] {
		if c == resultsColumn && apart {
			b.WriteString("\n" + resultsIn)
			at = len(resultsIn)
		}
		switch {
		case c == last, c == verdictColumn && apart:
		case c == resultsColumn && apart:
			text += "  "
		default:
			text += strings.Repeat(" ", t.widths[c]-cli.Columns(text)+1)
		}
		if t.room > 0 {
			text, _ = cli.Cut(text, t.room-at)
		}
		at += cli.Columns(text)
		b.WriteString(t.coloured(c, text))
	}
	b.WriteByte('\n')
}

func (t *table) coloured(column int, text string) string {
	switch column {
	case verdictColumn:
		word := strings.TrimRight(text, " ")
		return t.verdict(word) + text[len(word):]
	case resultsColumn:
		words := strings.Split(text, " ")
		for i, word := range words {
			if method, result, ok := strings.Cut(word, "="); ok {
				words[i] = method + "=" + t.paint.Status(result)
			}
		}
		return strings.Join(words, " ")
	}
	return text
}

func (t *table) verdict(word string) string {
	switch strings.Trim(word, "()") {
	case "refused":
		return t.paint.Bad(word)
	case "deferred", "held", "tagged":
		return t.paint.Middling(word)
	case "signed":
		return t.paint.Good(word)
	}
	return word
}

// cells are a message's, each of one word but for results and reason.
func cells(e *journal.Entry) (row [logColumns]string) {
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
	row[reasonColumn] = shorten(strings.Join(strings.Fields(printable(reason)), " "), maxReason)
	return row
}

// results are those of the checks, or the keys that signed.
func results(e *journal.Entry) string {
	o := e.Outcome()
	var all []string
	for _, r := range [][2]string{{"spf", o.SPF}, {"dkim", o.DKIM}, {"arc", o.ARC}, {"dmarc", o.DMARC}} {
		if r[1] != "" && e.Assignment.Role == policy.Verify {
			all = append(all, r[0]+"="+cell(r[1]))
		}
	}
	if e.Selectors != "" {
		all = append(all, fmt.Sprintf("keys=%s", cell(e.Selectors)))
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, " ")
}

// cell makes one word of a stranger's text, or "-".
func cell(text string) string {
	text = strings.ReplaceAll(printable(text), " ", "?")
	if text == "" {
		return "-"
	}
	return shorten(text, maxCell)
}

// shorten cuts a printable text to a number of columns.
func shorten(text string, most int) string {
	if cli.Columns(text) <= most {
		return text
	}
	head, _ := cli.Cut(text, most-len("..."))
	return head + "..."
}
