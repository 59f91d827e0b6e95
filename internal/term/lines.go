package term

import (
	"fmt"
	"strings"
)

// columnGap is the number of columns between two blocks side by side.
const columnGap = 2

// Line is a line ready to be written, with its colors.
type Line struct {
	Text    string
	Columns int
}

// Frame makes lines of at most Width columns. It makes each text printable, cuts it and colors it, in this order.
type Frame struct {
	Width int
	Paint Painter
}

// Split returns a left part with the given number of columns, and a right part with the rest. There is a gap between them.
func (f Frame) Split(columns int) (left, right Frame) {
	left, right = f, f
	left.Width, right.Width = columns, f.Width-columns-columnGap
	return left, right
}

// Halves returns two parts of the same width. If the width is more than the given number of columns, the left part has that number, and
// the right part has the rest.
func (f Frame) Halves(most int) (left, right Frame) { return f.Split(min((f.Width-columnGap)/2, most)) }

func (f Frame) painted(paint func(string) string, format string, args []any) Line {
	text := Printable(fmt.Sprintf(format, args...))
	if f.Width > len("...") {
		text = Shorten(text, f.Width)
	}
	text, _ = Cut(text, f.Width)
	return Line{Text: paint(text), Columns: Columns(text)}
}

// Line returns a line of plain text.
func (f Frame) Line(format string, args ...any) Line {
	return f.painted(func(text string) string { return text }, format, args)
}

// Bad returns a line about an error, in color.
func (f Frame) Bad(format string, args ...any) Line {
	return f.painted(f.Paint.Bad, format, args)
}

// Head returns the heading of a block of lines.
func (f Frame) Head(format string, args ...any) []Line {
	return []Line{f.painted(f.Paint.Past, format, args)}
}

// Fit returns at most room lines. If it omits any, the last line states how many, and where the user can see them.
func (f Frame) Fit(lines []Line, room int, where string) []Line {
	if len(lines) <= room {
		return lines
	}
	if room == 1 {
		return lines[:1]
	}
	more := f.painted(f.Paint.Past, "(%d more: %s)", []any{len(lines) - room + 1, where})
	return append(lines[:room-1:room-1], more)
}

// Beside puts two blocks side by side. f is the Frame of the left block.
func (f Frame) Beside(left, right []Line) []Line {
	lines := make([]Line, max(len(left), len(right)))
	for i := range lines {
		if i < len(left) {
			lines[i] = left[i]
		}
		if i < len(right) && right[i].Columns > 0 {
			at := f.Width + columnGap
			lines[i].Text += strings.Repeat(" ", at-lines[i].Columns) + right[i].Text
			lines[i].Columns = at + right[i].Columns
		}
	}
	return lines
}
