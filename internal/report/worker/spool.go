package worker

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"signpost/internal/durable"
	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
)

// Summary counts the messages of a run by their results.
type Summary map[status.Result]int

const (
	// suffix is that of a complete message in the spool.
	suffix = ".eml"
	// maxHead limits the first line of a file, in bytes. Its longest parts are a mail address and two domain names.
	maxHead = 8 << 10
	// Limits on the messages that are kept because they cannot be read: enough to see what a reporter does wrong.
	maxUnread      = 20
	maxUnreadBytes = 50 << 20
	// early is how far a report may be ahead of our clock.
	early = 48 * time.Hour
)

// readSpool reads the messages of the spool, oldest first. A message is deleted after its result is in the database, so a run that is killed
// loses nothing: the next run finds a duplicate. A message that cannot be opened stays in the spool, and the others are read.
func (w *Worker) readSpool(ctx context.Context) (Summary, error) {
	summary := Summary{}
	dir, err := durable.OpenDir(w.Spool)
	if errors.Is(err, fs.ErrNotExist) {
		return summary, nil
	}
	if err != nil {
		return summary, err
	}
	defer dir.Close()
	names, err := messages(dir)
	if err != nil {
		return summary, durable.PathError(w.Spool, err)
	}
	var problems []error
	limited := map[string]bool{}
	for _, name := range names {
		if ctx.Err() != nil {
			return summary, ctx.Err()
		}
		result, err := w.readFile(ctx, dir, name, limited)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			if problems = append(problems, durable.PathError(filepath.Join(w.Spool, name), err)); len(problems) >= 10 {
				break
			}
			continue
		}
		summary[result]++
	}
	return summary, errors.Join(problems...)
}

// messages returns the names of the messages in a directory, oldest first.
func messages(dir *os.Root) (names []string, err error) {
	all, err := durable.List(dir)
	for _, fi := range all {
		if strings.HasSuffix(fi.Name(), suffix) {
			names = append(names, fi.Name())
		}
	}
	return names, err
}

// waiting returns the number of messages in the spool.
func (w *Worker) waiting() (int, error) {
	dir, err := durable.OpenDir(w.Spool)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := messages(dir)
	return len(names), err
}

// outcome is what happened to a message.
type outcome struct {
	status.Result
	why  string // for the log; empty: nothing to log
	keep bool   // move the message to Unread
}

// readFile reads a message, stores its report or counts it, and removes it from the spool. limited has the reporters whose quota was logged.
func (w *Worker) readFile(ctx context.Context, dir *os.Root, name string, limited map[string]bool) (status.Result, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return "", err
	} else if !fi.Mode().IsRegular() {
		return "", errors.New("not a regular file: remove it")
	}
	arrived, report, err := w.parse(f)
	var done outcome
	var fault *read.Error
	switch {
	case errors.As(err, &fault):
		done = outcome{status.Unreadable, fault.Error(), fault.Cause != read.NotReport}
	case err != nil:
		return "", err
	default:
		if done, err = w.store(ctx, arrived, report); err != nil {
			return "", err
		}
	}
	if done.Result != status.Stored {
		if err := w.Store.Count(ctx, done.Result); err != nil {
			return "", err
		}
	}
	reporter := cmp.Or(arrived.Reporter, arrived.TLSReporter)
	switch {
	case done.Result == status.OverLimit && limited[reporter]:
	case done.keep:
		w.Log.Warn("a received report cannot be read", "queue_id", arrived.QueueID, "reporter", reporter, "error", done.why, "file", filepath.Join(w.Unread, name))
	case done.why != "":
		limited[reporter] = limited[reporter] || done.Result == status.OverLimit
		w.Log.Info("a received report is dropped", "queue_id", arrived.QueueID, "reporter", reporter, "result", string(done.Result), "error", done.why)
	}
	if done.keep {
		err = w.setAside(dir, name)
	} else {
		err = dir.Remove(name)
	}
	return done.Result, err
}

// parse reads the first line of a file and the report. The error is a *read.Error if the contents are at fault.
func (w *Worker) parse(f *os.File) (arrived read.Arrived, report *read.Report, err error) {
	r := bufio.NewReaderSize(f, maxHead)
	line, err := r.ReadSlice('\n')
	if err == nil {
		err = json.Unmarshal(line, &arrived)
	}
	if err != nil {
		return arrived, nil, &read.Error{Cause: read.Malformed, Detail: "the first line is not that of the daemon"}
	}
	report, err = w.Parse(r)
	return arrived, report, err
}

// store stores a report if it counts.
func (w *Worker) store(ctx context.Context, arrived read.Arrived, r *read.Report) (outcome, error) {
	origin := received.Origin{Reporter: arrived.Reporter, Verified: true, QueueID: arrived.QueueID, Received: arrived.Received}
	switch {
	case r.Kind == read.Failure:
		return outcome{Result: status.Failure}, nil
	case r.Kind == read.TLS && arrived.TLSReporter == "":
		return outcome{Result: status.Unverified, why: "a TLS report needs a valid DKIM signature of its sender"}, nil
	case r.Kind == read.TLS:
		origin.Reporter = arrived.TLSReporter
	case arrived.Reporter == "":
		return outcome{Result: status.Unverified, why: "the message did not pass DMARC"}, nil
	}
	if r.End.Before(w.Now().Add(-w.Retention)) || r.End.After(w.Now().Add(early)) || r.End.Before(r.Begin) {
		return outcome{Result: status.Outdated, why: "its range is from " + r.Begin.UTC().Format(time.DateOnly) + " to " + r.End.UTC().Format(time.DateOnly)}, nil
	}
	switch err := w.Store.Add(ctx, r, origin); {
	case err == nil:
		return outcome{Result: status.Stored}, nil
	case errors.Is(err, received.ErrDuplicate):
		return outcome{Result: status.Duplicate}, nil
	case errors.Is(err, received.ErrQuota):
		return outcome{Result: status.OverLimit, why: err.Error()}, nil
	case errors.Is(err, received.ErrLarge):
		return outcome{Result: status.Unreadable, why: err.Error(), keep: true}, nil
	default:
		return outcome{}, err
	}
}

// setAside moves a message to Unread, and deletes the oldest messages there.
func (w *Worker) setAside(dir *os.Root, name string) error {
	aside, err := durable.OpenDir(w.Unread)
	if err != nil {
		return err
	}
	defer aside.Close()
	if err := os.Rename(filepath.Join(w.Spool, name), filepath.Join(w.Unread, name)); err != nil {
		return err
	}
	all, err := durable.List(aside)
	var sum int64
	for i, fi := range slices.Backward(all) {
		if sum += fi.Size(); sum > maxUnreadBytes || len(all)-i > maxUnread {
			if err := aside.Remove(fi.Name()); err != nil {
				return err
			}
		}
	}
	return err
}
