// Package testcli tests the command line of a program. It checks that the message about any wrong flag or argument is readable.
package testcli

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Program is a program under test.
type Program struct {
	Root *cobra.Command
	Run  func(ctx context.Context, args []string, stdout, stderr io.Writer) int
	// Flags are added to each command that has them, so that the command uses only a temporary directory.
	Flags map[string]string
	// Arguments has valid arguments for each command, by the path of the command below the program.
	Arguments map[string][]string
	// Broken lists the paths of commands that must not run. They get a configuration that cannot be read.
	Broken []string
	// Plugins lists the paths of commands that are plugins of a monitoring system. For a usage error, they print UNKNOWN on standard output,
	// and the exit code is 3.
	Plugins []string
	// Interrupted lists the paths of commands that stop when they are interrupted and print a message about it.
	Interrupted []string
}

// wrong has values that no flag or argument accepts, or that name a file that cannot be read.
var wrong = []string{"", "\"", "x y", "-1", "99999999999999999999999", "/nonexistent/x", "/", "1.2.3.4:99999", "2026-13-01", "1e400"}

// goWords matches words of the Go standard library, cobra or pflag that users must not see.
var goWords = regexp.MustCompile(`strconv|parsing |parse error|invalid argument|invalid syntax|unknown (shorthand )?(flag|command)|flag needs|bad flag|` +
	`accepts \d|accepts at|requires at|arg\(s\)|context (canceled|deadline)|operation was canceled|i/o timeout|EOF|dial (tcp|udp|unix)|listen (tcp|unix)|address .*: (missing|too many)|` +
	`: (open|read|l?stat|mkdir|write|unlink|readlink|rename|fstat)(at)? |executable file not found|ParseAddr|time: |%!|panic|goroutine|0xc0|<nil>`)

// runTime is the maximum time for which a command runs if its arguments are valid.
const runTime = 200 * time.Millisecond

// Walk runs each command with wrong values of each flag, with missing arguments, and with too many arguments. It also interrupts commands.
func Walk(t *testing.T, p Program) {
	t.Helper()
	t.Chdir(t.TempDir()) // a wrong value may be the name of a file
	walk(t, p, p.Root)
}

func walk(t *testing.T, p Program, c *cobra.Command) {
	if c.DisableFlagParsing { // another program parses the arguments
		return
	}
	_, path, _ := strings.Cut(c.CommandPath(), " ")
	base := strings.Fields(path)
	usage := p.usageCode(path)
	set := map[string]*pflag.Flag{}
	c.InheritedFlags().VisitAll(func(f *pflag.Flag) { set[f.Name] = f })
	c.LocalFlags().VisitAll(func(f *pflag.Flag) { set[f.Name] = f })
	given := func(without string) []string {
		args := slices.Clone(base)
		for name, value := range p.Flags {
			if set[name] != nil && name != without {
				if slices.Contains(p.Broken, path) && name == "config" {
					value = "/nonexistent/x"
				}
				args = append(args, "--"+name+"="+value)
			}
		}
		return args
	}
	ctx := t.Context()
	for name, f := range set {
		if name == "help" {
			continue
		}
		if _, completes := c.GetFlagCompletionFunc(name); !completes && f.NoOptDefVal == "" {
			t.Errorf("%s: no completion for the values of --%s", path, name)
		}
		for _, value := range wrong {
			if name == "config" && value == "" && slices.Contains(p.Broken, path) {
				continue
			}
			args := append(given(name), "--"+name+"="+value)
			p.check(t, ctx, append(args, p.Arguments[path]...), -1)
		}
		if f.NoOptDefVal == "" { // the flag needs a value
			p.check(t, ctx, append(given(name), "--"+name), usage)
			if f.Shorthand != "" {
				p.check(t, ctx, append(given(name), "-"+f.Shorthand), usage)
			}
		}
		if len(name) > 3 {
			errs := p.check(t, ctx, append(given(name), "--"+name[:2]+name[3:]), usage)
			if !strings.Contains(errs, "did you mean --") {
				t.Errorf("%s: --%s has no suggestion: %s", path, name[:2]+name[3:], errs)
			}
		}
	}
	for _, flags := range []string{"--no-such-flag", "-Q", "---", "--=x", "-domain"} {
		p.check(t, ctx, append(slices.Clone(base), flags), usage)
	}
	p.check(t, ctx, given(""), -1) // without arguments
	for n := range 4 {
		p.check(t, ctx, append(given(""), slices.Repeat([]string{"example.org"}, n+1)...), -1)
	}
	for _, value := range wrong {
		p.check(t, ctx, append(given(""), "--", value), -1)
		for i := range p.Arguments[path] {
			args := slices.Clone(p.Arguments[path])
			args[i] = value
			p.check(t, ctx, append(append(given(""), "--"), args...), -1)
		}
	}
	interrupted, cancel := context.WithCancel(ctx)
	cancel()
	errs := p.check(t, interrupted, append(given(""), p.Arguments[path]...), -1)
	if slices.Contains(p.Interrupted, path) && !strings.Contains(errs, p.Root.Name()+": interrupted\n") {
		t.Errorf("%s: interrupted, it prints: %s", path, errs)
	}
	for _, below := range c.Commands() {
		if name := below.Name(); len(name) > 3 && !below.Hidden && p.Arguments[path] == nil {
			errs := p.check(t, ctx, append(slices.Clone(base), name[:2]+name[3:], "--json"), 2)
			if !strings.Contains(errs, "did you mean ") {
				t.Errorf("%s: %s has no suggestion: %s", path, name[:2]+name[3:], errs)
			}
		}
		walk(t, p, below)
	}
}

// usageCode returns the exit code of a command for a usage error.
func (p Program) usageCode(path string) int {
	if slices.Contains(p.Plugins, path) {
		return 3
	}
	return 2
}

// check runs the program, and checks and returns its message: what it prints to standard error, or the result UNKNOWN of a plugin. want is
// its exit code, or -1 for any.
func (p Program) check(t *testing.T, ctx context.Context, args []string, want int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	var out, errs bytes.Buffer
	start := time.Now()
	code := p.Run(ctx, args, &out, &errs)
	if d := time.Since(start); d > 300*time.Millisecond {
		t.Logf("slow: %q %v", args, d)
	}
	if want >= 0 && code != want {
		t.Errorf("%q: exit code %d, want %d", args, code, want)
	}
	text := errs.String()
	if line, isUnknown := strings.CutPrefix(out.String(), strings.ToUpper(p.Root.Name())+" UNKNOWN - "); isUnknown {
		text = p.Root.Name() + ": " + line
	}
	if found := goWords.FindString(text); found != "" {
		t.Errorf("%q: %q in: %s", args, found, text)
	}
	last := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		_, hint := strings.CutPrefix(line, "hint: ")
		if hint && strings.HasPrefix(last, "hint: ") {
			t.Errorf("%q: two hints: %s", args, text)
		}
		last = line
	}
	if code == p.usageCode(args[0]) {
		first, _, _ := strings.Cut(text, "\n")
		what, ok := strings.CutPrefix(first, p.Root.Name()+": ")
		if !ok || strings.HasSuffix(first, ".") || what == "" || strings.ToLower(what[:1]) != what[:1] {
			t.Errorf("%q: the message does not have the required form: %s", args, text)
		}
	}
	return text
}
