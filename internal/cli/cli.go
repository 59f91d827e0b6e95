// Package cli runs the commands of the three programs. It writes errors to stderr after the name of the program. The exit code is 0
// for success, 1 for a failure and 2 for a usage or configuration error.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"signpost/internal/term"
)

// UsageError is an error in the command line or the configuration: exit code 2.
type UsageError struct{ error }

// Usage returns err as a UsageError.
func Usage(err error) error { return UsageError{err} }

// Unwrap returns the error itself.
func (e UsageError) Unwrap() error { return e.error }

// Execute runs root with args and returns the exit code.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return Usage(commandError(c, flagError(err))) })
	markUsage(root)
	root.Version = Version()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(stderr, "%s: %s\n", root.Name(), term.PrintableLines(err.Error()))
	var usage UsageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// markUsage makes argument errors of a command and its subcommands usage errors.
func markUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return Usage(argumentError(c, args, err))
			}
			return nil
		}
	}
	for _, below := range c.Commands() {
		markUsage(below)
	}
}

// argumentError returns an error that names the missing or unexpected arguments as the usage line does.
func argumentError(c *cobra.Command, args []string, err error) error {
	required, most := arguments(c.Use)
	what := err.Error()
	switch {
	case len(args) < len(required):
		what = strings.Join(required, " ") + " required"
	case most == 0 && c.HasSubCommands():
		what = fmt.Sprintf("unknown command %q", args[0])
	case len(args) > most:
		what = fmt.Sprintf("unexpected argument %q", args[most])
	}
	return commandError(c, what)
}

// flagError returns the text of a flag error, without the words of Go's parsers.
func flagError(err error) string {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err.Error()
	}
	f := invalid.GetFlag()
	kinds := map[string]string{"int": "a number", "bool": "true or false", "duration": "a duration, such as 30m or 12h"}
	if kind, ok := kinds[f.Value.Type()]; ok {
		return fmt.Sprintf("--%s: %q is not %s", f.Name, invalid.GetValue(), kind)
	}
	return fmt.Sprintf("--%s: %q: %v", f.Name, invalid.GetValue(), invalid.Unwrap())
}

func commandError(c *cobra.Command, what string) error {
	if _, below, isBelow := strings.Cut(c.CommandPath(), " "); isBelow {
		what = below + ": " + what
	}
	return fmt.Errorf("%s\nhint: see %s --help", what, c.CommandPath())
}

// arguments returns the required arguments of a usage line, such as "show DOMAIN SELECTOR [--json]", and how many there may be.
func arguments(use string) (required []string, most int) {
	for _, word := range strings.Fields(use)[1:] {
		switch {
		case strings.HasPrefix(strings.TrimPrefix(word, "["), "-"):
			return required, most
		case strings.HasSuffix(strings.TrimSuffix(word, "]"), "..."):
			most = math.MaxInt
		default:
			most++
		}
		if !strings.HasPrefix(word, "[") {
			required = append(required, word)
		}
	}
	return required, most
}

// Completion returns the part of the help about shell completion.
func Completion(program string) string {
	return "Completion in the shell:\n\n" +
		"  bash: " + program + " completion bash > /usr/share/bash-completion/completions/" + program + "\n" +
		"  zsh:  " + program + " completion zsh > /usr/local/share/zsh/site-functions/_" + program + "\n" +
		"  fish: " + program + " completion fish > /etc/fish/completions/" + program + ".fish"
}
