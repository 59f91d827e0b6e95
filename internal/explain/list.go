package explain

import (
	"cmp"
	"io"
	"strings"
	"time"

	"signpost/internal/cluster/messages"
	"signpost/internal/journal"
	"signpost/internal/term"
	"signpost/policy"
)

const (
	// actionColumn and resultsColumn are indexes of columns in a list. The results and the reason are in the second part of a list entry.
	actionColumn  = 5
	resultsColumn = 6
	// maxCell is the maximum width of a column. Names of usual length fit.
	maxCell = 48
	// maxListReason is the maximum width of a reason in a list.
	maxListReason = 300
)

// NewList returns a function that writes messages to an output of the given width, one message per line, after a line with the names of the
// columns. If columns is 0, the width is not limited. In a narrow terminal, the results and the reason are on a separate line.
func NewList(w io.Writer, columns int) func([]journal.Entry) error {
	paint := painter{term.Paint(w), 0}
	table := term.NewTable(w, columns, resultsColumn, paint.cell)
	begun := false
	return func(all []journal.Entry) error {
		var rows [][]string
		if !begun && len(all) > 0 {
			begun, rows = true, append(rows, headers(all[0].Time))
		}
		for i := range all {
			rows = append(rows, cells(&all[i]))
		}
		return table.Write(rows)
	}
}

// headers returns the names of the columns of cells, with the time zone of a time.
func headers(at time.Time) []string {
	zone, _ := at.Local().Zone()
	return []string{"TIME (" + zone + ")", "QUEUE_ID", "CLIENT", "DOMAIN", "ROLE", "ACTION", "RESULTS", "REASON"}
}

// WriteHosts is like NewList for messages of several hosts. The first column is the host.
func WriteHosts(w io.Writer, columns int, all []messages.Message) error {
	paint := painter{term.Paint(w), 1}
	var rows [][]string
	if len(all) > 0 {
		rows = append(rows, append([]string{"HOST"}, headers(all[0].Time)...))
	}
	for i := range all {
		rows = append(rows, append([]string{cell(all[i].Host)}, cells(&all[i].Entry)...))
	}
	return term.NewTable(w, columns, resultsColumn+1, paint.cell).Write(rows)
}

type painter struct {
	term.Painter
	before int // columns before those of cells
}

func (p painter) cell(column int, text string) string {
	switch column - p.before {
	case actionColumn:
		word := strings.TrimRight(text, " ")
		return p.action(word) + text[len(word):]
	case resultsColumn:
		words := strings.Split(text, " ")
		for i, word := range words {
			if method, result, ok := strings.Cut(word, "="); ok {
				words[i] = method + "=" + p.Status(result)
			}
		}
		return strings.Join(words, " ")
	}
	return text
}

func (p painter) action(word string) string {
	switch policy.Action(strings.Trim(word, "()")) {
	case policy.Reject, policy.Discard:
		return p.Bad(word)
	case policy.Tempfail, policy.Hold, policy.Tag:
		return p.Warn(word)
	case policy.Sign:
		return p.Good(word)
	}
	return word
}

// cells returns the cells of a message. Each is one word, except results and reason.
func cells(e *journal.Entry) []string {
	action := cell(string(e.Decided()))
	if e.Observe {
		action = "(" + action + ")"
	}
	reason := ""
	if !e.Code.Plain() {
		reason = Why(&e.Record)
	}
	reason = term.Shorten(strings.Join(strings.Fields(term.Printable(reason)), " "), maxListReason)
	return []string{e.Time.Local().Format(time.DateTime), cell(e.QueueID), cell(e.Addr()), cell(e.Domain()), cell(string(e.Role)),
		action, results(e), reason}
}

// results returns the results of the checks or, for a signed message, the keys.
func results(e *journal.Entry) string {
	o := e.Outcome()
	var all []string
	for _, r := range [][2]string{{"spf", o.SPF}, {"dkim", o.DKIM}, {"arc", o.ARC}, {"dmarc", o.DMARC}} {
		if r[1] != "" && e.Role == policy.RoleVerify {
			all = append(all, r[0]+"="+cell(r[1]))
		}
	}
	if len(e.Selectors) > 0 {
		all = append(all, "keys="+cell(strings.Join(e.Selectors, ",")))
	}
	return cmp.Or(strings.Join(all, " "), "-")
}

// cell returns untrusted text as one word, or "-".
func cell(text string) string {
	text = strings.ReplaceAll(term.Printable(text), " ", "?")
	return term.Shorten(cmp.Or(text, "-"), maxCell)
}
