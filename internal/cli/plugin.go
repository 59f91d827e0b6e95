package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"signpost/internal/term"
)

// PluginState is the exit code of a plugin of a monitoring system.
type PluginState int

// The states that the Monitoring Plugins Development Guidelines define.
const (
	OK PluginState = iota
	Warning
	Critical
	Unknown
)

// String returns the state as it is written in the output.
func (s PluginState) String() string {
	return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[s]
}

// ExitError ends a program with an exit code of its own. The command has already printed its result.
type ExitError struct{ Code int }

func (e ExitError) Error() string { return "" }

const pluginKey = "plugin"

// Plugin marks a command as a plugin of a monitoring system. An error, including a usage error, is then the result UNKNOWN: it is printed on
// one line to standard output, and the exit code is 3. Exit code 2 would mean CRITICAL.
func Plugin(c *cobra.Command) { c.Annotations = map[string]string{pluginKey: ""} }

func isPlugin(c *cobra.Command) bool {
	_, is := c.Annotations[pluginKey]
	return is
}

// maxPluginText limits the text before the performance data, in bytes. NRPE up to version 2 transmits 1024 bytes.
const maxPluginText = 700

// PluginLine returns the output of a plugin. A vertical bar begins the performance data, so it is replaced in the text.
func PluginLine(program string, state PluginState, text, data string) string {
	text = strings.ReplaceAll(term.Printable(text), "|", "/")
	if len(text) > maxPluginText {
		text = strings.ToValidUTF8(text[:maxPluginText-len("...")], "") + "..."
	}
	line := strings.ToUpper(program) + " " + state.String() + " - " + text
	if data != "" {
		line += " | " + data
	}
	return line
}
