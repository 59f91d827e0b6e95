package main

import (
	"cmp"
	"fmt"
	"strings"

	"signpost/internal/cli"
	"signpost/internal/journal"
)

// topLine is painted for the terminal, and takes so many columns of it.
type topLine struct {
	text    string
	columns int
}

// topFrame makes lines of a width. What strangers named is made printable before it is cut, and coloured after.
type topFrame struct {
	width int
	paint cli.Painter
}

// split gives a left part of some columns, and the rest behind a gap.
func (f topFrame) split(columns int) (left, right topFrame) {
	left, right = f, f
	left.width, right.width = columns, f.width-columns-columnGap
	return left, right
}

func (f topFrame) painted(paint func(string) string, format string, args []any) topLine {
	text := printable(fmt.Sprintf(format, args...))
	if f.width > len("...") {
		text = shorten(text, f.width)
	}
	text, _ = cli.Cut(text, f.width)
	return topLine{text: paint(text), columns: cli.Columns(text)}
}

func (f topFrame) line(format string, args ...any) topLine {
	return f.painted(func(text string) string { return text }, format, args)
}

func (f topFrame) bad(format string, args ...any) topLine {
	return f.painted(f.paint.Bad, format, args)
}

func (f topFrame) head(format string, args ...any) []topLine {
	return []topLine{f.painted(f.paint.Past, format, args)}
}

func (f topFrame) counts(all []journal.Count) (lines []topLine) {
	for _, c := range all {
		lines = append(lines, f.line("%8d  %s", c.N, cmp.Or(c.Name, "(none that can be read)")))
	}
	return lines
}

// fit cuts lines to room, and says how many are left out; where no height bounds them it lets them be.
func (f topFrame) fit(lines []topLine, room, height int, where string) []topLine {
	if height == 0 || len(lines) <= room {
		return lines
	}
	if room == 1 {
		return lines[:1]
	}
	more := f.painted(f.paint.Past, "(%d more: %s)", []any{len(lines) - room + 1, where})
	return append(lines[:room-1:room-1], more)
}

// beside puts two blocks side by side; left is what the first one was made with.
func beside(left topFrame, a, b []topLine) []topLine {
	lines := make([]topLine, max(len(a), len(b)))
	for i := range lines {
		if i < len(a) {
			lines[i] = a[i]
		}
		if i < len(b) && b[i].columns > 0 {
			at := left.width + columnGap
			lines[i].text += strings.Repeat(" ", at-lines[i].columns) + b[i].text
			lines[i].columns = at + b[i].columns
		}
	}
	return lines
}
