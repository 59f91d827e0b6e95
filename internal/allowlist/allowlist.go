// Package allowlist creates and updates an allow list for postscreen(8) from SPF records. It implements greyskip(1). A [Maker] prints a
// list or replaces a file:
//
//	m := &allowlist.Maker{Options: options, Now: time.Now, Stdout: os.Stdout, Stderr: os.Stderr}
//	err := m.Update(ctx, resolver, []string{"example.org"})
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
	Lines                               map[string]int // of DomainsFile: the line of each domain, from 1
	Widest                              string
	Widest4, Widest6                    int // the numbers of Widest
	OverLimit, Force, Diff, DryRun      bool
}

// Maker creates a list.
type Maker struct {
	Options
	Now            func() time.Time
	Stdout, Stderr io.Writer
	Action         bool // action is needed, and was printed to Stderr
}

// inform prints a message that requires no action.
func (m *Maker) inform(format string, args ...any) {
	fmt.Fprintln(m.Stderr, "greyskip:", term.Printable(fmt.Sprintf(format, args...)))
}

// warn prints a message that requires action, and sets Action.
func (m *Maker) warn(format string, args ...any) {
	m.Action = true
	m.inform(format, args...)
}
