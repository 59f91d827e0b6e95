package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
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

// Wrong arguments are named as the usage line names them, with exit code 2.
func TestArgumentErrors(t *testing.T) {
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"show", "prog: show: DOMAIN SELECTOR required\nhint: see prog show --help\n", 2},
		{"show a", "prog: show: DOMAIN SELECTOR required\nhint: see prog show --help\n", 2},
		{"show a b c", "prog: show: unexpected argument \"c\"\nhint: see prog show --help\n", 2},
		{"show a b", "", 0},
		{"list x", "prog: list: unexpected argument \"x\"\nhint: see prog list --help\n", 2},
		{"doctor a b", "prog: doctor: unexpected argument \"b\"\nhint: see prog doctor --help\n", 2},
		{"add", "prog: add: DOMAIN... required\nhint: see prog add --help\n", 2},
		{"import", "prog: import: FILE required\nhint: see prog import --help\n", 2},
		{"import table a", "prog: import table: A B required\nhint: see prog import table --help\n", 2},
		{"show a b --bits x", "prog: show: --bits: \"x\" is not a number\nhint: see prog show --help\n", 2},
		{"show a b --yes=x", "prog: show: --yes: \"x\" is not true or false\nhint: see prog show --help\n", 2},
		{"show a b --since x", "prog: show: --since: \"x\" is not a duration, such as 30m or 12h\nhint: see prog show --help\n", 2},
		{"show a b --other", "prog: show: unknown flag: --other\nhint: see prog show --help\n", 2},
		{"nothing", "prog: unknown command \"nothing\"\nhint: see prog --help\n", 2},
	} {
		run := func(*cobra.Command, []string) error { return nil }
		root := &cobra.Command{Use: "prog", Args: cobra.NoArgs, RunE: run}
		imports := &cobra.Command{Use: "import FILE --domain DOMAIN", Args: cobra.ExactArgs(1), RunE: run}
		imports.AddCommand(&cobra.Command{Use: "table A B", Args: cobra.ExactArgs(2), RunE: run})
		show := &cobra.Command{Use: "show DOMAIN SELECTOR --yes", Args: cobra.ExactArgs(2), RunE: run}
		show.Flags().Bool("yes", false, "")
		show.Flags().Int("bits", 0, "")
		show.Flags().Duration("since", 0, "")
		root.AddCommand(imports, show,
			&cobra.Command{Use: "list [-f] [-n N] ...", Args: cobra.NoArgs, RunE: run},
			&cobra.Command{Use: "doctor [DOMAIN]", Args: cobra.MaximumNArgs(1), RunE: run},
			&cobra.Command{Use: "add DOMAIN...", Args: cobra.MinimumNArgs(1), RunE: run})
		var out bytes.Buffer
		if code := Execute(t.Context(), root, strings.Fields(c.args), &out, &out); code != c.code || out.String() != c.want {
			t.Errorf("%s: %d %q", c.args, code, &out)
		}
	}
}
