package journal

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"signpost/internal/durable"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// version is the version of the tables, as in user_version. Version 1 had one table of messages, "message", with five indexes.
const version = 2

// schema creates all tables except those of the messages, which createChunk creates. The id of a message is its time in microseconds, made
// unique. An outcome is stored once for each combination of words, so that a filter becomes a short list of numbers. The column "verdict"
// contains the action.
const schema = chunkSchema + `
CREATE TABLE outcome (
	id INTEGER PRIMARY KEY,
	role TEXT NOT NULL, verdict TEXT NOT NULL, spf TEXT NOT NULL, dkim TEXT NOT NULL, dmarc TEXT NOT NULL, arc TEXT NOT NULL,
	observed INTEGER NOT NULL,
	UNIQUE (role, verdict, spf, dkim, dmarc, arc, observed)
);
CREATE TABLE answer (
	hash INTEGER PRIMARY KEY,
	text TEXT NOT NULL,
	seen INTEGER NOT NULL
);
CREATE INDEX answer_seen ON answer (seen);
CREATE TABLE hour (
	hour INTEGER NOT NULL, outcome INTEGER NOT NULL, n INTEGER NOT NULL,
	PRIMARY KEY (hour, outcome)
) WITHOUT ROWID;
CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
`

// database is an open journal and its prepared statements.
type database struct {
	db            *sql.DB
	path          string
	file          *os.File      // the database file; it is closed after the connections of SQLite, because closing it releases SQLite's locks
	lock          *durable.Lock // held while the journal is open for writing
	codec         *codec
	count         *sql.Stmt
	keep, use     *sql.Stmt
	chunks        []chunk    // the sealed chunks, except for those in ahead, oldest first
	ahead         []chunk    // chunks whose messages have numbers in the future and are being renumbered
	start         int64      // while ahead is not empty: new messages have greater numbers, and renumbered messages do not
	open          *openChunk // nil: the next message creates one
	most          int        // messages of a chunk
	mostBytes     int64      // of a chunk
	outcomes      map[Outcome]int64
	last          int64  // number of the newest message
	salt          []byte // of Addresses Hash
	stored        *storedTexts
	freshAt       int64         // Unix time when the cache stored was last cleared
	answerCost    int64         // approximate bytes of the table answer
	grace         time.Duration // how much longer an answer is kept than a message
	oldGrace      time.Duration // until oldGraceUntil, a number of a message, answers are kept for at least this time
	oldGraceUntil int64
	behind        bool  // there are more expired messages to delete, or more messages to renumber
	over          bool  // there is more to delete because of max_size
	size          int64 // bytes in use after the last call of bound; 0: not called yet
}

const (
	// pageSize suits rows of a few hundred bytes. When the WAL has walPages pages, a checkpoint writes it into the database.
	pageSize = 4096
	walPages = 500
	// busyTimeout is the time for which the writer waits for a lock of another process.
	busyTimeout = time.Second
	// writeTimeout limits a batch, or one round of deletions. A slower disk cannot keep up with mail.
	writeTimeout = time.Minute
	// createTimeout limits the time to open the journal for writing. This may take a long time: after a crash, SQLite recovers the WAL, and
	// after an upgrade, the journal of the earlier version is read completely once.
	createTimeout = 10 * time.Minute
)

func dsn(path string, pragmas ...string) string {
	v := url.Values{"_pragma": pragmas}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: v.Encode()}).String()
}

func busy(timeout time.Duration) string {
	return fmt.Sprintf("busy_timeout(%d)", timeout.Milliseconds())
}

// create opens the journal for writing, and creates it if it does not exist.
func create(ctx context.Context, path string) (*database, error) {
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) { // state_dir itself is not created
		return nil, err
	}
	lock, err := take(path + "-lock")
	if err != nil {
		return nil, err
	}
	d, err := createLocked(ctx, path)
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	d.lock = lock
	return d, nil
}

// errTaken is the error if another daemon writes the journal. Because a writer caches the state of the journal, only one writer is allowed.
var errTaken = errors.New("another signpost daemon writes this journal; each daemon needs its own state_dir")

// take locks the journal. The lock is a separate file, because a process that closes a file of SQLite loses its locks on that file.
func take(path string) (*durable.Lock, error) {
	dir, err := durable.OpenDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	lock, err := durable.TryLock(dir, path)
	if busy := (*durable.BusyError)(nil); errors.As(err, &busy) {
		err = errTaken
	}
	return lock, err
}

func createLocked(ctx context.Context, path string) (*database, error) {
	// A new file gets mode 0600, because it has senders and recipients. An existing file is not opened: closing it would release
	// SQLite's locks.
	switch f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); {
	case err == nil:
		f.Close()
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(path, busy(busyTimeout), "page_size("+strconv.Itoa(pageSize)+")", "auto_vacuum(2)", "journal_mode(WAL)", "synchronous(1)",
		"wal_autocheckpoint("+strconv.Itoa(walPages)+")", "journal_size_limit(0)", "cache_size(-256)", "temp_store(2)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	d, err := prepare(ctx, db)
	if err != nil {
		db.Close()
		return nil, err
	}
	d.path = path
	if d.file, err = os.Open(path); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func prepare(ctx context.Context, db *sql.DB) (*database, error) {
	d := &database{db: db, most: chunkMessages, mostBytes: chunkBytes}
	var has int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&has); err != nil {
		return nil, err
	}
	if has > version {
		return nil, fmt.Errorf("%w: it is of version %d, and this Signpost writes version %d", errForeign, has, version)
	}
	if has < version {
		if err := d.upgrade(ctx, has); err != nil {
			return nil, err
		}
	}
	d.codec = newCodec()
	var err error
	if d.outcomes, err = readOutcomes(ctx, db); err != nil {
		return nil, err
	}
	if err := d.readOpenChunk(ctx); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		into **sql.Stmt
		text string
	}{
		{&d.count, addToHour},
		{&d.keep, "INSERT INTO answer (hash, text, seen) VALUES (?,?,?)"},
		{&d.use, "UPDATE answer SET seen = ? WHERE hash = ?"},
	} {
		if *s.into, err = db.PrepareContext(ctx, s.text); err != nil {
			return nil, err
		}
	}
	d.stored = newStoredTexts()
	d.grace = 2 * refresh
	if err := d.readAnswerCost(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// upgrade creates the tables of a new journal, whose version is 0. In a journal of version 1, its table of messages becomes a sealed chunk.
func (d *database) upgrade(ctx context.Context, has int) error {
	return d.transact(ctx, func(tx *sql.Tx) error {
		create := schema
		if has == 1 {
			create = chunkSchema + "INSERT INTO chunk (first, last, sealed, indexes, old, ahead) SELECT first, last, 1, 0, 1, 0 FROM (SELECT (SELECT min(id) FROM message) AS first, (SELECT max(id) FROM message) AS last) WHERE first IS NOT NULL;"
		}
		_, err := tx.ExecContext(ctx, create+"PRAGMA user_version = "+strconv.Itoa(version))
		return err
	})
}

// begin marks the journal as in use. It warns if the mark of the last daemon is still there. For a new journal, begin creates the secret.
func (d *database) begin(ctx context.Context, log *slog.Logger, path string) error {
	fresh := make([]byte, 16)
	rand.Read(fresh)
	if _, err := d.db.ExecContext(ctx, "INSERT INTO note (name, value) VALUES ('salt', ?) ON CONFLICT DO NOTHING", fresh); err != nil {
		return err
	}
	if err := d.db.QueryRowContext(ctx, "SELECT value FROM note WHERE name = 'salt'").Scan(&d.salt); err != nil {
		return err
	}
	r, err := d.db.ExecContext(ctx, "INSERT INTO note (name, value) VALUES ('writing', 1) ON CONFLICT DO NOTHING")
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err == nil && n == 0 {
		log.Warn("the journal was not closed cleanly; its last messages may be missing", "file", path, "newest", time.UnixMicro(d.last))
	}
	return nil
}

// errForeign is the error of a journal of another version. Such a journal is renamed like a damaged one.
var errForeign = errors.New("not a journal that can be read")

// readOutcomes returns the number of each outcome. The outcomes have the words that are in the database: see Outcome.current.
func readOutcomes(ctx context.Context, db querier) (map[Outcome]int64, error) {
	all := map[Outcome]int64{}
	rows, err := db.QueryContext(ctx, "SELECT id, role, verdict, spf, dkim, dmarc, arc, observed FROM outcome")
	return all, each(rows, err, func() error {
		var id int64
		var o Outcome
		err := rows.Scan(&id, &o.Role, &o.Action, &o.SPF, &o.DKIM, &o.DMARC, &o.ARC, &o.Observed)
		all[o] = id
		return err
	})
}

// each calls f for each row of a query until f returns an error, and then closes the rows. err is the error of the query.
func each(rows *sql.Rows, err error, f func() error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// close removes the mark that begin made, and closes the database.
func (d *database) close() {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	_, _ = d.db.ExecContext(ctx, "DELETE FROM note WHERE name = 'writing'") // if this fails, the next start warns although the journal was closed
	_ = d.db.Close()
	if d.file != nil {
		_ = d.file.Close()
	}
	if d.lock != nil {
		d.lock.Unlock()
	}
}

// gone reports whether the file at the path is missing or was replaced. In both cases, readers would not find new messages.
func (d *database) gone() bool {
	now, err := os.Stat(d.path)
	if err != nil {
		return true
	}
	held, err := d.file.Stat()
	return err != nil || !os.SameFile(held, now)
}

// errOverwritten is the error of a file that another program overwrote or truncated.
var errOverwritten = errors.New("the file was overwritten or truncated: it does not begin with the header of a database")

// overwritten reports whether the file no longer begins with the header of a database. SQLite does not notice this. SQLite would continue
// with the pages that it has in memory, and write a file that cannot be read.
func (d *database) overwritten() bool {
	const magic = "SQLite format 3\x00"
	head := make([]byte, len(magic))
	_, err := d.file.ReadAt(head, 0)
	return err == nil && string(head) != magic || errors.Is(err, io.EOF)
}

// missing reports whether there is no file.
func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
