package journal

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strconv"
	"time"
)

const (
	// deleteChunk is the maximum number of answers that one transaction deletes. It also limits the messages that one transaction deletes
	// from a table of version 1. Such a transaction takes some milliseconds.
	deleteChunk = 200
	// deleteSteps is the number of transactions that delete something before new messages are written. morePause is the time between two
	// rounds of background work. There may be much to delete after journal.keep or max_size was reduced, and much to index after a busy
	// time. New messages are written in between, so the queue does not fill up even if the disk is slow.
	deleteSteps = 8
	morePause   = 100 * time.Millisecond
	// maxSteps limits the transactions that delete something after a batch.
	maxSteps = 64
	// vacuumPages is the number of free pages that one step returns to the file system. vacuumSteps is the number of steps at a time.
	vacuumPages = 256
	vacuumSteps = 16
	// max_size/spareShare is left free for the writes between two checks.
	spareShare = 16
	// max_size/answerShare is the limit for answers. It is enough for the recent answers of ordinary mail. Answers beyond this limit are
	// deleted before any message, because such answers are probably from a sender who tries to fill the journal.
	answerShare = 8
	// walRoom is the maximum size of the write-ahead log (WAL) and the shared memory file at a checkpoint. This is enough for the pages
	// that are written before the checkpoint is due, and for one more transaction.
	walRoom = walPages*(pageSize+24) + batchBytes + maxRowLog + 64<<10
	// largeRoom is walRoom for a large batch.
	largeRoom = walRoom + batchBytes
	// maxRowLog is the maximum number of bytes that one message adds to the WAL. A batch may exceed its limit by this amount.
	maxRowLog = (pagesOfRow + maxMessage/(large*5/4+textRow)*pagesOfText) * pageSize
)

// bound deletes data until the size of the files, in bytes, is at most the parameter most. It first deletes the least recently used
// answers, until the answers are within their share. Then it deletes the oldest chunks. If there is much to delete, because max_size was
// reduced, one call deletes only a part. One call makes at least as many steps as the parameter least, and continues until the database is
// smaller than after the last call. If there is more to delete, bound sets the field over.
func (d *database) bound(ctx context.Context, most int64, least int) error {
	limit := most - most/spareShare - logRoom(most)
	for n := range maxSteps {
		used, err := used(ctx, d.db)
		if err != nil {
			return err
		}
		if d.size == 0 {
			d.size = used
		}
		d.over = used > limit
		if !d.over || n >= least && used < d.size {
			d.size = used
			return nil
		}
		deleted := false
		if d.answerCost > limit/answerShare {
			deleted, err = d.deleteAnswers(ctx, 1<<62)
		}
		if !deleted && err == nil {
			deleted, err = d.deleteOldest(ctx, 1<<62)
		}
		if err != nil || !deleted {
			return err
		}
	}
	return nil
}

// logRoom returns the maximum size of the WAL, in bytes, for a max_size.
func logRoom(most int64) int64 {
	if most >= largeJournal {
		return largeRoom
	}
	return walRoom
}

// errHeld is the error of a write that would make the files larger than max_size.
var errHeld = errors.New("the journal is paused at max_size: a long read transaction of another program blocks the WAL checkpoint")

// fits returns errHeld if nothing more may be written to the journal. The WAL grows while a read transaction needs an older state of the
// database.
func (d *database) fits(ctx context.Context, most int64) error {
	for range 2 {
		used, err := used(ctx, d.db)
		if err != nil {
			return err
		}
		log, err := os.Stat(d.path + "-wal")
		if err != nil || log.Size() <= logRoom(most) || used+log.Size() <= most {
			return nil // a missing WAL has no bytes
		}
		if _, err := d.db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			return err
		}
	}
	return errHeld
}

// used returns the size of a database in bytes without its free pages. SQLite uses the free pages before the file grows.
func used(ctx context.Context, db *sql.DB) (int64, error) {
	var pages int64
	err := db.QueryRowContext(ctx, "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count").Scan(&pages)
	return pages * pageSize, err
}

// expire deletes the messages before a time, and the answers that no remaining message uses. Then it returns the free pages to the file
// system. If there is much to delete, one call deletes only a part and sets the field behind.
func (d *database) expire(ctx context.Context, before time.Time) error {
	d.behind = true
	for range deleteSteps {
		deleted, err := d.deleteOldest(ctx, before.UnixMicro())
		if !deleted && err == nil {
			deleted, err = d.deleteUnused(ctx)
		}
		if err != nil {
			return err
		}
		if !deleted {
			return d.vacuum(ctx)
		}
	}
	return nil
}

// vacuum returns free pages to the file system, in steps. After the last step, it resets the field behind.
func (d *database) vacuum(ctx context.Context) error {
	for range vacuumSteps {
		var free int64
		if err := d.db.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free); err != nil {
			return err
		}
		if free < vacuumPages {
			d.behind = false
			return nil
		}
		if _, err := d.db.ExecContext(ctx, "PRAGMA incremental_vacuum("+strconv.Itoa(vacuumPages)+")"); err != nil {
			return err
		}
	}
	return nil
}

// deleteOldest drops the oldest sealed chunk if the numbers of all its messages are below a limit. The table of version 1 has messages of
// many days, so deleteOldest does not drop that table but deletes some of its messages. It also changes the hourly counts of these
// messages. It reports whether it deleted any message.
func (d *database) deleteOldest(ctx context.Context, below int64) (deleted bool, err error) {
	if len(d.chunks) == 0 && d.open != nil && d.open.messages > 0 && d.last < below {
		if err := d.sealNow(ctx); err != nil {
			return false, err
		}
	}
	if len(d.chunks) == 0 {
		return false, nil
	}
	oldest := d.chunks[0]
	if oldest.old {
		return d.deleteOldRows(ctx, oldest, below)
	}
	if oldest.last >= below {
		return false, nil
	}
	err = d.transact(ctx, func(tx *sql.Tx) error {
		if err := subtractLastHour(ctx, tx, oldest); err != nil {
			return err
		}
		if err := dropChunk(ctx, tx, oldest); err != nil {
			return err
		}
		return deleteHours(ctx, tx, d.second())
	})
	if err == nil {
		d.chunks = d.chunks[1:]
	}
	return err == nil, err
}

// subtractLastHour subtracts the messages of a chunk from the counts of its last hour, of which the next chunk may have messages, too.
func subtractLastHour(ctx context.Context, tx *sql.Tx, c chunk) error {
	hour := c.last / hourMicros
	count := map[int64]int64{}
	rows, err := tx.QueryContext(ctx, "SELECT outcome, count(*) FROM "+c.table()+" WHERE id >= ? GROUP BY outcome", hour*hourMicros)
	if err := each(rows, err, func() error {
		var outcome, n int64
		err := rows.Scan(&outcome, &n)
		count[outcome] = n
		return err
	}); err != nil {
		return err
	}
	for outcome, n := range count {
		if _, err := tx.ExecContext(ctx, addToHour, hour, outcome, -n); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM hour WHERE n <= 0")
	return err
}

// second returns the lowest number that remains when the oldest chunk is dropped.
func (d *database) second() int64 {
	switch {
	case len(d.chunks) > 1:
		return d.chunks[1].first
	case d.open != nil:
		return d.open.first
	}
	return d.last + 1
}

func deleteHours(ctx context.Context, tx *sql.Tx, oldest int64) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM hour WHERE hour < ?", oldest/hourMicros)
	return err
}

// deleteOldRows deletes messages of the table of version 1, and drops it after the last one.
func (d *database) deleteOldRows(ctx context.Context, c chunk, below int64) (deleted bool, err error) {
	empty := false
	err = d.transact(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE id < ? ORDER BY id LIMIT ?)", below, deleteChunk)
		if err != nil {
			return err
		}
		n, err := r.RowsAffected()
		if err != nil {
			return err
		}
		var oldest sql.NullInt64
		if err := tx.QueryRowContext(ctx, "SELECT min(id) FROM message").Scan(&oldest); err != nil {
			return err
		}
		if deleted = n > 0 || !oldest.Valid; oldest.Valid {
			return deleteHours(ctx, tx, oldest.Int64)
		}
		empty = true
		if err := dropChunk(ctx, tx, c); err != nil {
			return err
		}
		return deleteHours(ctx, tx, d.second())
	})
	if err == nil && empty {
		d.chunks = d.chunks[1:]
	}
	return deleted && err == nil, err
}

// deleteUnused deletes some answers that no message uses any more, and reports whether it deleted any.
func (d *database) deleteUnused(ctx context.Context) (deleted bool, err error) {
	oldest := d.last
	switch {
	case len(d.chunks) > 0 && d.chunks[0].old:
		if err := d.db.QueryRowContext(ctx, "SELECT coalesce(min(id), ?) FROM message", oldest).Scan(&oldest); err != nil {
			return false, err
		}
	case len(d.chunks) > 0:
		oldest = d.chunks[0].first
	case d.open != nil:
		oldest = d.open.first
	}
	grace := graceOf(time.Duration(d.last-oldest) * time.Microsecond)
	if grace < d.grace && d.oldGraceUntil < d.last { // the use of an answer was noted at the interval of the former grace
		d.oldGrace, d.oldGraceUntil = d.grace, d.last+int64(d.grace/time.Microsecond)
	}
	d.grace = grace
	if d.last < d.oldGraceUntil {
		grace = max(grace, d.oldGrace)
	}
	return d.deleteAnswers(ctx, oldest/1e6-int64(grace/time.Second))
}

// deleteAnswers deletes some of the answers that were last used before a given Unix time, the least recently used first. It reports whether
// it deleted any. The messages that refer to them are kept.
func (d *database) deleteAnswers(ctx context.Context, before int64) (deleted bool, err error) {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback()
	n, cost, err := d.dropAnswers(ctx, tx, "hash IN (SELECT hash FROM answer WHERE seen < ? ORDER BY seen LIMIT ?)", before, deleteChunk)
	if err != nil || n == 0 {
		return false, err
	}
	return true, d.commit(ctx, tx, d.answerCost-cost)
}

// dropAnswers deletes answers and returns their number and their cost in bytes. They are removed from d.stored.
func (d *database) dropAnswers(ctx context.Context, tx *sql.Tx, where string, args ...any) (n, cost int64, err error) {
	rows, err := tx.QueryContext(ctx, "DELETE FROM answer WHERE "+where+" RETURNING hash, octet_length(text)", args...)
	err = each(rows, err, func() error {
		var sum int64
		var size int
		err := rows.Scan(&sum, &size)
		d.stored.remove(sum)
		n++
		cost += int64(textCost(size))
		return err
	})
	return n, cost, err
}

// commit commits tx and stores answerCost, the bytes that all answers take afterwards.
func (d *database) commit(ctx context.Context, tx *sql.Tx, answerCost int64) error {
	answerCost = max(answerCost, 0)
	if answerCost != d.answerCost {
		if _, err := tx.ExecContext(ctx, "INSERT INTO note (name, value) VALUES ('answer_cost', ?) ON CONFLICT DO UPDATE SET value = excluded.value", answerCost); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	d.answerCost = answerCost
	return nil
}

// readAnswerCost reads the stored size of all answers, in bytes. It computes the size if an earlier version did not store it.
func (d *database) readAnswerCost(ctx context.Context) error {
	err := d.db.QueryRowContext(ctx, "SELECT value FROM note WHERE name = 'answer_cost'").Scan(&d.answerCost)
	if errors.Is(err, sql.ErrNoRows) {
		err = d.db.QueryRowContext(ctx, "SELECT coalesce(sum(octet_length(text) * 5 / 4 + ?), 0) FROM answer", textRow).Scan(&d.answerCost)
	}
	return err
}

// graceOf returns how much longer an answer is kept than a message. The grace is needed because the use of an answer is noted only once in
// each refresh interval. span is the time that the messages cover. After a flood of mail, span may be short. The grace must then be
// shorter, too.
func graceOf(span time.Duration) time.Duration { return min(2*refresh, span/4) }
