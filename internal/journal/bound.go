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
	// deleteChunk is how many messages or answers one transaction deletes. It takes some milliseconds.
	deleteChunk = 200
	// deleteSteps is the number of chunks that are deleted before new messages are written. It is more than a batch adds. deletePause is
	// the time between two rounds of deletions. After journal.keep or max_size was reduced, there may be millions of messages to delete.
	// Deleting a message takes no longer than writing one, so the queue does not fill up even if the disk is slow.
	deleteSteps = 8
	deletePause = 100 * time.Millisecond
	// maxSteps limits the chunks that are deleted after a batch. A few large messages may need the space of many small ones.
	maxSteps = 64
	// vacuumPages is the number of free pages that one step returns to the file system. vacuumSteps is the number of steps at a time.
	vacuumPages = 256
	vacuumSteps = 16
	// max_size/spareShare is left free for the writes between two checks.
	spareShare = 16
	// max_size/answerShare is the limit for answers. It is enough for the recent answers of ordinary mail. Answers beyond this limit are
	// deleted before messages, because they are probably from a sender who tries to fill the journal.
	answerShare = 8
	// walRoom is the maximum size of the write-ahead log (WAL) and the shared memory file at a checkpoint. It includes the pages until the
	// checkpoint is due, and one transaction.
	walRoom = walPages*(pageSize+24) + batchBytes + maxRowLog + 64<<10
	// largeRoom is walRoom for a large batch.
	largeRoom = walRoom + batchBytes
	// maxRowLog is the maximum number of bytes that one message adds to the WAL. A batch may exceed its limit by this amount.
	maxRowLog = (pagesOfRow + maxMessage/(large*5/4+textRow)*pagesOfText) * pageSize
)

// bound deletes until the files are within the limit most, in bytes. It first deletes the least recently used answers, until these are
// within their share, and then the oldest messages. If there is much to delete, because max_size was reduced, one call deletes only a part.
// It deletes no fewer than least chunks, and continues until the database is smaller than after the last call. bound sets over if there is
// more to delete.
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
		deleted := int64(0)
		if d.answerCost > limit/answerShare {
			deleted, err = d.deleteAnswers(ctx)
		}
		if deleted == 0 && err == nil {
			deleted, err = d.deleteOldest(ctx, 1<<62)
		}
		if err != nil || deleted == 0 {
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

// fits returns errHeld if no more may be written. The WAL grows while a read transaction needs an older state of the database.
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

// expire deletes the messages before a time, and then returns the free pages to the file system. If there is much to delete, one call
// deletes only a part and sets behind.
func (d *database) expire(ctx context.Context, before time.Time) error {
	d.behind = true
	n, err := int64(deleteChunk), error(nil)
	for i := 0; n == deleteChunk && i < deleteSteps; i++ {
		if n, err = d.deleteOldest(ctx, before.UnixMicro()); err != nil {
			return err
		}
	}
	if n == deleteChunk {
		return nil
	}
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

// deleteOldest deletes a chunk of messages with numbers below a limit, and the answers and hours that no other message uses. It returns
// the number of messages deleted.
func (d *database) deleteOldest(ctx context.Context, below int64) (int64, error) {
	var oldest int64
	if err := d.db.QueryRowContext(ctx, "SELECT coalesce(min(id), 0) FROM message").Scan(&oldest); err != nil {
		return 0, err
	}
	d.grace = graceOf(time.Duration(d.last-oldest) * time.Microsecond)
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	r, err := tx.ExecContext(ctx, "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE id < ? ORDER BY id LIMIT ?)", below, deleteChunk)
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	if err != nil {
		return 0, err
	}
	_, cost, err := d.dropAnswers(ctx, tx, `seen < (SELECT coalesce(min(id), 1 << 62) FROM message) / 1000000 - ?`, int64(d.grace/time.Second))
	if err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM hour WHERE hour < (SELECT coalesce(min(id), 0) FROM message) / 3600000000`); err != nil {
		return 0, err
	}
	return n, d.commit(ctx, tx, d.answerCost-cost)
}

// deleteAnswers deletes a chunk of the least recently used answers. The messages that refer to them are kept.
func (d *database) deleteAnswers(ctx context.Context) (int64, error) {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	n, cost, err := d.dropAnswers(ctx, tx, "hash IN (SELECT hash FROM answer ORDER BY seen LIMIT ?)", deleteChunk)
	if err != nil {
		return 0, err
	}
	return n, d.commit(ctx, tx, d.answerCost-cost)
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

// graceOf returns how much longer than messages an answer is kept. The grace is needed because the use of an answer is noted only once in
// each refresh interval. span is the time that the messages cover. After a flood span may be short, and the grace must then be shorter.
func graceOf(span time.Duration) time.Duration { return min(2*refresh, span/4) }
