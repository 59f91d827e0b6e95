// Package man writes the manual pages. The page of a program is generated from its commands, so that the page and the help have the same
// text. The page of the configuration is generated from the sample file, which has a comment for each key.
package man

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Page has the parts of a program's manual page that are not in the help of its commands.
type Page struct {
	Section string
	Files   [][2]string // path and description
	Exit    string      // about commands with other exit codes; empty: there are none
	SeeAlso []string    // as "postconf(1)"
}

// Command returns the hidden command that prints the page of a program, for make man.
func Command(root *cobra.Command, p Page) *cobra.Command {
	return &cobra.Command{
		Use:    "manual",
		Short:  "Print " + root.Name() + "(" + p.Section + ")",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(c *cobra.Command, _ []string) error { return writeProgram(c.OutOrStdout(), root, p) },
	}
}

// writeProgram writes the page of a program, including all of its commands.
func writeProgram(w io.Writer, root *cobra.Command, p Page) error {
	var r roff
	r.head(root.Name(), p.Section, strings.ToLower(root.Short[:1])+root.Short[1:])
	r.line(".SH SYNOPSIS")
	r.line(".B %s", escape(root.Name()))
	commands := visible(root)
	if len(commands) > 0 {
		r.line("[\\fIoptions\\fP] \\fIcommand\\fP [\\fIarguments\\fP]")
	} else {
		r.line("[\\fIoptions\\fP] %s", escape(strings.TrimPrefix(root.Use, root.Name()+" ")))
	}
	r.line(".SH DESCRIPTION")
	r.prose(root.Long)
	if len(commands) > 0 {
		r.line(".SH COMMANDS")
	}
	for _, c := range commands {
		r.command(root.Name(), c)
	}
	r.line(".SH OPTIONS")
	if len(commands) > 0 {
		r.line("Every command has these options.")
	}
	r.flags(root.LocalNonPersistentFlags())
	r.flags(root.PersistentFlags())
	r.tag("-h, --help", "")
	r.line("Show the help%s.", map[bool]string{true: " of the program or of a command"}[len(commands) > 0])
	r.tag("-v, --version", "")
	r.line("Show the version, the commit and the Go release of the build. The command version does the same.")
	if root.Example != "" {
		r.line(".SH EXAMPLES")
		r.example(root.Example)
	}
	r.line(".SH SHELL COMPLETION")
	r.example(Completion(root.Name()))
	r.line(".SH FILES")
	for _, f := range p.Files {
		r.line(".TP\n.I %s", escape(f[0]))
		r.prose(f[1])
	}
	r.line(".SH EXIT STATUS")
	for _, s := range [][2]string{{"0", "Success."}, {"1", "Failed, or action is needed: see standard error."}, {"2", "Usage or configuration error."}} {
		r.line(".TP\n.B %s\n%s", s[0], s[1])
	}
	if p.Exit != "" {
		r.line(".PP")
		r.prose(p.Exit)
	}
	r.seeAlso(p.SeeAlso)
	_, err := io.WriteString(w, r.String())
	return err
}

// Completion returns the commands that install the shell completion of a program.
func Completion(program string) string {
	return "  bash: " + program + " completion bash > /usr/share/bash-completion/completions/" + program + "\n" +
		"  zsh:  " + program + " completion zsh > /usr/local/share/zsh/site-functions/_" + program + "\n" +
		"  fish: " + program + " completion fish > /etc/fish/completions/" + program + ".fish"
}

// visible returns the commands of a program except help, completion and version, which every program has.
func visible(c *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, below := range c.Commands() {
		if !below.Hidden && !slices.Contains([]string{"help", "completion", "version"}, below.Name()) {
			all = append(all, below)
		}
	}
	return all
}

func (r *roff) command(program string, c *cobra.Command) {
	name := strings.TrimPrefix(c.CommandPath(), program+" ")
	use := strings.TrimPrefix(c.Use, c.Name())
	r.line(".SS %s", escape(name))
	r.line(".B %s %s", escape(program), escape(name))
	if use != "" {
		r.line("%s", escape(strings.TrimSpace(use)))
	}
	r.line(".PP")
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	r.prose(text)
	r.flags(c.LocalNonPersistentFlags())
	r.flags(c.PersistentFlags())
	if c.Example != "" {
		r.example(c.Example)
	}
	for _, below := range visible(c) {
		r.command(program, below)
	}
}

func (r *roff) flags(set *pflag.FlagSet) {
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		names := "--" + f.Name
		if f.Shorthand != "" {
			names = "-" + f.Shorthand + ", " + names
		}
		r.tag(names, value)
		text := strings.ToUpper(usage[:1]) + usage[1:]
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
			text += " (default: " + f.DefValue + ")"
		}
		r.prose(text + ".")
	})
}

// Config writes signpost.toml(5) from the sample.
func Config(w io.Writer, s *Sample) error {
	var r roff
	r.head("signpost.toml", "5", "configuration of signpost(8) and dkimkey(1)")
	r.line(".SH SYNOPSIS\n.I /etc/signpost/signpost.toml\n.br\n.I /etc/signpost/conf.d/*.toml")
	r.line(".SH DESCRIPTION")
	r.prose(s.Intro + "\n\nThe files are TOML (https://toml.io). An unknown key, a key that one file sets twice, and a value that is not allowed are errors. " +
		"The message contains the line. Times are numbers with a unit: s, m, h or d.\n\n" +
		"Each key is shown with its default. \"(not set)\" marks a key without a default; its value is an example.")
	for _, t := range s.Tables {
		title := "[" + t.Name + "]"
		if t.Name == "" {
			title = "At the top, before the first table"
		}
		r.line(".SH %s", escape(title)) // not in capitals: TOML is case-sensitive
		if t.Text != "" {
			r.prose(t.Text)
		}
		for _, e := range t.Entries {
			for i, line := range e.Lines {
				r.line("%s", []string{".TP", ".TQ"}[min(i, 1)])
				key, value, _ := strings.Cut(line, " = ")
				if e.Example {
					value += "    (not set)"
				}
				r.line("\\fB%s\\fP = %s", escape(key), escape(value))
			}
			r.prose(e.Text)
		}
		for _, e := range t.Examples {
			r.line(".PP")
			if e.Text != "" {
				r.prose(e.Text)
			}
			r.example("  " + strings.Join(e.Lines, "\n  "))
		}
	}
	r.line(".SH FILES\n.TP\n.I /etc/signpost/signpost.toml\nThe default file of \\-c.")
	r.line(".TP\n.I /etc/signpost/conf.d/*.toml\nFiles that are read after signpost.toml, in the order of their names.")
	r.seeAlso([]string{"signpost(8)", "dkimkey(1)", "postconf(5)"})
	_, err := io.WriteString(w, r.String())
	return err
}

// roff is the text of a page.
type roff struct{ strings.Builder }

func (r *roff) line(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

func (r *roff) head(name, section, short string) {
	r.line(".TH %s %s \"\" Signpost \"Signpost's manual\"", strings.ToUpper(escape(name)), section)
	// Words are not hyphenated, so that keys and flags can be found with a search. Lines are not justified.
	r.line(".nh\n.ad l")
	r.line(".SH NAME\n%s \\- %s", escape(name), escape(short))
}

func (r *roff) tag(names, value string) {
	r.line(".TP")
	if value != "" && value != "bool" {
		r.line("\\fB%s\\fP \\fI%s\\fP", escape(names), escape(value))
		return
	}
	r.line("\\fB%s\\fP", escape(names))
}

// prose writes paragraphs, which are separated by empty lines. A paragraph that begins with a space is an example.
func (r *roff) prose(text string) {
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			r.line(".PP")
		}
		if strings.HasPrefix(paragraph, " ") {
			r.example(paragraph)
			continue
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			r.line("%s", escape(strings.TrimSpace(line)))
		}
	}
}

func (r *roff) example(text string) {
	r.line(".PP\n.nf\n.RS 4")
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		r.line("%s", escape(strings.TrimPrefix(line, "  ")))
	}
	r.line(".RE\n.fi")
}

func (r *roff) seeAlso(pages []string) {
	r.line(".SH SEE ALSO")
	for i, p := range pages {
		name, section, _ := strings.Cut(p, "(")
		comma := ","
		if i == len(pages)-1 {
			comma = ""
		}
		r.line(".BR %s (%s%s", escape(name), section, comma)
	}
}

// escape escapes text for roff. Without these escapes, roff could take a line of text for a request. It could also print quotes and hyphens
// that cannot be copied and pasted.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}
