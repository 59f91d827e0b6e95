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
	// deleteChunk is how many messages or answers one transaction deletes: some milliseconds.
	deleteChunk = 200
	// deleteSteps is how many chunks are deleted before new messages are written, more than a batch of them brings, and
	// deletePause the time in between: after journal.keep or max_size was reduced there may be millions to delete. To delete a
	// message costs no more than to write one, however slow the disk, so that new ones have room in the queue.
	deleteSteps = 8
	deletePause = 100 * time.Millisecond
	// maxSteps is how many chunks are deleted after a batch at most: a few large messages may need the space of many small ones.
	maxSteps = 64
	// vacuumPages is how many free pages are returned in one step, and vacuumSteps how many steps are taken at a time.
	vacuumPages = 256
	vacuumSteps = 16
	// spareShare is the part of the bound that is left free, so that what is written between two checks fits.
	spareShare = 16
	// answerShare is the part of the bound, one in answerShare, below which answers are not deleted before messages: it holds the
	// recent answers of ordinary mail. Answers beyond it are likely to be from a sender who fills the journal.
	answerShare = 8
	// walRoom is the size that the log, with the shared memory, may have before it is written into the database: what is in it by
	// then, and a transaction.
	walRoom = walPages*(pageSize+24) + batchBytes + maxRowLog + 64<<10
	// largeRoom is the same for a large batch.
	largeRoom = walRoom + batchBytes
	// maxRowLog is how many bytes one message adds to the log at most: a batch ends only after the message that exceeds its bound.
	maxRowLog = (pagesOfRow + maxMessage/(large*5/4+textRow)*pagesOfText) * pageSize
)

// bound deletes until the files have their size again: the answers that were not used for the longest time, then, when no more of
// them are left than their share, the oldest messages. After max_size was reduced it does a part: the database becomes smaller
// than it was the last time, by at least so many chunks; over reports that there is more to delete.
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

// logRoom returns the room in bytes for the log of a journal with a max_size.
func logRoom(most int64) int64 {
	if most >= largeJournal {
		return largeRoom
	}
	return walRoom
}

// errHeld is the error of a write that would make the files larger than their bound.
var errHeld = errors.New("a program that reads the journal, and does not end, keeps its log from being taken into the database")

// fits returns errHeld if no more may be written. The log grows for as long as a program reads an older state of the database.
func (d *database) fits(ctx context.Context, most int64) error {
	for range 2 {
		used, err := used(ctx, d.db)
		if err != nil {
			return err
		}
		log, err := os.Stat(d.path + "-wal")
		if err != nil || log.Size() <= logRoom(most) || used+log.Size() <= most {
			return nil // no log is a small one
		}
		if _, err := d.db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			return err
		}
	}
	return errHeld
}

// used returns the size of a database in bytes without its free pages, which are used before the file grows.
func used(ctx context.Context, db *sql.DB) (int64, error) {
	var pages int64
	err := db.QueryRowContext(ctx, "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count").Scan(&pages)
	return pages * pageSize, err
}

// expire deletes older messages and then returns the free pages to the file system. It does a part of it if there is much to
// delete: behind reports that there is more.
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

// deleteOldest deletes a chunk of messages with numbers below a limit, with the answers and hours that only they used.
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

// deleteAnswers deletes a chunk of the answers that were not used for the longest time. The messages that refer to them stay.
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

// commit commits tx and notes answerCost, the bytes that all answers take after it.
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

// readAnswerCost reads the bytes that all answers take, and computes them for a journal of an earlier version.
func (d *database) readAnswerCost(ctx context.Context) error {
	err := d.db.QueryRowContext(ctx, "SELECT value FROM note WHERE name = 'answer_cost'").Scan(&d.answerCost)
	if errors.Is(err, sql.ErrNoRows) {
		err = d.db.QueryRowContext(ctx, "SELECT coalesce(sum(octet_length(text) * 5 / 4 + ?), 0) FROM answer", textRow).Scan(&d.answerCost)
	}
	return err
}

// graceOf returns how much longer than the messages an answer is kept, because its use is noted only now and then. span is the
// time that the messages cover: if a flood of answers displaced older messages, the grace must be shorter than what is left.
func graceOf(span time.Duration) time.Duration { return min(2*refresh, span/4) }
