package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/config"
	"signpost/internal/explain"
	"signpost/internal/filter"
	"signpost/internal/journal"
	"signpost/milter"
)

func explainCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain QUEUE-ID|MESSAGE-ID",
		Short: "Tell why a message was signed, refused, tagged or let through",
		Long: "Tell the story of a message from the journal, in words that its sender's administrator can be sent: who brought it,\n" +
			"what each check found by which record, what was decided and why, what the client was told, and what helps. The DNS\n" +
			"records are those of that moment, whatever DNS says now. The ID is Postfix's, as its log and the replies have it, or\n" +
			"that of the field Message-ID. Where several messages had it, all are shown, the newest first. Times are in UTC.",
		Example: "  signpost explain 4fXyAb1Cd2z3\n  signpost explain '<20261125.1@example.org>'",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			return explainID(c.Context(), conf, args[0], asJSON, c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a list of all that is known of each message, as JSON")
	return c
}

func explainID(ctx context.Context, conf *config.Config, id string, asJSON bool, stdout io.Writer) error {
	r, err := readJournal(conf)
	if err != nil {
		return err
	}
	defer r.Close()
	found, err := r.Find(ctx, id)
	if err = errors.Join(err, r.Unread()); err != nil && len(found) == 0 {
		return reading(conf, err)
	}
	if len(found) == 0 {
		return notFound(ctx, r, conf, id)
	}
	if asJSON {
		return errors.Join(printJSON(stdout, found), reading(conf, err))
	}
	for i := range found {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		if len(found) > 1 {
			fmt.Fprintf(stdout, "%d of %d messages with this ID, the newest first\n\n", i+1, len(found))
		}
		explainEntry(stdout, &found[i])
	}
	return reading(conf, err)
}

// notFound says what could have been found.
func notFound(ctx context.Context, r *journal.Reader, conf *config.Config, id string) error {
	oldest, newest, err := r.Covers(ctx)
	if err != nil {
		return fmt.Errorf("reading %s: %w", conf.JournalFile(), err)
	}
	if oldest.IsZero() {
		return fmt.Errorf("no message has the ID %s: the journal %s is empty", printable(id), conf.JournalFile())
	}
	return fmt.Errorf("no message in the journal %s has the ID %s; it has those from %s to %s", conf.JournalFile(), printable(id), utc(oldest), utc(newest))
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// explainEntry tells the story of one message.
func explainEntry(w io.Writer, e *journal.Entry) {
	s := explain.Tell(e.Report)
	id := e.Evidence.QueueID
	if id == "" {
		id = "(no queue ID)"
	}
	rows := []explain.Row{{Label: "message", Text: id}}
	if e.Evidence.MessageID != "" {
		rows = append(rows, explain.Row{Label: "Message-ID", Text: e.Evidence.MessageID})
	}
	if e.Cut {
		rows = append(rows, explain.Row{Label: "incomplete", Text: journal.CutNote})
	}
	rows = append(rows, explain.Row{Label: "received", Text: utc(e.Time)}, explain.Row{Label: "in short", Text: s.Short})
	writeRows(w, append(rows, s.Head...))
	if len(s.Found) > 0 {
		fmt.Fprintln(w)
		writeRows(w, s.Found)
	}
	fmt.Fprintln(w)
	writeRows(w, s.Decided)
	writeHelp(w, s)
}

func writeHelp(w io.Writer, s explain.Story) {
	var rows []explain.Row
	for i, text := range s.Help {
		rows = append(rows, explain.Row{Text: "- " + text})
		if i == 0 {
			rows[0].Label = "what helps"
		}
	}
	writeRows(w, rows)
}

// writeExplanation shows a report to a person: what was known, what each method found with its records, what DNS said, and what
// follows.
func writeExplanation(w io.Writer, r filter.Report, edits milter.Edits) {
	s := explain.Tell(r)
	writeRows(w, s.Head)
	if len(s.Found) > 0 {
		writeRows(w, s.Found)
		fmt.Fprintln(w)
		writeRows(w, answers(r))
	}
	fmt.Fprintln(w)
	writeRows(w, s.Decided)
	for _, d := range edits.Delete {
		writeRows(w, []explain.Row{{Label: "removes", Text: fmt.Sprintf("%s number %d: it claims to be ours, or cannot be read", d.Name, d.Index)}})
	}
	writeHelp(w, s)
	for _, i := range slices.Backward(edits.Insert) { // the last one ends on top
		fmt.Fprintf(w, "%s:%s\n", i.Name, printableLines(i.Value))
	}
}

// answers are what DNS said.
func answers(r filter.Report) (rows []explain.Row) {
	for _, l := range r.Lookups {
		notes := []string{l.Took.Round(10 * time.Microsecond).String()}
		if l.Authentic {
			notes = append(notes, "DNSSEC")
		}
		if l.Cached {
			notes = append(notes, "cached")
		}
		rows = append(rows, explain.Row{Label: "DNS", Text: fmt.Sprintf("%s %s: %s (%s)", l.Name, l.Type, l.Answer, strings.Join(notes, ", "))})
	}
	return rows
}
