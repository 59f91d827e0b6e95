package term

import (
	"io"
	"strings"
)

const (
	// leastSecond is the smallest width of the second part of a row. In a narrower terminal, the second part is on a separate line.
	leastSecond = 40
	// indent is the indentation of that line, which distinguishes it from a row.
	indent = "    "
)

// Table writes rows of printable cells in aligned columns. Columns become wider but never narrower, so that a live list does not move.
type Table struct {
	w      io.Writer
	room   int // columns of the terminal; 0: no bound
	second int // the column where the second part of a row begins
	color  func(column int, text string) string
	widths []int
}

// NewTable returns a Table for an output with the given number of columns (0: no bound). The function color colors a cell and must keep its
// trailing spaces.
func NewTable(w io.Writer, columns, second int, color func(column int, text string) string) *Table {
	return &Table{w: w, room: columns, second: second, color: color}
}

// Write writes rows. All rows of a Table have the same number of cells.
func (t *Table) Write(rows [][]string) error {
	for _, r := range rows {
		if t.widths == nil {
			t.widths = make([]int, len(r))
		}
		for c, text := range r {
			t.widths[c] = max(t.widths[c], Columns(text))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		t.row(&b, r)
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}

// row writes one line, or two in a narrow terminal. A line is cut at the width of the terminal, because a wrapped line could look like
// another row.
func (t *Table) row(b *strings.Builder, cells []string) {
	at, first := 0, 0
	for len(cells) > 1 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	for _, width := range t.widths[:t.second] {
		first += width + 1
	}
	split := t.room > 0 && t.room-first < leastSecond
	for c, text := range cells {
		if c == t.second && split {
			b.WriteString("\n" + indent)
			at = len(indent)
		}
		switch {
		case c == len(cells)-1, c == t.second-1 && split:
		case c >= t.second && split:
			text += "  "
		default:
			text += strings.Repeat(" ", t.widths[c]-Columns(text)+1)
		}
		if t.room > 0 {
			text, _ = Cut(text, t.room-at)
		}
		at += Columns(text)
		b.WriteString(t.color(c, text))
	}
	b.WriteByte('\n')
}
