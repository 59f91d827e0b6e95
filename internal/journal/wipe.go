package journal

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"strconv"
	"time"
)

// SQLite leaves copies of messages where no reader finds them: in free pages, in the WAL, and in the unused part of a page whose messages
// moved to another page. PRAGMA secure_delete overwrites only deleted messages, not these copies.

const (
	// checkpointTimeout limits the time in which wipe tries to empty the WAL. While an attempt waits for a reader, it blocks the writer for
	// at most checkpointBusy, which is less than the writer's busyTimeout.
	checkpointTimeout = 10 * time.Second
	checkpointBusy    = 200 * time.Millisecond
	// wipeChunk is the maximum number of pages that one transaction overwrites.
	wipeChunk = 64
	// maxPages limits the pages of a journal that wipe can process. Below this limit of 64 GiB, the high byte of a page number differs from
	// the first byte of every page of a table or index.
	maxPages = 1 << 24
)

// errLogKept is the error of wipe if the WAL still contains deleted messages.
var errLogKept = errors.New("the messages are deleted, but journal.db-wal still has them: another program reads the journal\n" +
	"hint: run it again when that program has ended")

// errTooLarge is the error of wipe for a journal of 64 GiB or more.
var errTooLarge = errors.New("the messages are deleted, but the files may still have copies: the journal has 64 GiB or more")

// wipe removes the copies of deleted messages from the files. The connection must use immediate transactions.
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

// wipePages overwrites the unused parts of all pages.
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
	if pages >= maxPages {
		return errTooLarge
	}
	var unclean []int64
	for n := int64(2); n <= pages && ctx.Err() == nil; n++ { // the first page has the schema
		var page []byte
		if err := read.QueryRow(n).Scan(&page); errors.Is(err, sql.ErrNoRows) {
			break // the daemon has shrunk the file
		} else if err != nil {
			return err
		}
		if wipePage(n, page) {
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

// overwrite reads pages again and overwrites their unused parts, in one transaction.
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
		err := tx.QueryRowContext(ctx, "SELECT data FROM sqlite_dbpage WHERE pgno = ?", n).Scan(&page)
		if errors.Is(err, sql.ErrNoRows) || err == nil && !wipePage(n, page) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?", page, n); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// wipePage overwrites the unused parts of page number n if it is a page of a table or an index. It reports whether these parts were not
// empty. The format is described at https://sqlite.org/fileformat2.html#b_tree_pages. Other pages are not mistaken for such a page.
// Overflow pages and free-list pages begin with the high byte of a page number. Pointer map pages have fixed numbers.
func wipePage(n int64, page []byte) bool {
	const pointers = pageSize/5 + 1 // a page of the pointer map, and the pages that it describes
	if len(page) != pageSize || (n-2)%pointers == 0 {
		return false
	}
	head := 0
	switch page[0] {
	case 0x0a, 0x0d: // a leaf page of an index or of a table
		head = 8
	case 0x02, 0x05: // an inner page
		head = 12
	default:
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
	cells, content := head+2*number(3), number(5)
	if cells > content || content > len(page) {
		return false // damaged
	}
	wipe(cells, content)
	// The free blocks have ascending positions. Each free block begins with the position of the next block and with its own size.
	for at, last := number(1), content-1; at > last && at+4 <= len(page); at, last = number(at), at {
		if size := number(at + 2); at+size <= len(page) {
			wipe(at+4, at+size)
		}
	}
	return changed
}

// emptyLog writes the WAL into the database and empties the WAL.
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
