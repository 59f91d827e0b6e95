package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
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

// PrintableLines is Printable for text of several lines: line feeds and tabs stay.
func PrintableLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, s)
}

// PrintableJSON escapes characters that encoding/json does not escape and a terminal may interpret, such as U+009B (CSI).
func PrintableJSON(text []byte) []byte {
	printable := func(r rune) bool { return r == '\n' || r == '\t' || unicode.IsPrint(r) }
	if bytes.IndexFunc(text, func(r rune) bool { return !printable(r) }) < 0 {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		if printable(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, "\\u%04x", unit)
		}
	}
	return b.Bytes()
}

// Clean returns a writer that writes PrintableLines of each text to w. Key metadata, DNS and the journal contain untrusted text,
// which must not control a terminal.
func Clean(w io.Writer) io.Writer { return clean{w} }

type clean struct{ io.Writer }

func (c clean) Write(p []byte) (int, error) {
	if _, err := io.WriteString(c.Writer, PrintableLines(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Raw returns the writer under Clean, for text that is printable already and may contain colours.
func Raw(w io.Writer) io.Writer {
	if c, ok := w.(clean); ok {
		return c.Writer
	}
	return w
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
