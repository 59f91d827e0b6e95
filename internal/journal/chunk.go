package journal

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"
)

// Messages are stored in chunks, each in its own table. New messages are appended to the open chunk, which has no index. A full chunk is
// sealed and then indexed in the background. When all of its messages have expired, its table is dropped. This costs less than a fifth of
// writing each row into five indexes.

const (
	// chunkMessages is the maximum number of messages of a chunk. A query may read the whole open chunk, which takes about 10 ms.
	chunkMessages = 32_000
	// chunkBytes is the maximum size of a chunk's rows. If max_size/chunkShare is less than chunkBytes, the maximum is max_size/chunkShare.
	// A chunk must not be too large, because the journal deletes the whole oldest chunk when it reaches max_size.
	chunkBytes = 16 << 20
	chunkShare = 16
	// rowRoom is the approximate size of a row without its entry, in bytes.
	rowRoom = 64
)

// chunkSchema creates the catalog of chunks. The numbers of a chunk's messages range from first to last. While the chunk is open, last is 0.
// The column "indexes" has the number of chunkIndexes that exist. The table of version 1 is a chunk with old = 1. A chunk with
// ahead = 1 is being renumbered.
const chunkSchema = `
CREATE TABLE chunk (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	first INTEGER NOT NULL, last INTEGER NOT NULL,
	sealed INTEGER NOT NULL, indexes INTEGER NOT NULL, old INTEGER NOT NULL, ahead INTEGER NOT NULL
);
`

// chunkIndex is an index of a sealed chunk.
type chunkIndex struct{ name, columns string }

// chunkIndexes returns the indexes of a sealed chunk, in the order in which they are created.
func chunkIndexes() []chunkIndex {
	return []chunkIndex{{"queue", "queue"}, {"mid", "mid"}, {"outcome", "outcome"}, {"domain", "domain, outcome"}, {"client", "client, outcome, domain"}}
}

// chunk is a row of the catalog.
type chunk struct {
	id          int64
	first, last int64
	sealed, old bool
	ahead       bool // its messages are being renumbered
	indexes     int
}

// table returns the name of the chunk's table.
func (c chunk) table() string {
	if c.old {
		return "message"
	}
	return "message_" + strconv.FormatInt(c.id, 10)
}

// sameDay reports whether a message belongs to the UTC day of an open chunk.
func (c chunk) sameDay(id int64) bool { return c.first/dayMicros == id/dayMicros }

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readChunks reads the catalog, in the order of the messages. For a journal of version 1, its only table is the only chunk.
func readChunks(ctx context.Context, q querier, version int) (all []chunk, err error) {
	query := "SELECT id, first, last, sealed, indexes, old, ahead FROM chunk ORDER BY first, id"
	if version == 1 {
		// There are two subqueries, because SQLite reads the whole table if one query has both min and max.
		query = "SELECT 0, first, last, 1, 0, 1, 0 FROM (SELECT (SELECT min(id) FROM message) AS first, (SELECT max(id) FROM message) AS last) WHERE first IS NOT NULL"
	}
	rows, err := q.QueryContext(ctx, query)
	return all, each(rows, err, func() error {
		var c chunk
		err := rows.Scan(&c.id, &c.first, &c.last, &c.sealed, &c.indexes, &c.old, &c.ahead)
		all = append(all, c)
		return err
	})
}

// openChunk is the state of the chunk to which messages are appended.
type openChunk struct {
	chunk
	messages int
	bytes    int64
}

// full reports whether the chunk must be sealed before a message is appended.
func (o *openChunk) full(r *row, id int64, most int, mostBytes int64) bool {
	return o.messages >= most || o.bytes+rowSize(r) > mostBytes || !o.sameDay(id)
}

// rowSize returns the approximate size of a row in its table, in bytes.
func rowSize(r *row) int64 { return int64(len(r.entry) + len(r.domain) + rowRoom) }

// readOpenChunk reads the catalog into d, and counts the messages of the open chunk.
func (d *database) readOpenChunk(ctx context.Context) error {
	all, err := readChunks(ctx, d.db, version)
	if err != nil {
		return err
	}
	for _, c := range all {
		var n int
		if err := d.db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?", c.table()).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: the table %s does not exist, which its catalog lists", errForeign, c.table())
		}
	}
	d.chunks, d.ahead, d.open = nil, nil, nil
	err = d.db.QueryRowContext(ctx, "SELECT coalesce((SELECT value FROM note WHERE name = 'start'), 0)").Scan(&d.start)
	d.last = 0
	for _, c := range all {
		switch {
		case c.ahead:
			d.ahead = append(d.ahead, c)
			d.last = max(d.last, d.start)
		case c.sealed:
			d.chunks = append(d.chunks, c)
			d.last = max(d.last, c.last)
		case d.open != nil:
			return fmt.Errorf("%w: its catalog has two open chunks", errForeign)
		default:
			d.open = &openChunk{chunk: c}
		}
	}
	if err != nil || d.open == nil {
		return err
	}
	var last int64
	err = d.db.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(octet_length(entry) + octet_length(domain) + ?), 0), coalesce(max(id), 0) FROM "+d.open.table(), rowRoom).
		Scan(&d.open.messages, &d.open.bytes, &last)
	d.last = max(d.last, last, d.open.first-1)
	return err
}

// seal seals the open chunk in tx. An empty one is dropped.
func (d *database) seal(ctx context.Context, tx *sql.Tx) (sealed []chunk, err error) {
	c := d.open.chunk
	var first, last sql.NullInt64
	if err := tx.QueryRowContext(ctx, "SELECT (SELECT min(id) FROM "+c.table()+"), (SELECT max(id) FROM "+c.table()+")").Scan(&first, &last); err != nil {
		return nil, err
	}
	if !last.Valid {
		return nil, dropChunk(ctx, tx, c)
	}
	c.first, c.last, c.sealed = first.Int64, last.Int64, true
	_, err = tx.ExecContext(ctx, "UPDATE chunk SET first = ?, last = ?, sealed = 1 WHERE id = ?", c.first, c.last, c.id)
	return []chunk{c}, err
}

// createChunk creates a chunk whose first message has the given number.
func createChunk(ctx context.Context, tx *sql.Tx, first int64) (c chunk, err error) {
	r, err := tx.ExecContext(ctx, "INSERT INTO chunk (first, last, sealed, indexes, old, ahead) VALUES (?,0,0,0,0,0)", first)
	if err != nil {
		return c, err
	}
	c.first = first
	if c.id, err = r.LastInsertId(); err != nil {
		return c, err
	}
	_, err = tx.ExecContext(ctx, "CREATE TABLE "+c.table()+` (
	id INTEGER PRIMARY KEY,
	queue INTEGER NOT NULL, mid INTEGER NOT NULL,
	domain TEXT NOT NULL, client BLOB NOT NULL,
	outcome INTEGER NOT NULL,
	entry BLOB NOT NULL
)`)
	return c, err
}

func dropChunk(ctx context.Context, tx *sql.Tx, c chunk) error {
	if _, err := tx.ExecContext(ctx, "DROP TABLE IF EXISTS "+c.table()); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM chunk WHERE id = ?", c.id)
	return err
}

// transact runs f in a transaction.
func (d *database) transact(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// sealNow seals the open chunk.
func (d *database) sealNow(ctx context.Context) error {
	var sealed []chunk
	err := d.transact(ctx, func(tx *sql.Tx) (err error) {
		sealed, err = d.seal(ctx, tx)
		return err
	})
	if err == nil {
		d.chunks, d.open = append(d.chunks, sealed...), nil
	}
	return err
}

// sealOld seals the open chunk if its day is over.
func (d *database) sealOld(ctx context.Context, now time.Time) error {
	if d.open == nil || d.open.first/dayMicros >= now.UnixMicro()/dayMicros {
		return nil
	}
	return d.sealNow(ctx)
}

// unindexed returns the oldest sealed chunk that lacks an index, or nil.
func (d *database) unindexed() *chunk {
	for i := range d.chunks {
		if c := &d.chunks[i]; !c.old && c.indexes >= 0 && c.indexes < len(chunkIndexes()) {
			return c
		}
	}
	return nil
}

// createIndex creates the next index of a sealed chunk. It takes about 50 ms.
func (d *database) createIndex(ctx context.Context, c *chunk) error {
	index := chunkIndexes()[c.indexes]
	err := d.transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s_%s ON %[1]s (%[3]s)", c.table(), index.name, index.columns)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE chunk SET indexes = indexes + 1 WHERE id = ?", c.id)
		return err
	})
	if err == nil {
		c.indexes++
	}
	return err
}

// giveUpIndexes marks a damaged chunk, for which no further index is created. Queries read what they can of it.
func (d *database) giveUpIndexes(ctx context.Context, c *chunk) error {
	if _, err := d.db.ExecContext(ctx, "UPDATE chunk SET indexes = -1 WHERE id = ?", c.id); err != nil {
		return err
	}
	c.indexes = -1
	return nil
}
