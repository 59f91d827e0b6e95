package term

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// There are no escape sequences if the output is not a terminal, or if colors are disabled. /dev/null is a device, but not a terminal.
func TestPaint(t *testing.T) {
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if got := Paint(device).Status("pass"); got != "\x1b[32mpass\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := Paint(device).Status("none"); got != "none" {
		t.Errorf("%q", got)
	}
	if got := Paint(&bytes.Buffer{}).Status("fail"); got != "fail" {
		t.Errorf("%q", got)
	}
	t.Setenv("TERM", "dumb")
	if got := Paint(device).Bad("x"); got != "x" {
		t.Errorf("%q", got)
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	if got := Paint(device).Bad("x"); got != "x" {
		t.Errorf("%q", got)
	}
}

// Untrusted text cannot control a terminal by ESC, by the one-byte controls of C1 or by a change of the writing direction. In JSON, the
// text keeps its value.
func TestPrintable(t *testing.T) {
	const hostile = "a\x1b[31m\u009b31m\x7f\x00\r\u202e\xff\U000e0001ü\tb\n"
	const lines = "a?[31m?31m??????ü\tb\n"
	if got := PrintableLines(hostile); got != lines {
		t.Errorf("%q", got)
	}
	if got := Printable(hostile); got != "a?[31m?31m??????ü?b?" {
		t.Errorf("%q", got)
	}
	var out bytes.Buffer
	if n, err := Clean(&out).Write([]byte(hostile)); n != len(hostile) || err != nil || out.String() != lines {
		t.Errorf("%d %v %q", n, err, &out)
	}
	if got := (Painter{on: true}).Bad("x\x1b[0m"); got != "\x1b[31mx?[0m\x1b[0m" {
		t.Errorf("%q", got)
	}
	text, err := json.Marshal(strings.ToValidUTF8(hostile, ""))
	if err != nil {
		t.Fatal(err)
	}
	safe := printableJSON(text)
	if strings.ContainsFunc(string(safe), unicode.IsControl) || bytes.ContainsRune(safe, '\u202e') {
		t.Errorf("%q", safe)
	}
	var back string
	if err := json.Unmarshal(safe, &back); err != nil || back != strings.ToValidUTF8(hostile, "") {
		t.Errorf("%v %q", err, back)
	}
}

func TestProgress(t *testing.T) {
	var file bytes.Buffer
	Progress(&file, "waiting for %s", "x")
	if file.Len() > 0 {
		t.Errorf("a file has progress: %q", &file)
	}
}

// The width of a text is the sum of the widths of its characters in go-runewidth. A text that is cut never has more columns than
// allowed.
func TestColumns(t *testing.T) {
	for text, want := range map[string]int{
		"":                     0,
		"abc":                  3,
		"宽x":                   3, // East Asian wide
		"ｆｕｌｌ":                 8, // fullwidth forms
		"한국":                   4,
		"e\u0301":              1, // a combining character
		"👍":                    2,
		"👍\U0001f3fd":          4, // a skin tone: some terminals show two characters
		"☁\ufe0f":              2,
		strings.Repeat("宽", 3): 6,
	} {
		if got := Columns(text); got != want {
			t.Errorf("%q: %d columns, want %d", text, got, want)
		}
		for most := range want {
			if head, tail := Cut(text, most); head+tail != text || Columns(head) > most || tail == "" {
				t.Errorf("%q cut to %d: %q and %q", text, most, head, tail)
			}
		}
		if head, tail := Cut(text, want); head != text || tail != "" {
			t.Errorf("%q cut to its width: %q and %q", text, head, tail)
		}
	}
	if got := Shorten("宽宽宽宽", 6); got != "宽..." {
		t.Errorf("%q", got)
	}
}

// Lines break between words, or within a word that is too long. Each line except the first is indented. No line is too long.
func TestBreak(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", []string{""}},
		{"one two", []string{"one two"}},
		{"one two three four five six", []string{"one two three four", "  five six"}},
		{"  in and out of the house again", []string{"  in and out of the", "    house again"}},
		{"a 012345678901234567890123456789", []string{"a", "  012345678901234567", "  890123456789"}},
		{"many      spaces", []string{"many spaces"}},
		{"宽宽宽宽宽宽宽宽宽宽宽", []string{"宽宽宽宽宽宽宽宽宽宽", "  宽"}},
		{strings.Repeat(" ", 40) + "x", []string{strings.Repeat(" ", 10) + "x"}},
	} {
		got := Break(c.text, 20)
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
		for _, line := range got {
			if Columns(line) > 20 {
				t.Errorf("%q: %q is too long", c.text, line)
			}
		}
	}
}
