package journal

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// open opens the database. One that is broken is put aside and a new one begun.
func (j *Journal) open() {
	var db *database
	err := j.harm
	if err == nil {
		db, err = j.begin()
	}
	if broken(err) {
		aside := j.options.Path + ".broken"
		j.options.Log.Error("the journal is broken; it is put aside and a new one begun", "file", j.options.Path, "aside", aside, "error", err)
		if err = j.putAside(aside); err == nil {
			j.harm = nil
			db, err = j.begin()
		}
	}
	if err != nil {
		j.failed("opening", err)
		return
	}
	j.db = db
}

func (j *Journal) begin() (*database, error) {
	db, err := create(j.options.Path)
	if err != nil {
		return nil, err
	}
	if err := db.begun(j.options.Log, j.options.Path); err != nil {
		db.close()
		return nil, err
	}
	return db, nil
}

// putAside keeps the newest broken journal for whoever wants to look at it. Its log goes: it would be taken into the new one.
func (j *Journal) putAside(aside string) error {
	err := os.Rename(j.options.Path, aside)
	for _, suffix := range []string{"-wal", "-shm"} {
		if e := os.Remove(j.options.Path + suffix); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// broken says that the file is no journal, or no longer: nothing will mend that.
func broken(err error) bool {
	var e *sqlite.Error
	if errors.As(err, &e) {
		code := e.Code() & 0xff // the primary one
		return code == lib.SQLITE_CORRUPT || code == lib.SQLITE_NOTADB
	}
	return errors.Is(err, errForeign) || errors.Is(err, errOverwritten)
}

// failed has the journal rest; one that is broken is put aside with the next message.
func (j *Journal) failed(doing string, err error) {
	j.rest = j.options.Now().Add(again)
	j.options.Log.Error("the journal cannot be written; mail goes on without it", "doing", doing, "file", j.options.Path, "error", err)
	if j.db != nil && broken(err) {
		j.abandon(err)
	}
}

func (j *Journal) abandon(harm error) {
	j.db.close()
	j.db, j.harm, j.rest = nil, harm, time.Time{}
}

// ready opens the database where that is due.
func (j *Journal) ready() bool {
	if j.options.Now().Before(j.rest) {
		return false
	}
	if j.db != nil && j.db.gone() {
		j.options.Log.Error("the journal was taken away; a new one is begun", "file", j.options.Path)
		j.db.close()
		j.db = nil
	}
	if j.db != nil && j.db.overwritten() {
		j.abandon(errOverwritten)
	}
	if j.db == nil {
		j.open()
	}
	return j.db != nil
}

// write keeps a batch, or loses it.
func (j *Journal) write(batch []row) {
	limits := j.limits.Load()
	err := j.db.fits(limits.MaxSize)
	for n := 0; len(batch) > 0 && err == nil; batch = batch[n:] {
		n, err = j.db.insert(batch)
	}
	j.lose(len(batch))
	if err != nil {
		j.db.forget() // what was put away with the batch is rolled back
		j.failed("writing", err)
		return
	}
	least := some
	if len(j.entries) > room/4 { // mail's messages first: the disk is slow
		least = 1
	}
	if err := j.db.bound(limits.MaxSize, least); err != nil {
		j.failed("keeping it small", err)
		return
	}
	if j.db.over && j.more == nil {
		j.more = time.After(breath)
	}
}

// tidy deletes what is too old or too much, bit by bit where there is much, so that mail's messages have their turn in between.
func (j *Journal) tidy() {
	j.more = nil
	now := j.options.Now()
	steady := j.steady(now)
	if !j.ready() {
		return
	}
	limits := j.limits.Load()
	before := time.Unix(0, 0) // nothing is so old; but room is given back
	if steady >= sure {
		before = now.Add(-limits.Keep)
	}
	err := j.db.fits(limits.MaxSize)
	if err == nil {
		err = j.db.expire(before)
	}
	if err == nil && steady >= settled {
		err = j.db.bringBack(now)
	}
	if err == nil {
		err = j.db.bound(limits.MaxSize, some)
	}
	if err != nil {
		j.failed("deleting what is old", err)
		return
	}
	if j.db.behind || j.db.over {
		j.more = time.After(breath)
	}
}

// insert writes a batch in one transaction, or its beginning where it is heavy, and says how many of it are kept.
func (d *database) insert(batch []row) (n int, err error) {
	tx, err := d.Begin()
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	added := map[Outcome]int64{}
	hours := map[[2]int64]int64{}
	last, octets := d.last, 0
	add, keep := tx.Stmt(d.add), tx.Stmt(d.keep)
	for n < len(batch) && octets <= heavy {
		r := &batch[n]
		n++
		last = max(last+1, r.at.UnixMicro())
		outcome, err := d.outcome(tx, added, r.outcome)
		if err != nil {
			return 0, err
		}
		for _, t := range r.texts {
			if _, err := keep.Exec(t.sum, t.text, last/1e6); err != nil {
				return 0, err
			}
			octets += len(t.text)
		}
		if _, err := add.Exec(last, r.queue, r.mid, r.domain, r.client, outcome, r.entry); err != nil {
			return 0, err
		}
		octets += len(r.entry)
		hours[[2]int64{last / hourMicros, outcome}]++ // as the numbers are: it goes with them
	}
	for at, count := range hours {
		if _, err := tx.Stmt(d.count).Exec(at[0], at[1], count); err != nil {
			return 0, err
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	d.last = last
	for o, id := range added {
		d.outcomes[o] = id
	}
	return n, nil
}

// outcome is the number of a combination.
func (d *database) outcome(tx *sql.Tx, added map[Outcome]int64, o Outcome) (int64, error) {
	if id, ok := d.outcomes[o]; ok {
		return id, nil
	}
	if id, ok := added[o]; ok {
		return id, nil
	}
	r, err := tx.Exec("INSERT INTO outcome (role, verdict, spf, dkim, dmarc, arc, observed) VALUES (?,?,?,?,?,?,?)", o.Role, o.Verdict, o.SPF, o.DKIM, o.DMARC, o.ARC, o.Observed)
	if err != nil {
		return 0, fmt.Errorf("an outcome: %w", err)
	}
	id, err := r.LastInsertId()
	added[o] = id
	return id, err
}
