package journal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// Reader reads a journal while a daemon writes it. Each query is a short transaction: see snapshot. A Reader is for one goroutine.
type Reader struct {
	Frozen  bool     // opened on a read-only file system: this Reader does not see later changes
	Secrets [][]byte // those of Journal.UseSecret, with which addresses may be hashed, in addition to the secret of this journal

	db    *sql.DB
	codec *codec

	texts     map[int64]string // cached rows of the table answer, which never change
	textsSize int              // bytes of texts

	unread      int // entries that could not be decoded
	firstUnread error
}

// Unread returns an error if entries were omitted so far because they could not be decoded. The error states their number. Unread returns
// nil if there are none.
func (r *Reader) Unread() error {
	if r.unread == 0 {
		return nil
	}
	return fmt.Errorf("entries of the journal cannot be read and were omitted: %d; the first one: %w", r.unread, r.firstUnread)
}

// ErrNone is the error of OpenReader if there is no journal.
var ErrNone = errors.New("there is no journal here yet; signpost serve creates it")

const (
	// readerBusyTimeout is how long a query waits for a lock of the writer.
	readerBusyTimeout = 5 * time.Second
	// queryTimeout limits a query. The slowest queries take one or two seconds on a busy disk.
	queryTimeout = time.Minute
)

// OpenReader opens the journal at path. The error wraps ErrNone if there is no journal.
func OpenReader(path string) (*Reader, error) {
	if missing(path) {
		return nil, fmt.Errorf("%s: %w", path, ErrNone)
	}
	from := dsn(path, busy(readerBusyTimeout), "query_only(1)", "cache_size(-256)")
	r, err := openReader(from)
	// Even to read a database, SQLite creates files in the same directory. If SQLite cannot create these files and there is no WAL, the
	// file system is read-only. The database can then be read without them.
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_CANTOPEN && missing(path+"-wal") {
		if r, err = openReader(from + "&immutable=1"); err == nil {
			r.Frozen = true
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func openReader(from string) (*Reader, error) {
	db, err := sql.Open("sqlite", from)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	r := &Reader{db: db, codec: newCodec()}
	var has int
	err = db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&has)
	switch {
	case err == nil && has == 0: // the daemon is creating the journal
		err = ErrNone
	case err == nil && has > version:
		err = fmt.Errorf("%w: it is of version %d, and this Signpost reads version %d", errForeign, has, version)
	}
	if err == nil {
		_, err = readOutcomes(ctx, db)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return r, nil
}

// row reads the result of a query that returns one row.
func (r *Reader) row(ctx context.Context, into []any, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return r.db.QueryRowContext(ctx, query, args...).Scan(into...)
}

// rows calls f for each row of a query.
func (r *Reader) rows(ctx context.Context, f func(*sql.Rows) error, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := r.db.QueryContext(ctx, query, args...)
	return each(rows, err, func() error { return f(rows) })
}

// packedEntry is a row with a packed entry.
type packedEntry struct {
	id    int64
	entry []byte
}

// decode returns the entries of rows. It decodes them on all processors, because decoding takes most of the time.
func (r *Reader) decode(ctx context.Context, all []packedEntry) []Entry {
	decoded, errs := make([]Entry, len(all)), make([]error, len(all))
	var next atomic.Int64
	var decoding sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(all)) {
		decoding.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				decoded[i], errs[i] = r.codec.decode(all[i].entry)
				decoded[i].ID = all[i].id
			}
		})
	}
	decoding.Wait()
	out := decoded[:0]
	for i, e := range decoded {
		if errs[i] != nil {
			if r.unread++; r.firstUnread == nil {
				r.firstUnread = errs[i]
			}
			continue
		}
		r.restore(ctx, &e)
		out = append(out, e)
	}
	return out
}

// page is the number of messages that one query reads.
const page = 500

// Entries returns the messages with these numbers. The numbers must be in the order in which IDs returns them, newest or oldest first. It
// omits messages that were deleted in the meantime.
func (r *Reader) Entries(ctx context.Context, ids []int64) ([]Entry, error) {
	all := make([]Entry, 0, len(ids))
	for some := range slices.Chunk(ids, page) {
		ascending := slices.Sorted(slices.Values(some))
		packed := make([]packedEntry, 0, len(some))
		err := r.snapshot(ctx, func(s *snapshot) error {
			for _, c := range s.chunks {
				in := c.among(ascending)
				if len(in) == 0 {
					continue
				}
				rows, err := s.query(ctx, "SELECT id, entry FROM "+c.table()+" WHERE id IN ("+list(in)+") ORDER BY id")
				if err := scanEntries(rows, err, &packed); err != nil {
					return err
				}
			}
			return nil
		})
		part := r.decode(ctx, packed)
		if len(some) > 1 && some[0] > some[1] {
			slices.Reverse(part)
		}
		if all = append(all, part...); err != nil {
			return all, err
		}
	}
	return all, nil
}

func scanEntries(rows *sql.Rows, err error, all *[]packedEntry) error {
	return each(rows, err, func() error {
		var p packedEntry
		err := rows.Scan(&p.id, &p.entry)
		*all = append(*all, p)
		return err
	})
}

// Each calls visit for the messages that match a filter, oldest first, until visit returns false. It reads one page at a time, because a
// long transaction would block the WAL checkpoint. While visit is called for one page, the next page is read. So visit must not use the
// Reader.
func (r *Reader) Each(ctx context.Context, f Filter, visit func(*Entry) bool) error {
	if !f.Content.empty() {
		var err error
		if f, err = r.hashed(ctx, f); err != nil {
			return err
		}
	}
	reading, cancel := context.WithCancel(ctx)
	pages := make(chan entryPage)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(pages)
		for {
			p := r.nextPage(reading, f)
			select {
			case pages <- p:
			case <-reading.Done():
				return
			}
			if p.err != nil || p.last == 0 {
				return
			}
			f.After = p.last
		}
	})
	defer reader.Wait()
	defer cancel()
	for p := range pages {
		for i := range p.entries {
			if !visit(&p.entries[i]) {
				return nil
			}
		}
		if p.err != nil {
			return p.err
		}
	}
	return ctx.Err()
}

// entryPage has the entries of one page. last is the number of its last message, or 0 if there was none.
type entryPage struct {
	entries []Entry
	last    int64
	err     error
}

// nextPage reads the first page of the messages that match a filter.
func (r *Reader) nextPage(ctx context.Context, f Filter) (p entryPage) {
	var packed []packedEntry
	p.err = r.snapshot(ctx, func(s *snapshot) error {
		return s.find(ctx, f, "id, entry", page, true, func(rows *sql.Rows, err error) (int, error) {
			before := len(packed)
			err = scanEntries(rows, err, &packed)
			return len(packed) - before, err
		})
	})
	if p.entries = r.decode(ctx, packed); len(packed) > 0 {
		p.last = packed[len(packed)-1].id
	}
	if !f.Content.empty() {
		p.entries = slices.DeleteFunc(p.entries, func(e Entry) bool { return !f.Content.matches(&e) })
	}
	return p
}

// Hour is the number of messages with an outcome in one hour.
type Hour struct {
	Start time.Time
	Outcome
	N int64
}

// Hours returns the counts of all hours since a given time.
func (r *Reader) Hours(ctx context.Context, since time.Time) ([]Hour, error) {
	var all []Hour
	err := r.rows(ctx, func(rows *sql.Rows) error {
		var h Hour
		var hour int64
		err := rows.Scan(&hour, &h.N, &h.Role, &h.Action, &h.SPF, &h.DKIM, &h.DMARC, &h.ARC, &h.Observed)
		h.Start, h.Outcome = time.Unix(hour*3600, 0), h.current()
		all = append(all, h)
		return err
	}, `SELECT hour, n, role, verdict, spf, dkim, dmarc, arc, observed FROM hour JOIN outcome ON outcome.id = hour.outcome
		WHERE hour >= ? ORDER BY hour`, since.Unix()/3600)
	return all, err
}

// Count is the number of messages of a domain or a client.
type Count struct {
	Name string `json:"name"` // a domain or an address
	N    int64  `json:"messages"`
}

// mostCounted limits the messages that Top and History read.
const mostCounted = 50_000

// Top returns the domains, or the clients, with the most messages that match a filter. It counts only the newest 50,000 matching messages,
// so that it takes less than a second. whole reports whether it counted all of them.
func (r *Reader) Top(ctx context.Context, f Filter, clients bool, most int) (top []Count, whole bool, err error) {
	column := "domain"
	if clients {
		column = "client"
	}
	n := map[string]int64{}
	all := 0
	err = r.snapshot(ctx, func(s *snapshot) error {
		clear(n)
		all = 0
		return s.find(ctx, f, column, mostCounted, false, func(rows *sql.Rows, err error) (int, error) {
			before := all
			err = each(rows, err, func() error {
				var name []byte
				err := rows.Scan(&name)
				if clients {
					n[unaddress(name)]++
				} else {
					n[string(name)]++
				}
				all++
				return err
			})
			return all - before, err
		})
	})
	if err != nil {
		return nil, false, err
	}
	return MostFrequent(n, most), all < mostCounted, nil
}

// MostFrequent returns the largest counts, the largest first. The parameter most limits how many.
func MostFrequent[N int | int64](n map[string]N, most int) (all []Count) {
	for name, count := range n {
		all = append(all, Count{name, int64(count)})
	}
	slices.SortFunc(all, func(a, b Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	return all[:min(most, len(all))]
}

// Covers returns the times of the oldest and the newest message. They are zero if the journal is empty.
func (r *Reader) Covers(ctx context.Context) (oldest, newest time.Time, err error) {
	err = r.snapshot(ctx, func(s *snapshot) error {
		first, last, err := s.ends(ctx)
		if err == nil && last > 0 {
			oldest, newest = time.UnixMicro(first), time.UnixMicro(last)
		}
		return err
	})
	return oldest, newest, err
}

// Size returns the size of the database in bytes without its free pages, and the time of the newest message.
func (r *Reader) Size(ctx context.Context) (size int64, newest time.Time, err error) {
	var last int64
	err = r.snapshot(ctx, func(s *snapshot) error {
		if _, last, err = s.ends(ctx); err != nil {
			return err
		}
		return s.tx.QueryRowContext(ctx, "SELECT (page_count - freelist_count) * ? FROM pragma_page_count, pragma_freelist_count", pageSize).Scan(&size)
	})
	return size, time.UnixMicro(last), err
}

// Close closes the database.
func (r *Reader) Close() { _ = r.db.Close() }
