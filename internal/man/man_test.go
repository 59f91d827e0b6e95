package man

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Text that roff would read as a request, a quote or a hyphen is printed literally.
func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		".SH":        `\&.SH`,
		"'x' -c `y`": `\(aqx\(aq \-c \(gay\(ga`,
		`a\nb`:       `a\enb`,
	} {
		if got := escape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestSampleErrors(t *testing.T) {
	if _, err := ReadSample([]byte("# x\nno key\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Error(err)
	}
}

// Consecutive keys share a comment. Keys in comments have no default. Tables in comments are examples.
func TestReadSample(t *testing.T) {
	s, err := ReadSample([]byte("# Intro.\n\n# One.\na = 1\n# Two.\n# b = 2\n# c = 3\n[t]\n# Three.\nd = 4\n# For some:\n# [t.x]\n# e = 5\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.Keys(), " "); got != "a b c t.d t.x.e" || s.Intro != "Intro." {
		t.Errorf("%q %+v", got, s)
	}
	two := s.Tables[0].Entries[1]
	if two.Text != "Two." || !two.Example || len(two.Lines) != 2 {
		t.Errorf("%+v", two)
	}
	if e := s.Tables[1].Examples[0]; e.Text != "For some:" || len(e.Lines) != 2 {
		t.Errorf("%+v", e)
	}
}

// Hidden commands are omitted. The other commands have their text, flags and examples.
func TestProgram(t *testing.T) {
	root := &cobra.Command{Use: "prog", Short: "Do it", Long: "It does.\n\n  like so"}
	c := &cobra.Command{Use: "cut FILE", Short: "Cut a file", Example: "  prog cut x", Run: func(*cobra.Command, []string) {}}
	c.Flags().Int("depth", 0, "how `DEEP`")
	root.AddCommand(c, &cobra.Command{Use: "secret", Hidden: true, Run: c.Run})
	var b strings.Builder
	if err := writeProgram(&b, root, Page{Section: "1", SeeAlso: []string{"cat(1)"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{".TH PROG 1", `prog \- do it`, ".SS cut", ".B prog cut\nFILE", "Cut a file.", `\fB\-\-depth\fP \fIDEEP\fP`, "How DEEP.", "\nlike so\n", ".BR cat (1)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, &b)
		}
	}
	if strings.Contains(b.String(), "secret") {
		t.Error("a hidden command is shown")
	}
}
