package term

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// No text controls a terminal or a spreadsheet, and no line is wider than the terminal.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[2J\x07", "\u009b31m\u202e", "=HYPERLINK(1)", "\u200b=1", " @sum", "🧑‍🤝‍🧑 \ufe0f", "\xff\xc0", "  long words and a veryveryverylongword", "\U000e0001\u2028"} {
		f.Add(s, 10)
	}
	f.Fuzz(func(t *testing.T, s string, columns int) {
		columns = len("...") + int(uint(columns)%120)
		one := Printable(s)
		if strings.ContainsFunc(one, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(one) || Printable(one) != one {
			t.Errorf("%q is shown as %q", s, one)
		}
		cell := Spreadsheet([]string{s})[0]
		if strings.TrimPrefix(cell, "'") != strings.TrimPrefix(one, "'") || strings.HasPrefix(cell, "=") || strings.HasPrefix(cell, "+") || strings.HasPrefix(cell, "-") || strings.HasPrefix(cell, "@") {
			t.Errorf("%q in a cell is %q", s, cell)
		}
		var out bytes.Buffer
		if err := WriteJSON(&out, s); err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Errorf("%q in JSON is read as %q: %v", s, back, err)
		}
		if strings.ContainsFunc(out.String(), func(r rune) bool { return !inLines(r) }) {
			t.Errorf("%q in JSON: %q", s, &out)
		}
		if n := Columns(Shorten(one, columns)); n > columns {
			t.Errorf("%q, cut to %d columns, has %d", one, columns, n)
		}
		head, tail := Cut(one, columns)
		if head+tail != one || Columns(head) > columns {
			t.Errorf("%q: %q %q", one, head, tail)
		}
		lines := Break(one, columns)
		var words []string
		for _, line := range lines {
			if Columns(line) > max(columns, leastColumns) {
				t.Errorf("%q: the line %q has more than %d columns", one, line, columns)
			}
			words = append(words, strings.Fields(line)...)
		}
		if strings.Join(words, "") != strings.Join(strings.Fields(one), "") {
			t.Errorf("%q is broken into %q", one, lines)
		}
	})
}
