package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// open opens the database. If the database is damaged, open renames it and creates a new one.
func (j *Journal) open() {
	ctx, cancel := context.WithTimeout(context.Background(), createTimeout)
	defer cancel()
	var db *database
	err := j.damage
	if err == nil {
		db, err = j.openDatabase(ctx)
	}
	if broken(err) {
		aside := j.options.Path + ".broken"
		j.options.Log.Error("the journal is damaged; it is renamed and a new one is created", "file", j.options.Path, "aside", aside, "error", err)
		if err = j.putAside(aside); err == nil {
			j.damage = nil
			db, err = j.openDatabase(ctx)
		}
	}
	if err != nil {
		j.failed("opening", err)
		return
	}
	j.db = db
}

func (j *Journal) openDatabase(ctx context.Context) (*database, error) {
	db, err := create(ctx, j.options.Path)
	if err != nil {
		return nil, err
	}
	if err := db.begin(ctx, j.options.Log, j.options.Path); err != nil {
		db.close()
		return nil, err
	}
	j.stored.clear() // the file may have been replaced
	db.stored, db.most = j.stored, j.chunk
	j.secret.Store(&db.salt)
	return db, nil
}

// putAside renames a damaged journal. If a file with the new name exists, putAside replaces it. It deletes the WAL, because SQLite would
// apply the WAL to the new database.
func (j *Journal) putAside(aside string) error {
	err := os.Rename(j.options.Path, aside)
	for _, suffix := range []string{"-wal", "-shm"} {
		if e := os.Remove(j.options.Path + suffix); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// broken reports whether the file is damaged, or is not a journal. In this case a retry cannot succeed.
func broken(err error) bool {
	var e *sqlite.Error
	if errors.As(err, &e) {
		code := e.Code() & 0xff // the primary error code
		return code == lib.SQLITE_CORRUPT || code == lib.SQLITE_NOTADB
	}
	return errors.Is(err, errForeign) || errors.Is(err, errOverwritten)
}

// failed logs an error and schedules the next attempt. A damaged journal is renamed at the next message.
func (j *Journal) failed(doing string, err error) {
	j.retryAt = j.options.Now().Add(retryInterval)
	j.failure = err
	j.options.Log.Error("the journal cannot be written; mail continues without it", "doing", doing, "file", j.options.Path, "error", err)
	if j.db != nil && broken(err) {
		j.abandon(err)
	}
}

func (j *Journal) abandon(damage error) {
	j.db.close()
	j.db, j.damage, j.retryAt = nil, damage, time.Time{}
}

// ready reports whether the database can be written. If the database is closed, ready opens it, but not more often than once in
// retryInterval.
func (j *Journal) ready() bool {
	if j.options.Now().Before(j.retryAt) {
		return false
	}
	if j.db != nil && j.db.gone() {
		j.options.Log.Error("the journal was deleted or replaced; a new one is created", "file", j.options.Path)
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

// write writes the rows of a batch. After an error, it counts them as lost.
func (j *Journal) write(rows []*row) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	limits := j.limits.Load()
	j.db.mostBytes = min(chunkBytes, limits.MaxSize/chunkShare)
	written, err := 0, j.db.fits(ctx, limits.MaxSize)
	if err == nil {
		written, err = j.db.insert(ctx, rows)
	}
	j.release(rows[:written])
	if err != nil {
		j.failed("writing", err)
		j.discard(DatabaseFailed, rows[written:]...)
		return
	}
	least := deleteSteps
	if j.pressed() {
		least = 1
	}
	if err := j.db.bound(ctx, limits.MaxSize, least); err != nil {
		j.failed("keeping it small", err)
		return
	}
	if j.more == nil && (j.db.over || j.toIndex(j.options.Now())) {
		j.more = time.After(morePause)
	}
}

// pressed reports whether many messages wait, because the disk is slow or there is much mail. New messages then take precedence over other
// work.
func (j *Journal) pressed() bool {
	return len(j.queue) > queueMessages/4 || j.queued.Load() > queueBytes/4
}

// tidy does the background work. It seals a chunk whose day is over, and creates an index. It deletes messages older than journal.keep. If
// the files exceed max_size, it deletes answers and messages. If there is much to do, it does a part and schedules the next part, so that
// new messages are written in between.
func (j *Journal) tidy() {
	j.more = nil
	now := j.options.Now()
	stable := j.clockStable(now)
	if !j.ready() {
		return
	}
	if j.pressed() {
		j.more = time.After(morePause)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	limits := j.limits.Load()
	before := time.Unix(0, 0) // with this time, expire deletes no message, but returns free pages
	if stable >= minStable {
		before = now.Add(-limits.Keep)
	}
	err := j.db.fits(ctx, limits.MaxSize)
	if err == nil {
		err = j.db.sealOld(ctx, now)
	}
	if err == nil {
		err = j.db.expire(ctx, before)
	}
	if err == nil && stable >= minStableToRenumber {
		err = j.db.renumber(ctx, now)
	}
	if err == nil {
		err = j.db.bound(ctx, limits.MaxSize, deleteSteps)
	}
	if err != nil {
		j.failed("deleting what is old", err)
		return
	}
	if c := j.db.unindexed(); c != nil && !now.Before(j.indexAt) {
		j.index(ctx, c)
	}
	if j.db != nil && (j.db.behind || j.db.over || j.toIndex(now)) {
		j.more = time.After(morePause)
	}
}

// toIndex reports whether an index can be created now.
func (j *Journal) toIndex(now time.Time) bool {
	return j.db.unindexed() != nil && !now.Before(j.indexAt)
}

// index creates an index. An error does not stop the journal: queries also work without the index.
func (j *Journal) index(ctx context.Context, c *chunk) {
	err := j.db.createIndex(ctx, c)
	if err == nil {
		return
	}
	j.indexAt = j.options.Now().Add(indexRetry)
	j.options.Log.Error("an index of the journal cannot be created; queries are slower without it", "file", j.options.Path, "error", err)
	if broken(err) {
		if err := j.db.giveUpIndexes(ctx, c); err != nil {
			j.failed("creating an index", err)
		}
	}
}

// A row changes at most two pages of the open chunk, besides those that its entry fills. Each text of the row changes one page of the table
// answer and one page of its index.
const (
	pagesOfRow  = 2
	pagesOfText = 2
)

// batch collects the rows of one transaction.
type batch struct {
	rows     []*row
	texts    map[int64]bool // the hashes of the texts to be stored
	logBytes int64          // the bytes that the batch adds to the WAL
}

func (b *batch) add(r *row, stored *storedTexts) {
	pages := pagesOfRow
	for _, t := range r.texts {
		if !b.texts[t.sum] && !stored.has(t.sum) {
			b.texts[t.sum] = true
			pages += pagesOfText
			b.logBytes += int64(len(t.text))
		}
	}
	b.rows = append(b.rows, r)
	b.logBytes += int64(len(r.entry) + pages*pageSize)
}

// insert writes a batch, in one transaction for each chunk. It returns how many rows were written, even together with an error.
func (d *database) insert(ctx context.Context, rows []*row) (written int, err error) {
	for written < len(rows) {
		n, err := d.insertSome(ctx, rows[written:])
		if err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// insertSome writes the first rows of a batch in one transaction. It writes as many as fit into the open chunk. If the open chunk is full,
// it is sealed and a new one is created. The statements do not use ctx. Each statement takes microseconds, and a context would cost a
// goroutine for each.
func (d *database) insertSome(ctx context.Context, rows []*row) (n int, err error) {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	d.refresh(rows[0].at)
	open, sealed, err := d.chunkFor(ctx, tx, rows[0])
	if err != nil {
		return 0, err
	}
	add, err := tx.PrepareContext(ctx, "INSERT INTO "+open.table()+" (id, queue, mid, domain, client, outcome, entry) VALUES (?,?,?,?,?,?,?)")
	if err != nil {
		return 0, err
	}
	defer add.Close()
	added := map[Outcome]int64{}
	hours := map[[2]int64]int64{}
	stored := map[int64]bool{}
	var texts []text
	last, cost := d.last, d.answerCost
	for _, r := range rows {
		id := max(last+1, r.at.UnixMicro())
		if n > 0 && open.full(r, id, d.most, d.mostBytes) {
			break
		}
		outcome, err := d.outcome(ctx, tx, added, r.outcome)
		if err != nil {
			return 0, err
		}
		for _, t := range r.texts {
			if stored[t.sum] || d.stored.has(t.sum) {
				continue
			}
			isNew, err := d.store(tx, t, id/1e6)
			if err != nil {
				return 0, err
			}
			if isNew { // a text is cached only when it recurs, so that a flood of new texts does not displace texts in use
				cost += int64(textCost(len(t.text)))
			} else {
				texts = append(texts, t)
			}
			stored[t.sum] = true
		}
		if _, err := add.Exec(id, r.queue, r.mid, r.domain, r.client, outcome, r.entry); err != nil {
			return 0, err
		}
		hours[[2]int64{id / hourMicros, outcome}]++ // the hour of the number, because messages are deleted by number
		open.messages++
		open.bytes += rowSize(r)
		last = id
		n++
	}
	for at, count := range hours {
		if _, err := tx.Stmt(d.count).Exec(at[0], at[1], count); err != nil {
			return 0, err
		}
	}
	if err := d.commit(ctx, tx, cost); err != nil {
		return 0, err
	}
	d.last, d.open, d.chunks = last, &open, append(d.chunks, sealed...)
	d.stored.add(texts)
	for o, id := range added {
		d.outcomes[o] = id
	}
	return n, nil
}

// chunkFor returns the open chunk if it has room for a row. Otherwise it seals the open chunk in tx, and returns a new chunk.
func (d *database) chunkFor(ctx context.Context, tx *sql.Tx, r *row) (open openChunk, sealed []chunk, err error) {
	id := max(d.last+1, r.at.UnixMicro())
	if d.open != nil {
		if !d.open.full(r, id, d.most, d.mostBytes) {
			return *d.open, nil, nil
		}
		if sealed, err = d.seal(ctx, tx); err != nil {
			return open, nil, err
		}
	}
	open.chunk, err = createChunk(ctx, tx, id)
	return open, sealed, err
}

// store inserts a text, or updates the time of its last use. isNew reports that it was inserted.
func (d *database) store(tx *sql.Tx, t text, seen int64) (isNew bool, err error) {
	r, err := tx.Stmt(d.use).Exec(seen, t.sum)
	if err != nil {
		return false, err
	}
	if n, err := r.RowsAffected(); err != nil || n > 0 {
		return false, err
	}
	_, err = tx.Stmt(d.keep).Exec(t.sum, t.text, seen)
	return true, err
}

// refresh clears d.stored at intervals, so that the database notes which texts are in use.
func (d *database) refresh(now time.Time) {
	if age := now.Unix() - d.freshAt; max(age, -age) > int64(d.grace/2/time.Second) || d.stored.full() { // the clock may go back
		d.stored.clear()
		d.freshAt = now.Unix()
	}
}

// outcome returns the number of an outcome. It inserts a new outcome into the database and into the map added.
func (d *database) outcome(ctx context.Context, tx *sql.Tx, added map[Outcome]int64, o Outcome) (int64, error) {
	if id, ok := d.outcomes[o]; ok {
		return id, nil
	}
	if id, ok := added[o]; ok {
		return id, nil
	}
	r, err := tx.ExecContext(ctx, "INSERT INTO outcome (role, verdict, spf, dkim, dmarc, arc, observed) VALUES (?,?,?,?,?,?,?)", o.Role, o.Action, o.SPF, o.DKIM, o.DMARC, o.ARC, o.Observed)
	if err != nil {
		return 0, fmt.Errorf("an outcome: %w", err)
	}
	id, err := r.LastInsertId()
	added[o] = id
	return id, err
}
