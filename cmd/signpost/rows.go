package main

import (
	"fmt"
	"io"
	"strings"

	"signpost/internal/cli"
	"signpost/internal/explain"
)

const (
	// labelWidth is the column of the texts, less one.
	labelWidth = 12
	// lineWidth is how long lines become where no terminal says that it is narrower.
	lineWidth = 100
	// leastText is the least room for a text: a narrower terminal breaks the lines itself.
	leastText = 20
)

// writeRows shows rows with their texts in a column. Lines are broken here, so that a stranger's long text cannot go on at
// the beginning of a line, where our own words stand.
func writeRows(w io.Writer, rows []explain.Row) {
	paint := cli.Paint(w)
	room := lineWidth
	if width := cli.Width(w); width > 0 {
		room = min(room, width)
	}
	room = max(room-labelWidth-1, leastText)
	for _, r := range rows {
		label := r.Label
		for i, line := range breakLines(printable(r.Text), room) {
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

// breakLines breaks a text between words, or a word that is too long. What follows the first line stands two columns in.
func breakLines(text string, room int) []string {
	bare := strings.TrimLeft(text, " ")
	in := text[:len(text)-len(bare)]
	if len(in) > room/2 {
		in = in[:room/2]
	}
	var lines []string
	line := in
	begun := false // the line has a word
	next := func() {
		lines = append(lines, line)
		line, begun = in+"  ", false
	}
	for _, word := range strings.Fields(bare) {
		for word != "" {
			left := room - cli.Columns(line)
			if begun {
				left--
			}
			fits, rest := cli.Cut(word, left)
			if rest != "" && begun {
				next()
				continue
			}
			if begun {
				line += " "
			}
			line += fits
			if begun, word = true, rest; rest != "" {
				next()
			}
		}
	}
	return append(lines, line)
}

// printableLines is printable for several lines.
func printableLines(s string) string { return cli.PrintableLines(s) }

// printable keeps a stranger's control characters from the terminal.
func printable(s string) string { return cli.Printable(s) }
