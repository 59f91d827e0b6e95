// Package term writes the output of commands to a terminal, file or pipe: printable text, colors, columns, tables and JSON. Most text
// comes from mail, DNS or files and is untrusted. It must not control the terminal or imitate other lines of the output. Printable and
// Clean replace the characters that could do so.
package term

import (
	"fmt"
	"io"
	"os"
	"time"
)

// Painter colors words on a terminal.
type Painter struct{ on bool }

// Paint returns the Painter for an output. It colors only on a terminal, unless TERM=dumb or NO_COLOR is set
// (https://no-color.org).
func Paint(w io.Writer) Painter {
	return Painter{isTerminal(w) && os.Getenv("TERM") != "dumb" && os.Getenv("NO_COLOR") == ""}
}

// isTerminal reports whether an output is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := Raw(w).(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}

// Progress prints a message about a step that takes a long time. It prints only if stderr is a terminal, because cron mail and log files do
// not need the message.
func Progress(stderr io.Writer, format string, args ...any) {
	if isTerminal(stderr) {
		fmt.Fprintf(stderr, format+" ...\n", args...)
	}
}

// Counter shows on a terminal how many messages a command has read.
type Counter struct {
	w    io.Writer // nil: not a terminal
	n    int
	last time.Time
}

// NewCounter returns a Counter that writes to stderr if that is a terminal.
func NewCounter(stderr io.Writer) *Counter {
	if !isTerminal(stderr) {
		stderr = nil
	}
	return &Counter{w: stderr, last: time.Now()}
}

// Add counts a message, and shows the number once a second.
func (c *Counter) Add() {
	if c.n++; c.w != nil && time.Since(c.last) > time.Second {
		c.last = time.Now()
		fmt.Fprintf(c.w, "\r%d messages ...", c.n)
	}
}

// Clear removes the number from the terminal.
func (c *Counter) Clear() {
	if c.w != nil {
		fmt.Fprint(c.w, "\r                              \r")
	}
}

// Good colors a text that is correct.
func (p Painter) Good(s string) string { return p.in("32", s) }

// Warn colors a text about something that is in progress or needs attention.
func (p Painter) Warn(s string) string { return p.in("33", s) }

// Bad colors a text about an error.
func (p Painter) Bad(s string) string { return p.in("31", s) }

// Past colors a text about something that has ended.
func (p Painter) Past(s string) string { return p.in("90", s) }

func (p Painter) in(color, s string) string {
	s = Printable(s)
	if !p.on {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// Status colors a result word of RFC 8601.
func (p Painter) Status(word string) string {
	switch word {
	case "pass":
		return p.Good(word)
	case "fail", "permerror":
		return p.Bad(word)
	case "softfail", "temperror", "policy":
		return p.Warn(word)
	}
	return word
}
