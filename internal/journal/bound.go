package journal

import (
	"errors"
	"os"
	"strconv"
	"time"
)

const (
	// chunk is how many messages one transaction deletes: some milliseconds.
	chunk = 200
	// some is how many chunks are deleted before mail's messages have their turn again, which is more than a batch of them brings,
	// and breath how long that is at the least: where journal.keep or max_size was made smaller there may be millions. To delete a
	// message costs no more than to write one, however slow the disk, so that those that come meanwhile have room to wait.
	some   = 8
	breath = 100 * time.Millisecond
	// chunks is how many go behind a batch at the most: one of few large messages may take the room of many small ones.
	chunks = 64
	// vacuum is how many free pages are given back in one step, and vacuums how many steps are done at a time.
	vacuum  = 256
	vacuums = 16
	// spare is the part of the bound that is left free, so that what is written between two looks fits.
	spare = 16
	// walRoom is what the log may take before it is taken into the database, with the shared memory: what stands in it by then,
	// and a transaction, in which each message writes to a page of each index and the entries fill some.
	walRoom = (walPages+6*batch+2*heavy/pageSize)*(pageSize+24) + 64<<10
	// largeRoom is the same for a large batch.
	largeRoom = walRoom + 6*(largeBatch-batch)*(pageSize+24)
)

// bound deletes the oldest messages until the files have their size again. Where that was made smaller it does a part, so that the
// database is smaller than the last time, and at least so many chunks: over says that there is more.
func (d *database) bound(most int64, least int) error {
	limit := most - most/spare - logRoom(most)
	for n := range chunks {
		used, err := d.used()
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
		if n, err := d.deleteOldest(1 << 62); err != nil || n == 0 {
			return err
		}
	}
	return nil
}

// logRoom is the room for the log in a journal that may take so much.
func logRoom(most int64) int64 {
	if most >= plenty {
		return largeRoom
	}
	return walRoom
}

// errHeld: the files would outgrow their bound.
var errHeld = errors.New("a program that reads the journal, and does not end, keeps its log from being taken into the database")

// fits says whether more may be written. The log grows for as long as somebody reads what stood in the database before it.
func (d *database) fits(most int64) error {
	for range 2 {
		used, err := d.used()
		if err != nil {
			return err
		}
		log, err := os.Stat(d.path + "-wal")
		if err != nil || log.Size() <= logRoom(most) || used+log.Size() <= most {
			return nil // no log is a small one
		}
		if _, err := d.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			return err
		}
	}
	return errHeld
}

// used is the size of the database without its free pages, in octets. Free pages are written again before the file grows.
func (d *database) used() (int64, error) {
	var pages, free int64
	if err := d.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		return 0, err
	}
	if err := d.QueryRow("PRAGMA freelist_count").Scan(&free); err != nil {
		return 0, err
	}
	return (pages - free) * pageSize, nil
}

// expire deletes what is older, and then gives the room back. Where there is much it does a part: behind says that there is more.
func (d *database) expire(before time.Time) error {
	d.behind = true
	n, err := int64(chunk), error(nil)
	for i := 0; n == chunk && i < some; i++ {
		if n, err = d.deleteOldest(before.UnixMicro()); err != nil {
			return err
		}
	}
	if n == chunk {
		return nil
	}
	for range vacuums {
		var free int64
		if err := d.QueryRow("PRAGMA freelist_count").Scan(&free); err != nil {
			return err
		}
		if free < vacuum {
			d.behind = false
			return nil
		}
		if _, err := d.Exec("PRAGMA incremental_vacuum(" + strconv.Itoa(vacuum) + ")"); err != nil {
			return err
		}
	}
	return nil
}

// deleteOldest deletes a chunk of messages with numbers below one, and what only they needed.
func (d *database) deleteOldest(below int64) (int64, error) {
	var oldest int64
	if err := d.QueryRow("SELECT coalesce(min(id), 0) FROM message").Scan(&oldest); err != nil {
		return 0, err
	}
	d.grace = graceOf(time.Duration(d.last-oldest) * time.Microsecond)
	tx, err := d.Begin()
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	r, err := tx.Exec("DELETE FROM message WHERE id IN (SELECT id FROM message WHERE id < ? ORDER BY id LIMIT ?)", below, chunk)
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(`DELETE FROM answer WHERE seen < (SELECT coalesce(min(id), 1 << 62) FROM message) / 1000000 - ?`, int64(d.grace/time.Second)); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(`DELETE FROM hour WHERE hour < (SELECT coalesce(min(id), 0) FROM message) / 3600000000`); err != nil {
		return 0, err
	}
	return n, tx.Commit()
}

// graceOf is how much longer than the messages an answer is kept, since it is noted only now and then that it is in use. Where mail
// that asks for much, and always for something else, has driven out what was older, it must be less than what is left.
func graceOf(span time.Duration) time.Duration { return min(2*refresh, span/4) }
