package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"time"
)

// SQLite leaves copies of messages where no reader finds them: in free pages, in the unused part of a page when it moves messages to another
// one, and in the log. PRAGMA secure_delete overwrites only what is deleted, not these copies.

const (
	// checkpointTimeout is how long wipe tries to empty the log. While an attempt waits for a reader, it blocks the writer for checkpointBusy at
	// most: less than the writer's busyTimeout.
	checkpointTimeout = 10 * time.Second
	checkpointBusy    = 200 * time.Millisecond
	// wipeChunk is how many pages one transaction overwrites.
	wipeChunk = 64
)

// errLogKept is the error of wipe if the log still has what was deleted.
var errLogKept = errors.New("the messages are deleted, but the file journal.db-wal still has them: another program reads the journal\nhint: run it again when that program has ended")

// wipe removes the copies of deleted messages from the files. The connection has to begin transactions as immediate ones.
func (r *Reader) wipe(ctx context.Context) error {
	var free int
	if err := r.row(ctx, []any{&free}, "PRAGMA freelist_count"); err != nil {
		return err
	}
	for ; free > 0; free -= vacuumPages {
		if _, err := r.db.ExecContext(ctx, "PRAGMA incremental_vacuum("+strconv.Itoa(vacuumPages)+")"); err != nil {
			return err
		}
	}
	if err := r.wipePages(ctx); err != nil {
		return err
	}
	return r.emptyLog(ctx)
}

// wipePages overwrites the unused parts of all pages with messages.
func (r *Reader) wipePages(ctx context.Context) error {
	read, err := r.db.PrepareContext(ctx, "SELECT data FROM sqlite_dbpage WHERE pgno = ?")
	if err != nil {
		return err
	}
	defer read.Close()
	var pages int64
	if err := r.row(ctx, []any{&pages}, "PRAGMA page_count"); err != nil {
		return err
	}
	var unclean []int64
	for n := int64(2); n <= pages && ctx.Err() == nil; n++ { // the first page has the schema
		var page []byte
		if err := read.QueryRow(n).Scan(&page); err != nil {
			break // the daemon has made the file smaller
		}
		if wipePage(page) {
			unclean = append(unclean, n)
		}
		if len(unclean) == wipeChunk {
			if err := r.overwrite(ctx, unclean); err != nil {
				return err
			}
			unclean = unclean[:0]
		}
	}
	if err := r.overwrite(ctx, unclean); err != nil {
		return err
	}
	return ctx.Err()
}

// overwrite overwrites the unused parts of pages, as they are now, in one transaction.
func (r *Reader) overwrite(ctx context.Context, pages []int64) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, n := range pages {
		var page []byte
		if err := tx.QueryRowContext(ctx, "SELECT data FROM sqlite_dbpage WHERE pgno = ?", n).Scan(&page); err != nil || !wipePage(page) {
			continue
		}
		if _, err := tx.ExecContext(ctx, "UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?", page, n); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// wipePage overwrites the unused parts of a page if it is a leaf of a table, and reports whether they were not empty. The format:
// https://sqlite.org/fileformat2.html#b_tree_pages. A page of another kind does not begin with the byte of such a leaf, except a
// free page, all of which is unused.
func wipePage(page []byte) bool {
	const leaf, head = 0x0d, 8
	if len(page) != pageSize || page[0] != leaf {
		return false
	}
	number := func(at int) int { return int(binary.BigEndian.Uint16(page[at:])) }
	changed := false
	wipe := func(from, to int) {
		for i := from; i < to; i++ {
			changed = changed || page[i] != 0
			page[i] = 0
		}
	}
	if cells, content := head+2*number(3), number(5); cells <= content && content <= len(page) {
		wipe(cells, content)
	}
	// The free blocks have ascending positions. Each begins with the position of the next one and its own size.
	for at, last := number(1), 0; at > last && at+4 <= len(page); at, last = number(at), at {
		if size := number(at + 2); at+size <= len(page) {
			wipe(at+4, at+size)
		}
	}
	return changed
}

// emptyLog writes the log into the database and empties it.
func (r *Reader) emptyLog(ctx context.Context) error {
	if _, err := r.db.ExecContext(ctx, "PRAGMA busy_timeout = "+strconv.FormatInt(checkpointBusy.Milliseconds(), 10)); err != nil {
		return err
	}
	for until := time.Now().Add(checkpointTimeout); ; {
		var busy, log, done int
		err := r.row(ctx, []any{&busy, &log, &done}, "PRAGMA wal_checkpoint(TRUNCATE)")
		if err != nil || busy == 0 {
			return err
		}
		if time.Now().After(until) {
			return errLogKept
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(checkpointBusy):
		}
	}
}
