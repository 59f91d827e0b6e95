// Package cli runs the commands of the three programs. It prints errors on stderr as PROGRAM: TEXT, with a hint if there is one. The exit
// code is 0 for success, 1 for a failure and 2 for a usage or configuration error. Plugins of monitoring systems have other exit codes: see
// Plugin.
//
//	os.Exit(cli.Execute(ctx, root, os.Args[1:], os.Stdout, os.Stderr))
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"signpost/internal/man"
	"signpost/internal/term"
)

// UsageError is an error in the command line or the configuration: exit code 2.
type UsageError struct{ error }

// Usage returns err as a UsageError.
func Usage(err error) error { return UsageError{err} }

// Unwrap returns the error itself.
func (e UsageError) Unwrap() error { return e.error }

// Execute runs root with args and returns the exit code. It adds the command version.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if _, rest, _ := root.Find(args); len(rest) > 0 && isUnknownCommand(c, rest[0]) { // the flag may belong to the misspelt command
			return noCommand(c, rest[0])
		}
		return flagError(c, err)
	})
	root.AddCommand(versionCommand())
	addStandard(root, args)
	markUsage(root)
	root.Version = Version()
	root.SetHelpTemplate(root.HelpTemplate() + "{{if not .HasParent}}\nShell completion:\n\n" + man.Completion(root.Name()) + "\n{{end}}")
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	ran, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var exit ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if isPlugin(ran) {
		fmt.Fprintln(stdout, PluginLine(root.Name(), Unknown, strings.Join(message(err), "; "), ""))
		return int(Unknown)
	}
	Print(stderr, root.Name(), err)
	var usage UsageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// Print writes the message about an error: the name of the program, the text, and a hint if there is one.
func Print(w io.Writer, program string, err error) {
	fmt.Fprintf(w, "%s: %s\n", program, term.PrintableLines(strings.Join(message(err), "\nhint: ")))
}

// message returns the text of an error, followed by a hint if there is one.
func message(err error) []string {
	parts := strings.Split(Text(err), "\nhint: ")
	if hint := Hint(err); hint != "" {
		parts = append(parts, hint)
	}
	return parts
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version, the commit and the Go release of the build",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s %s\n", c.Root().Name(), Version())
			return err
		},
	}
}

// addStandard adds cobra's commands help and completion, and makes an unknown topic or shell a usage error.
func addStandard(root *cobra.Command, args []string) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				if below, rest, _ := root.Find(args); len(rest) > 0 {
					return noCommand(below, rest[0])
				}
				return nil
			}
		case "completion":
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}
