package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"unicode"
)

func TestVersion(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc1234567"}, {Key: "vcs.modified", Value: "false"}}}
	if got := describe("0.3", info); got != "0.3 (commit abc1234, go1.26.8)" {
		t.Error(got)
	}
	info.Settings[1].Value = "true"
	if got := describe("0.3", info); got != "0.3 (commit abc1234, changed since, go1.26.8)" {
		t.Error(got)
	}
	if got := describe("0.3", &debug.BuildInfo{GoVersion: "go1.26.8"}); got != "0.3 (commit unknown, go1.26.8)" {
		t.Error(got)
	}
}

// No escapes where the output is no terminal, and none where they are not wanted. /dev/null is a device as a terminal is.
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

// Untrusted text does not control a terminal, whether by ESC, by the one-byte controls of C1 or by changing the direction of
// writing. In JSON it keeps its value.
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
	safe := PrintableJSON(text)
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
		t.Errorf("a file is told: %q", &file)
	}
}
