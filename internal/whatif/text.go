package whatif

import (
	"fmt"
	"io"
	"strings"
	"time"

	"signpost/internal/term"
	"signpost/policy"
)

// Write writes a Result for people. The parameter under names the configuration.
func (r Result) Write(w io.Writer, under string) {
	paint := term.Paint(w)
	if r.Messages == 0 {
		fmt.Fprintln(w, "no messages")
		return
	}
	fmt.Fprintf(w, "under %s\n%d messages from %s to %s\n", under, r.Messages, r.First.Format("2006-01-02 15:04"), r.Last.Format("2006-01-02 15:04"))
	line := func(n int, what string) { fmt.Fprintf(w, "%8d  %6s  %s\n", n, share(n, r.Messages), what) }
	line(r.Same, "unchanged")
	line(r.Changed, "would change")
	if r.Unjudged > 0 {
		line(r.Unjudged, "cannot be judged from the journal:")
		for _, u := range r.Unknown {
			fmt.Fprintf(w, "%18s%d: %s\n", "", u.Messages, term.Printable(u.Name))
		}
	}
	for _, c := range r.Changes {
		change := describe(c.From, c.To)
		switch c.To.Action {
		case policy.Reject, policy.Discard:
			change = paint.Bad(change)
		case policy.Tag, policy.Hold, policy.Tempfail:
			change = paint.Warn(change)
		default:
			change = paint.Good(change)
		}
		fmt.Fprintf(w, "\n%8d  %6s  %s\n", c.Messages, share(c.Messages, r.Messages), change)
		for _, by := range []struct {
			name   string
			counts []Count
		}{{"authors", c.Authors}, {"clients", c.Clients}, {"senders", c.Senders}} {
			var words []string
			for _, n := range by.counts {
				words = append(words, fmt.Sprintf("%s %d", term.Printable(n.Name), n.Messages))
			}
			fmt.Fprintf(w, "%18s%s: %s\n", "", by.name, strings.Join(words, ", "))
		}
		for _, e := range c.Examples {
			fmt.Fprintf(w, "%18sfor example %s at %s, %s from %s\n", "", term.Printable(e.QueueID), e.Time.Format(time.DateTime), term.Printable(e.Author), e.Client)
		}
	}
	if r.Granted > 0 {
		fmt.Fprintf(w, "\n%d messages that were not signed would be signed if there is a key: see signpost sign.\n", r.Granted)
	}
}

// share returns a part n of a total as a percentage. It returns 0.0% only if n is 0, and 100.0% only if n is the total.
func share(n, of int) string {
	switch part := 100 * float64(n) / float64(of); {
	case n > 0 && part < 0.1:
		return "< 0.1%"
	case n < of && part > 99.9:
		return "> 99.9%"
	default:
		return fmt.Sprintf("%.1f%%", part)
	}
}

// describe returns the change of the action, and also the change of the role if there is one.
func describe(from, to Fate) string {
	text := from.String() + " -> " + to.String()
	if from.Role != to.Role {
		text += fmt.Sprintf(" (role %s instead of %s)", to.Role, from.Role)
	}
	return text
}

// WriteUnknown writes how many messages cannot be judged, by cause.
func (r Result) WriteUnknown(w io.Writer) {
	for _, u := range r.Unknown {
		fmt.Fprintf(w, "%d of %d messages cannot be judged from the journal: %s\n", u.Messages, r.Messages, term.Printable(u.Name))
	}
}
