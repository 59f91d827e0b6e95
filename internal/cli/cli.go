// Package cli runs the commands of Signpost's programs alike: errors on stderr behind the program's name, exit code 0 for
// done, 1 for failed, 2 for wrong usage or configuration.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// UsageError is about what stands on the command line or in the configuration: exit code 2.
type UsageError struct{ error }

// Usage marks an error as one of usage.
func Usage(err error) error { return UsageError{err} }

// Unwrap gives the error itself.
func (e UsageError) Unwrap() error { return e.error }

// Execute runs root with args and gives the exit code.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return Usage(fmt.Errorf("%w; see %s --help", err, c.CommandPath()))
	})
	markUsage(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s: %v\n", root.Name(), err)
	var usage UsageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// markUsage makes wrong arguments of a command, and of those below it, errors of usage.
func markUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return Usage(fmt.Errorf("%w; see %s --help", err, c.CommandPath()))
			}
			return nil
		}
	}
	for _, below := range c.Commands() {
		markUsage(below)
	}
}
