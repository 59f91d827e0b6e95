package term

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Printable returns untrusted text as one line that cannot control a terminal. Question marks replace control characters, line ends,
// characters that change the direction of writing, and bytes that are not UTF-8.
func Printable(s string) string { return only(s, unicode.IsPrint) }

// PrintableLines is like Printable for text of several lines: it keeps line feeds and tabs.
func PrintableLines(s string) string { return only(s, inLines) }

func only(s string, shown func(rune) bool) string {
	return strings.Map(func(r rune) rune {
		if shown(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, s)
}

func inLines(r rune) bool { return r == '\n' || r == '\t' || unicode.IsPrint(r) }

// WriteJSON writes v as indented JSON.
func WriteJSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	return errors.Join(err, writeJSON(w, text))
}

// WriteJSONLine writes v as JSON in one line.
func WriteJSONLine(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	return errors.Join(err, writeJSON(w, text))
}

// writeJSON writes an encoded value, and nothing if text is empty. The output may be a terminal.
func writeJSON(w io.Writer, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	_, err := w.Write(append(printableJSON(text), '\n'))
	return err
}

// printableJSON escapes characters that encoding/json does not escape and a terminal may interpret, such as U+009B (CSI).
func printableJSON(text []byte) []byte {
	if bytes.IndexFunc(text, func(r rune) bool { return !inLines(r) }) < 0 {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		if inLines(r) {
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

// Raw returns the writer under Clean. It is for text that is already printable and may contain colors.
func Raw(w io.Writer) io.Writer {
	if c, ok := w.(clean); ok {
		return c.Writer
	}
	return w
}
