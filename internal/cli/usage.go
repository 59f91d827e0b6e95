package cli

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"signpost/internal/doctor"
)

// markUsage turns argument errors of a command and its subcommands into usage errors. It also disables the completion of arguments for
// commands without arguments.
func markUsage(c *cobra.Command) {
	if _, most := arguments(c.Use); most == 0 && c.ValidArgsFunction == nil {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if usage := (UsageError{}); err == nil || errors.As(err, &usage) {
				return err
			}
			return argumentError(c, args)
		}
	}
	for _, below := range c.Commands() {
		markUsage(below)
	}
}

// argumentError returns an error that names the missing or unexpected arguments as they are named in the usage line.
func argumentError(c *cobra.Command, args []string) error {
	required, most := arguments(c.Use)
	switch {
	case len(args) < len(required):
		return commandError(c, strings.Join(required, " ")+" required", "")
	case isUnknownCommand(c, args[0]) || nearestCommand(c, args[0]) != "":
		return noCommand(c, args[0])
	}
	return commandError(c, fmt.Sprintf("unexpected argument %q", args[min(most, len(args)-1)]), "")
}

// isUnknownCommand reports whether c takes commands but no arguments, and word is neither a command nor a flag.
func isUnknownCommand(c *cobra.Command, word string) bool {
	_, most := arguments(c.Use)
	return most == 0 && c.HasSubCommands() && !strings.HasPrefix(word, "-")
}

func noCommand(c *cobra.Command, word string) error {
	return commandError(c, fmt.Sprintf("no such command: %q", word), nearestCommand(c, word))
}

func nearestCommand(c *cobra.Command, word string) string {
	var names []string
	for _, below := range c.Commands() {
		if !below.Hidden {
			names = append(names, below.Name())
		}
	}
	return doctor.Nearest(word, names...)
}

// flagError returns the usage error for an error of pflag.
func flagError(c *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		invalid *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
		syntax  *pflag.InvalidSyntaxError
	)
	switch {
	case errors.As(err, &unknown):
		return noFlag(c, unknown)
	case errors.As(err, &invalid):
		return commandError(c, fmt.Sprintf("--%s: %q %s", invalid.GetFlag().Name, invalid.GetValue(), fault(invalid)), "")
	case errors.As(err, &missing):
		flag := "--" + missing.GetSpecifiedName()
		if missing.GetSpecifiedShortnames() != "" {
			flag = flag[1:]
		}
		value, _ := pflag.UnquoteUsage(missing.GetFlag())
		return commandError(c, flag+": "+value+" required", "")
	case errors.As(err, &syntax):
		return commandError(c, fmt.Sprintf("%q is not a flag", syntax.GetSpecifiedFlag()), "")
	}
	return commandError(c, err.Error(), "")
}

func noFlag(c *cobra.Command, unknown *pflag.NotExistError) error {
	word, meant := "--"+unknown.GetSpecifiedName(), unknown.GetSpecifiedName()
	if letters := unknown.GetSpecifiedShortnames(); letters != "" { // this is also the error for a long flag with one hyphen
		word = word[1:]
		meant, _, _ = strings.Cut(letters, "=")
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	nearest := ""
	if len(meant) > 1 {
		nearest = doctor.Nearest(meant, names...)
	}
	if nearest != "" {
		nearest = "--" + nearest
	}
	return commandError(c, "no such flag: "+word, nearest)
}

// fault returns a text about the error in the value of a flag.
func fault(invalid *pflag.InvalidValueError) string {
	kind := invalid.GetFlag().Value.Type()
	isNumber := slices.Contains([]string{"int", "int64", "uint", "uint16", "float64"}, kind)
	switch {
	case isNumber && errors.Is(invalid, strconv.ErrRange):
		return "is out of range"
	case isNumber:
		return "is not a number"
	case kind == "bool":
		return "is not true or false"
	case kind == "duration":
		return "is not a duration, such as 30m or 12h"
	case kind == "stringSlice":
		return "is not a list of values separated by commas"
	}
	return "is not allowed"
}

// commandError returns a usage error of a command. The parameter nearest is the word that the user probably meant, or empty.
func commandError(c *cobra.Command, what, nearest string) error {
	if _, below, isBelow := strings.Cut(c.CommandPath(), " "); isBelow {
		what = below + ": " + what
	}
	hint := "see " + c.CommandPath() + " --help"
	if nearest != "" {
		hint = "did you mean " + nearest + "? " + hint
	}
	return Usage(fmt.Errorf("%s\nhint: %s", what, hint))
}

// arguments returns the required arguments of a usage line, such as "show DOMAIN SELECTOR [--json]", and the maximum number of
// arguments.
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
