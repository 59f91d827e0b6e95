package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/owner"
	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/term"
)

func reportsImportCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "import FILE...",
		Short: "Read DMARC and TLS reports from files, mbox files and Maildirs",
		Long: "Read DMARC aggregate reports and TLS reports from files, and store them with the received reports. FILE is a report (XML or\n" +
			"JSON, also in gzip or zip format), a message, an mbox, a Maildir, or - for standard input. The content of a file decides, not\n" +
			"its name. In an mbox or Maildir, other mail is skipped.\n\n" +
			"Imported reports are marked as not verified: nothing proves who wrote them, so they never cause an alarm. The reporter is the\n" +
			"domain of the contact address in the report. A report that is stored already is counted and skipped.\n\n" +
			"Exit code 0: all reports were read, 1: a file or report could not be read.",
		Example: "  sudo signpost reports import google.com!example.com!1764460800!1764547199.zip\n" +
			"  sudo signpost reports import /var/vmail/example.com/dmarc/Maildir old-reports.mbox",
		Args: cobra.MinimumNArgs(1),
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			in := &importing{conf: conf, stderr: c.ErrOrStderr(), now: time.Now, Errors: []importError{}}
			if err := in.run(c.Context(), args, c.InOrStdin()); err != nil {
				return err
			}
			if asJSON {
				if err := term.WriteJSON(c.OutOrStdout(), in); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(c.OutOrStdout(), "imported: %d, stored before: %d, failure reports: %d, other messages: %d, not readable: %d\n",
					in.Imported, in.Duplicates, in.Failures, in.Other, len(in.Errors))
			}
			if len(in.Errors) > 0 {
				return cli.ExitError{Code: 1}
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the numbers and errors as JSON")
	return c
}

// importing is a run of reports import, and its result.
type importing struct {
	conf   *config.Config
	store  *received.Store
	stderr io.Writer
	now    func() time.Time

	Imported   int           `json:"imported"`
	Duplicates int           `json:"duplicates"`
	Failures   int           `json:"failure_reports"` // recognized, and not kept
	Other      int           `json:"other_messages"`  // of an mbox or Maildir
	Errors     []importError `json:"errors"`
}

// importError is why a file, or a message of an mbox, was not read.
type importError struct {
	File    string     `json:"file"`
	Message int        `json:"message,omitempty"` // of an mbox, from 1
	Cause   read.Cause `json:"cause,omitempty"`   // empty: the file cannot be opened or read
	Error   string     `json:"error"`
}

func (in *importing) run(ctx context.Context, files []string, stdin io.Reader) error {
	err := in.asOwner(func() (err error) {
		if in.store, err = received.Open(ctx, in.file(), true, in.now); err == nil {
			in.store.MaxSize = in.conf.Reports.Receive.MaxSize
		}
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = in.asOwner(func() error { in.store.Close(); return nil }) }()
	for _, file := range files {
		if file == "-" {
			err = in.read(ctx, "standard input", stdin, false)
		} else if fi, statErr := os.Stat(file); statErr == nil && fi.IsDir() {
			err = in.maildir(ctx, file)
		} else {
			err = in.open(ctx, file, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file returns the database of received reports.
func (in *importing) file() string { return filepath.Join(in.conf.ReportsDir(), "received.db") }

// asOwner calls f as the owner of the database. The files are read as the user who runs the command, and root may read a mailbox that the
// owner may not.
func (in *importing) asOwner(f func() error) error {
	back, err := owner.Act(in.file())
	if err != nil {
		return err
	}
	return errors.Join(f(), back())
}

// maildir reads the messages of a Maildir.
func (in *importing) maildir(ctx context.Context, dir string) error {
	found := false
	for _, sub := range []string{"new", "cur"} {
		d, err := os.Open(filepath.Join(dir, sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			in.fail(dir, 0, err)
			return nil
		}
		defer d.Close()
		found = true
		for {
			entries, err := d.ReadDir(1000)
			for _, e := range entries {
				if e.Type().IsRegular() {
					if err := in.open(ctx, filepath.Join(dir, sub, e.Name()), true); err != nil {
						return err
					}
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				in.fail(dir, 0, err)
				break
			}
		}
	}
	if !found {
		in.fail(dir, 0, errors.New("not a Maildir: it has no directory new or cur"))
	}
	return nil
}

func (in *importing) open(ctx context.Context, file string, mailbox bool) error {
	f, err := os.Open(file)
	if err != nil {
		if !mailbox || !errors.Is(err, fs.ErrNotExist) { // an IMAP server renames the messages of a Maildir
			in.fail(file, 0, err)
		}
		return nil
	}
	defer f.Close()
	return in.read(ctx, file, f, mailbox)
}

// read reads a file and stores its reports. mailbox states that it may be other mail. The error is that of the database.
func (in *importing) read(ctx context.Context, file string, r io.Reader, mailbox bool) error {
	var fatal error
	err := read.Each(r, func(n int, report *read.Report, err error) error {
		switch {
		case read.CauseOf(err) == read.NotReport && (mailbox || n > 0):
			in.Other++
		case err != nil:
			in.fail(file, n, err)
		case report.Kind == read.Failure:
			in.Failures++
		default:
			fatal = in.add(ctx, report)
		}
		return errors.Join(fatal, ctx.Err())
	})
	if fatal == nil && ctx.Err() == nil && err != nil {
		in.fail(file, 0, err)
		return nil
	}
	return err
}

func (in *importing) add(ctx context.Context, report *read.Report) error {
	err := in.asOwner(func() error {
		return in.store.Add(ctx, report, received.Origin{Reporter: report.Reporter(), Received: in.now()})
	})
	switch {
	case errors.Is(err, received.ErrDuplicate):
		in.Duplicates++
		return nil
	case err == nil:
		in.Imported++
	}
	return err
}

// fail reports why a file was not read.
func (in *importing) fail(file string, message int, err error) {
	text := cli.Text(err)
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		text = path.Err.Error() // the name of the file precedes it
	}
	in.Errors = append(in.Errors, importError{file, message, read.CauseOf(err), text})
	place := file
	if message > 0 {
		place += fmt.Sprintf(": message %d", message)
	}
	fmt.Fprintf(in.stderr, "signpost: reports import: %s\n", term.Printable(place+": "+text))
}
