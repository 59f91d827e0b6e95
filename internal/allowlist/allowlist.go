// Package allowlist makes postscreen(8)'s allow list of the networks in SPF records, and keeps it in a file: the work of greyskip(1).
package allowlist

import (
	"fmt"
	"io"
	"time"

	"signpost/internal/term"
)

// DefaultWidest is the default of Options.Widest.
const DefaultWidest = "12,28"

// Options are the flags of greyskip(1).
type Options struct {
	DomainsFile, Output, Format, Reload string
	Widest                              string
	Widest4, Widest6                    int // the numbers of Widest
	OverLimit, Force, Diff, DryRun      bool
}

// Maker makes a list.
type Maker struct {
	Options
	Now            func() time.Time
	Stdout, Stderr io.Writer
	Action         bool // action is needed, and the messages that state it were printed
}

// inform prints a message that needs no action.
func (m *Maker) inform(format string, args ...any) {
	fmt.Fprintln(m.Stderr, "greyskip:", term.Printable(fmt.Sprintf(format, args...)))
}

// warn prints a message that needs action: the exit code is 1.
func (m *Maker) warn(format string, args ...any) {
	m.Action = true
	m.inform(format, args...)
}
