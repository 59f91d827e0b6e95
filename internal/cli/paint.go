package cli

import (
	"fmt"
	"io"
	"os"
)

// Painter colours words on a terminal.
type Painter struct{ on bool }

// Paint gives the Painter for an output: colours only where it is a terminal that has them, and nobody said no
// (https://no-color.org).
func Paint(w io.Writer) Painter {
	return Painter{Terminal(w) && os.Getenv("TERM") != "dumb" && os.Getenv("NO_COLOR") == ""}
}

// Terminal says whether an output is one.
func Terminal(w io.Writer) bool {
	f, ok := Raw(w).(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}

// Progress says what takes long, to a person who waits: a log or cron's mail is not told.
func Progress(stderr io.Writer, format string, args ...any) {
	if Terminal(stderr) {
		fmt.Fprintf(stderr, format+" ...\n", args...)
	}
}

// Good is for what is as it should be.
func (p Painter) Good(s string) string { return p.in("32", s) }

// Middling is for what is on its way, or wants a look.
func (p Painter) Middling(s string) string { return p.in("33", s) }

// Bad is for what is wrong.
func (p Painter) Bad(s string) string { return p.in("31", s) }

// Past is for what is over.
func (p Painter) Past(s string) string { return p.in("90", s) }

func (p Painter) in(colour, s string) string {
	s = Printable(s)
	if !p.on {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// Status colours a word of RFC 8601.
func (p Painter) Status(word string) string {
	switch word {
	case "pass":
		return p.Good(word)
	case "fail", "permerror":
		return p.Bad(word)
	case "softfail", "temperror", "policy":
		return p.Middling(word)
	}
	return word
}
