package term

import (
	"io"
	"os"
	"strings"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// LineWidth is the length of lines, unless the terminal is narrower.
const LineWidth = 100

// Size returns the columns and lines of a terminal. Both are 0 if w is not a terminal or its size is not known.
func Size(w io.Writer) (columns, lines int) {
	f, ok := Raw(w).(*os.File)
	if !ok {
		return 0, 0
	}
	columns, lines, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, lines
}

// Columns returns the maximum number of columns that a terminal needs for a printable text. It counts each character, because only some
// terminals join the characters of an emoji.
func Columns(s string) (n int) {
	for _, r := range s {
		n += width(r)
	}
	return n
}

func width(r rune) int {
	const emoji = '\ufe0f' // may widen the character before it
	if r == emoji {
		return 1
	}
	return runewidth.RuneWidth(r)
}

// Cut returns the beginning of a printable text that fits into columns, and the rest.
func Cut(s string, columns int) (head, tail string) {
	n := 0
	for i, r := range s {
		if n += width(r); n > columns {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// Shorten returns a printable text, cut to columns. "..." ends a text that was cut.
func Shorten(s string, columns int) string {
	if Columns(s) <= columns {
		return s
	}
	head, _ := Cut(s, columns-len("..."))
	return head + "..."
}

// leastColumns is the minimum width of the lines of Break: its indents and the widest character.
const leastColumns = 7

// Break breaks a printable text into lines, between words. It breaks within a word only if the word is longer than a line. All lines but
// the first are indented by two. In a terminal with fewer than leastColumns, the lines have leastColumns.
func Break(text string, columns int) []string {
	columns = max(columns, leastColumns)
	bare := strings.TrimLeft(text, " ")
	in := text[:len(text)-len(bare)]
	if len(in) > columns/2 {
		in = in[:columns/2]
	}
	var lines []string
	line := in
	hasWord := false
	next := func() {
		lines = append(lines, line)
		line, hasWord = in+"  ", false
	}
	for _, word := range strings.Fields(bare) {
		for word != "" {
			left := columns - Columns(line)
			if hasWord {
				left--
			}
			fits, rest := Cut(word, left)
			if rest != "" && hasWord {
				next()
				continue
			}
			if hasWord {
				line += " "
			}
			line += fits
			if hasWord, word = true, rest; rest != "" {
				next()
			}
		}
	}
	return append(lines, line)
}
