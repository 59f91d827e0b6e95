package report

import (
	"context"
	"time"

	"signpost/internal/journal"
)

// Options configure Collect.
type Options struct {
	// Own reports whether a message is only for our own report addresses. Such a message never causes a report by itself. nil: no message.
	Own func(*journal.Entry) bool
}

// Day returns the first second of the UTC day that contains t.
func Day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// Collect makes the reports of a UTC day and calls found for each. If found returns an error, Collect ends and returns it. The order of the
// reports is arbitrary but the same for each call. Collect reads the journal once, or several times if the reports do not fit into memory
// at the same time. found may use the Reader.
func Collect(ctx context.Context, r *journal.Reader, day time.Time, o Options, found func(*Report) error) error {
	return nil
}
