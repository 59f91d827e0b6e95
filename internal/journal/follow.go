package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// followInterval is the time between queries for new messages. The daemon writes at most five times a second.
const followInterval = 500 * time.Millisecond

// List passes the newest messages that match a filter to the function show, oldest first. The parameter most limits how many. List returns
// the number of the newest message in the journal at that time. Newer messages have greater numbers.
func (r *Reader) List(ctx context.Context, f Filter, most int, show func([]Entry) error) (last int64, err error) {
	_, newest, err := r.Covers(ctx) // this comes before the query, so that no message in between is missed
	if err != nil {
		return 0, err
	}
	if !newest.IsZero() {
		last = newest.UnixMicro()
	}
	if most == 0 {
		return last, nil
	}
	ids, err := r.IDs(ctx, f, most, false)
	if err != nil {
		return 0, err
	}
	slices.Reverse(ids)
	for some := range slices.Chunk(ids, page) {
		all, err := r.Entries(ctx, some)
		if err := errors.Join(show(all), err); err != nil {
			return 0, err
		}
		last = max(last, some[len(some)-1])
	}
	return last, nil
}

// Reading returns an error that names the path of the journal and wraps err. It returns nil if err is nil.
func Reading(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading %s: %w", path, err)
}

// Follower shows new messages as they arrive. It continues when the daemon restarts, and when a new journal replaces the old one.
type Follower struct {
	Path   string
	Open   func() (*Reader, error)
	Filter Filter
	Show   func([]Entry) error
	// Report is called once for each error. retries is true if the journal cannot be read and Run retries. It is false if only some entries
	// cannot be read.
	Report func(err error, retries bool)

	reader     *Reader     // nil: there is no journal at the moment
	opened     os.FileInfo // the file that reader reads
	lastFailed string
	lastUnread string
}

// Run first shows the newest messages, at most as many as the parameter most. Then it shows new messages until ctx ends or Show fails. It
// returns an error if Show fails, or the journal cannot be read at the start.
func (f *Follower) Run(ctx context.Context, most int) (err error) {
	f.opened, _ = os.Stat(f.Path) // Stat before Open, so that a replacement of the file is noticed
	if f.reader, err = f.Open(); err != nil {
		return err
	}
	defer f.close()
	if f.Filter.After, err = f.reader.List(ctx, f.Filter, most, f.Show); err != nil {
		return Reading(f.Path, err)
	}
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		if err := f.more(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// more shows the new messages. It returns an error only if Show fails.
func (f *Follower) more(ctx context.Context) error {
	if !f.ready(ctx) {
		return nil
	}
	last := f.Filter.After // at least up to this number, all messages were searched if no more are found
	if _, newest, err := f.reader.Size(ctx); err == nil {
		if last = newest.UnixMicro(); last < f.Filter.After {
			f.Filter.After = last // messages with times in the future were renumbered
		}
	}
	for ctx.Err() == nil {
		ids, err := f.reader.IDs(ctx, f.Filter, page, true)
		if err == nil && len(ids) == 0 {
			f.Filter.After = max(f.Filter.After, last) // a filter with Content does not read the same entries again
			return nil
		}
		var all []Entry
		if err == nil {
			all, err = f.reader.Entries(ctx, ids)
		}
		if len(all) > 0 {
			if err := f.Show(all); err != nil {
				return err
			}
			f.Filter.After = all[len(all)-1].ID
			f.lastFailed = ""
		}
		if err != nil {
			f.fail(ctx, err)
			return nil
		}
		f.Filter.After = ids[len(ids)-1]
		if err := f.reader.Unread(); err != nil && err.Error() != f.lastUnread {
			f.lastUnread = err.Error()
			f.Report(Reading(f.Path, err), false)
		}
	}
	return nil
}

// ready opens the journal again if another file has replaced it.
func (f *Follower) ready(ctx context.Context) bool {
	now, err := os.Stat(f.Path)
	if err != nil {
		f.close() // the daemon will create the journal again
		return false
	}
	if f.reader != nil && !f.reader.Frozen && f.opened != nil && os.SameFile(f.opened, now) {
		return true
	}
	f.close()
	r, err := f.Open()
	if err != nil {
		f.fail(ctx, err)
		return false
	}
	f.reader, f.opened = r, now
	return true
}

// fail reports an error once, unless ctx has ended. The next call of more tries again.
func (f *Follower) fail(ctx context.Context, err error) {
	f.close()
	if ctx.Err() == nil && err.Error() != f.lastFailed {
		f.lastFailed = err.Error()
		f.Report(Reading(f.Path, err), true)
	}
}

func (f *Follower) close() {
	if f.reader != nil {
		f.reader.Close()
		f.reader = nil
	}
}
