package cli

import (
	"strings"
	"unicode"
)

// Printable makes of a stranger's text one that does nothing to a terminal: control characters, line ends, what turns the
// direction of writing round and what is not UTF-8 become question marks.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}

// Columns is about how many columns a printable text takes: East Asian signs take two, and a combining one is counted too.
func Columns(s string) (n int) {
	for _, r := range s {
		n += columns(r)
	}
	return n
}

func columns(r rune) int {
	const firstWide = 0x1100
	if r >= firstWide {
		return 2
	}
	return 1
}

// Cut gives the beginning of a printable text that fits into columns, and the rest.
func Cut(s string, most int) (head, tail string) {
	n := 0
	for i, r := range s {
		if n += columns(r); n > most {
			return s[:i], s[i:]
		}
	}
	return s, ""
}
