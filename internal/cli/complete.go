package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Complete registers functions that complete the values of flags, by the names of the flags.
func Complete(c *cobra.Command, values map[string]cobra.CompletionFunc) {
	for flag, f := range values {
		// The only errors are an unknown flag and a flag with two functions. testcli.Walk finds flags without a completion function.
		_ = c.RegisterFlagCompletionFunc(flag, f)
	}
}

// Words returns a completion function for a value that is one of these words, or several of them separated by commas.
func Words(words ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		chosen := typed[:strings.LastIndexByte(typed, ',')+1]
		var all []cobra.Completion
		for _, w := range words {
			if !slices.Contains(strings.Split(chosen, ","), w) {
				all = append(all, chosen+w)
			}
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// Any returns a completion function for a value that the shell cannot complete.
func Any() cobra.CompletionFunc { return cobra.NoFileCompletions }

// File returns a completion function for the name of a file.
func File() cobra.CompletionFunc {
	return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
}

// Directory returns a completion function for the name of a directory.
func Directory() cobra.CompletionFunc {
	return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
}

// ConfigFile returns a completion function for the name of a configuration file.
func ConfigFile() cobra.CompletionFunc {
	return cobra.FixedCompletions([]cobra.Completion{"toml"}, cobra.ShellCompDirectiveFilterFileExt)
}
