package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"signpost/internal/config"
	"signpost/internal/journal"
)

// followEvery is how often it is asked for new messages; the daemon writes five times a second at the most.
const followEvery = 500 * time.Millisecond

// follower shows what comes. The daemon may end and begin, and the journal be put aside for a new one.
type follower struct {
	conf   *config.Config
	reader *journal.Reader // nil: there is none at the moment
	opened os.FileInfo     // the file that reader reads
	filter journal.Filter
	show   func([]journal.Entry) error
	stderr io.Writer
	said   string // the failure that was told last
	unread string // what could not be read, as it was told last
}

// run goes on until ctx ends, or nobody reads any more.
func (f *follower) run(ctx context.Context) error {
	defer f.close()
	tick := time.NewTicker(followEvery)
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

// more shows what has come. Only that it cannot be shown ends the following.
func (f *follower) more(ctx context.Context) error {
	const page = 500
	if !f.ready() {
		return nil
	}
	if _, newest, err := f.reader.Size(ctx); err == nil && newest.UnixMicro() < f.filter.After {
		f.filter.After = newest.UnixMicro() // those that came while the clock was ahead have other numbers now
	}
	for ctx.Err() == nil {
		ids, err := f.reader.IDs(ctx, f.filter, page, true)
		if err == nil && len(ids) == 0 {
			return nil
		}
		var all []journal.Entry
		if err == nil {
			all, err = f.reader.Entries(ctx, ids)
		}
		if len(all) > 0 {
			if err := f.show(all); err != nil {
				return err
			}
			f.filter.After = all[len(all)-1].ID
			f.said = ""
		}
		if err != nil {
			f.fail(ctx, err)
			return nil
		}
		f.filter.After = ids[len(ids)-1]
		if err := f.reader.Unread(); err != nil && err.Error() != f.unread {
			f.unread = err.Error()
			fmt.Fprintf(f.stderr, "signpost: %s\n", printableLines(reading(f.conf, err).Error()))
		}
	}
	return nil
}

// ready opens the journal again where it is another file than before.
func (f *follower) ready() bool {
	path := f.conf.JournalFile()
	now, err := os.Stat(path)
	if err != nil {
		f.close() // it comes again with the daemon
		return false
	}
	if f.reader != nil && !f.reader.Frozen && f.opened != nil && os.SameFile(f.opened, now) {
		return true
	}
	f.close()
	r, err := readJournal(f.conf)
	if err != nil {
		f.fail(context.Background(), err)
		return false
	}
	f.reader, f.opened = r, now
	return true
}

// fail says it once, and tries again at the next look.
func (f *follower) fail(ctx context.Context, err error) {
	f.close()
	if ctx.Err() == nil && err.Error() != f.said {
		f.said = err.Error()
		fmt.Fprintf(f.stderr, "signpost: %s; trying again\n", printableLines(reading(f.conf, err).Error()))
	}
}

func (f *follower) close() {
	if f.reader != nil {
		f.reader.Close()
		f.reader = nil
	}
}
