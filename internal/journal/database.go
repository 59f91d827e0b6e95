package journal

import (
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

// version is of the tables below; it stands in user_version.
const version = 1

// schema: a message's number is its time in microseconds, made unique. The words of the outcome stand once for each
// combination, so that a filter becomes a short list of numbers, and each index below answers in the order of time. That of
// clients does so day by day: no index has the messages of a network in order.
const schema = `
CREATE TABLE outcome (
	id INTEGER PRIMARY KEY,
	role TEXT NOT NULL, verdict TEXT NOT NULL, spf TEXT NOT NULL, dkim TEXT NOT NULL, dmarc TEXT NOT NULL, arc TEXT NOT NULL,
	observed INTEGER NOT NULL,
	UNIQUE (role, verdict, spf, dkim, dmarc, arc, observed)
);
CREATE TABLE message (
	id INTEGER PRIMARY KEY,
	queue INTEGER NOT NULL, mid INTEGER NOT NULL,
	domain TEXT NOT NULL, client BLOB NOT NULL,
	outcome INTEGER NOT NULL,
	entry BLOB NOT NULL
);
CREATE INDEX message_queue ON message (queue);
CREATE INDEX message_mid ON message (mid);
CREATE INDEX message_outcome ON message (outcome);
CREATE INDEX message_domain ON message (domain, outcome);
CREATE INDEX message_client ON message (id / 86400000000, client, outcome, domain);
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
	*sql.DB
	path       string
	file       *os.File      // what was opened; it is closed behind SQLite's own, whose locks go with it
	lock       *durable.Lock // held while it is open for writing
	codec      *codec
	add, count *sql.Stmt
	keep, use  *sql.Stmt
	outcomes   map[Outcome]int64
	last       int64  // number of the newest message
	salt       []byte // of Addresses Hash
	stored     *storedTexts
	freshAt    int64         // when stored was last cleared, in seconds
	answerCost int64         // bytes that the table answer takes, about
	grace      time.Duration // how much longer than messages an answer is kept
	behind     bool          // there is more to be deleted for its age
	over       bool          // there is more to be deleted for its size
	size       int64         // what was used when it was last looked whether that is too much; 0: not yet
}

// pageSize suits rows of some hundred octets; walPages is after how many of them the log is taken into the database.
const (
	pageSize = 4096
	walPages = 500
)

func dsn(path string, pragmas ...string) string {
	v := url.Values{"_pragma": pragmas}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: v.Encode()}).String()
}

// create opens the journal for writing, and makes it where there is none.
func create(path string) (*database, error) {
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) { // state_dir itself is not made
		return nil, err
	}
	lock, err := take(path + "-lock")
	if err != nil {
		return nil, err
	}
	d, err := createLocked(path)
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	d.lock = lock
	return d, nil
}

// errTaken: two daemons with one state_dir. Each keeps in mind what stands in the journal, so that only one may write.
var errTaken = errors.New("another signpost serve writes this journal; give each its own state_dir")

// take locks the journal. The lock has a file of its own: to close one of SQLite's files releases the locks that this process has
// on it.
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

func createLocked(path string) (*database, error) {
	// 0600 from its birth: it says who writes to whom. One that is there is not opened, for the sake of its locks.
	switch f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); {
	case err == nil:
		f.Close()
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(path, "busy_timeout(1000)", "page_size("+strconv.Itoa(pageSize)+")", "auto_vacuum(2)", "journal_mode(WAL)", "synchronous(1)",
		"wal_autocheckpoint("+strconv.Itoa(walPages)+")", "journal_size_limit(0)", "cache_size(-1024)", "temp_store(2)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	d, err := prepare(db)
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

func prepare(db *sql.DB) (*database, error) {
	d := &database{DB: db}
	var has int
	err := db.QueryRow("PRAGMA user_version").Scan(&has)
	switch {
	case err != nil:
		return nil, err
	case has == 0:
		tx, err := db.Begin()
		if err != nil {
			return nil, err
		}
		defer tx.Rollback()
		if _, err := tx.Exec(schema + "PRAGMA user_version = " + strconv.Itoa(version)); err != nil {
			return nil, err
		}
		if err := tx.Commit(); err != nil {
			return nil, err
		}
	case has != version:
		return nil, fmt.Errorf("%w: it is of version %d, and this Signpost writes version %d", errForeign, has, version)
	}
	d.codec = newCodec()
	if d.outcomes, err = readOutcomes(db); err != nil {
		return nil, err
	}
	if err := db.QueryRow("SELECT coalesce(max(id), 0) FROM message").Scan(&d.last); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		into **sql.Stmt
		text string
	}{
		{&d.add, "INSERT INTO message (id, queue, mid, domain, client, outcome, entry) VALUES (?,?,?,?,?,?,?)"},
		{&d.count, "INSERT INTO hour (hour, outcome, n) VALUES (?,?,?) ON CONFLICT DO UPDATE SET n = n + excluded.n"},
		{&d.keep, "INSERT INTO answer (hash, text, seen) VALUES (?,?,?)"},
		{&d.use, "UPDATE answer SET seen = ? WHERE hash = ?"},
	} {
		if *s.into, err = db.Prepare(s.text); err != nil {
			return nil, err
		}
	}
	d.stored = newStoredTexts()
	d.grace = 2 * refresh
	if err := d.readAnswerCost(); err != nil {
		return nil, err
	}
	return d, nil
}

// begun notes that a daemon writes, and says where the last one did not end in order. The secret is made with the journal.
func (d *database) begun(log *slog.Logger, path string) error {
	fresh := make([]byte, 16)
	rand.Read(fresh)
	if _, err := d.Exec("INSERT INTO note (name, value) VALUES ('salt', ?) ON CONFLICT DO NOTHING", fresh); err != nil {
		return err
	}
	if err := d.QueryRow("SELECT value FROM note WHERE name = 'salt'").Scan(&d.salt); err != nil {
		return err
	}
	r, err := d.Exec("INSERT INTO note (name, value) VALUES ('writing', 1) ON CONFLICT DO NOTHING")
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err == nil && n == 0 {
		log.Warn("the journal was not closed in order; messages of its last moment may be missing", "file", path, "newest", time.UnixMicro(d.last))
	}
	return nil
}

// errForeign: a journal of another version. It is put aside as a broken one is.
var errForeign = errors.New("not a journal that can be read")

func readOutcomes(db *sql.DB) (map[Outcome]int64, error) {
	rows, err := db.Query("SELECT id, role, verdict, spf, dkim, dmarc, arc, observed FROM outcome")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[Outcome]int64{}
	for rows.Next() {
		var id int64
		var o Outcome
		if err := rows.Scan(&id, &o.Role, &o.Verdict, &o.SPF, &o.DKIM, &o.DMARC, &o.ARC, &o.Observed); err != nil {
			return nil, err
		}
		all[o] = id
	}
	return all, rows.Err()
}

// close ends in order.
func (d *database) close() {
	_, _ = d.Exec("DELETE FROM note WHERE name = 'writing'") // else the next start says what it does not know better
	_ = d.Close()
	if d.file != nil {
		_ = d.file.Close()
	}
	if d.lock != nil {
		d.lock.Unlock()
	}
}

// gone says that the file is no longer at its place: what is written to it nobody will read.
func (d *database) gone() bool {
	now, err := os.Stat(d.path)
	if err != nil {
		return true
	}
	held, err := d.file.Stat()
	return err != nil || !os.SameFile(held, now)
}

// errOverwritten: something else was written into the file, or it was made empty.
var errOverwritten = errors.New("the file no longer begins as a database does")

// overwritten says so. SQLite does not read again what it has in memory, and would go on to write what nobody can read.
func (d *database) overwritten() bool {
	const magic = "SQLite format 3\x00"
	head := make([]byte, len(magic))
	_, err := d.file.ReadAt(head, 0)
	return err == nil && string(head) != magic || errors.Is(err, io.EOF)
}

// missing says that there is no journal at all.
func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
