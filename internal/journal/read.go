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

// Reader reads a journal while a daemon writes it. Each question is a short transaction of its own.
type Reader struct {
	*database
	Frozen bool // the file system is read-only: what comes when it no longer is, only another Reader will see

	texts     map[int64]string // of the table answer, by their hashes, which say which they are for ever
	textsSize int              // octets of these

	unread      int // entries that could not be decoded
	firstUnread error
}

// Unread says how many entries could not be read and were left out so far; nil: none.
func (r *Reader) Unread() error {
	if r.unread == 0 {
		return nil
	}
	return fmt.Errorf("entries of the journal that cannot be read were left out: %d, of which the first: %w", r.unread, r.firstUnread)
}

// ErrNone: there is no journal at this place.
var ErrNone = errors.New("there is no journal here yet; signpost serve writes one")

// OpenReader opens the journal in a file.
func OpenReader(path string) (*Reader, error) {
	if missing(path) {
		return nil, fmt.Errorf("%s: %w", path, ErrNone)
	}
	from := dsn(path, "busy_timeout(5000)", "query_only(1)", "cache_size(-16384)")
	r, err := openReader(from)
	// SQLite makes files beside the database to read it, too. Where nobody can, nobody writes either: it may be read as it lies,
	// if all is in it.
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
	d := &database{DB: db}
	var has int
	err = db.QueryRow("PRAGMA user_version").Scan(&has)
	switch {
	case err == nil && has == 0: // it is just being made
		err = ErrNone
	case err == nil && has != version:
		err = fmt.Errorf("%w: it is of version %d, and this Signpost reads version %d", errForeign, has, version)
	}
	d.codec = newCodec()
	if err == nil {
		d.outcomes, err = readOutcomes(db)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return &Reader{database: d}, nil
}

// Find gives the messages with a queue ID or Message-ID, newest first, a hundred at the most: Postfix uses short queue IDs again.
func (r *Reader) Find(ctx context.Context, id string) ([]Entry, error) {
	var found []Entry
	for _, q := range []struct {
		column string
		is     func(*Entry) string
		ids    []string
	}{
		{"queue", func(e *Entry) string { return e.Evidence.QueueID }, []string{id}},
		{"mid", func(e *Entry) string { return e.Evidence.MessageID }, []string{id, "<" + id + ">"}},
	} {
		for _, want := range q.ids {
			all, err := r.entries(ctx, "SELECT id, entry FROM message WHERE "+q.column+" = ? ORDER BY id DESC LIMIT 100", hash(want))
			if err != nil {
				return nil, err
			}
			for _, e := range all {
				if isID(q.is(&e), want) {
					found = append(found, e)
				}
			}
		}
		if len(found) > 0 {
			break
		}
	}
	return found, nil
}

// entries reads whole messages. They are decoded on all processors: that is most of the work where there are many.
func (r *Reader) entries(ctx context.Context, query string, args ...any) ([]Entry, error) {
	rows, err := r.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	type packed struct {
		id    int64
		entry []byte
	}
	var all []packed
	for rows.Next() {
		var p packed
		if err := rows.Scan(&p.id, &p.entry); err != nil {
			rows.Close()
			return nil, err
		}
		all = append(all, p)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
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
		r.restore(&e)
		out = append(out, e)
	}
	return out, nil
}

func (r *Reader) ids(ctx context.Context, query string, args ...any) (all []int64, err error) {
	rows, err := r.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		all = append(all, id)
	}
	return all, rows.Err()
}

// page is how many messages are read at a time.
const page = 500

// Entries gives whole messages by their numbers, as IDs gives these: newest or oldest first. What was deleted meanwhile is left out.
func (r *Reader) Entries(ctx context.Context, ids []int64) ([]Entry, error) {
	all := make([]Entry, 0, len(ids))
	for some := range slices.Chunk(ids, page) {
		part, err := r.entries(ctx, "SELECT id, entry FROM message WHERE id IN ("+list(some)+") ORDER BY id")
		if len(some) > 1 && some[0] > some[1] {
			slices.Reverse(part)
		}
		if all = append(all, part...); err != nil {
			return all, err
		}
	}
	return all, nil
}

// Each visits the messages that a filter takes, oldest first, until visit returns false. It reads them by the page, so that
// nothing keeps the daemon from tidying up.
func (r *Reader) Each(ctx context.Context, f Filter, visit func(*Entry) bool) error {
	for {
		ids, err := r.IDs(ctx, f, page, true)
		if err != nil || len(ids) == 0 {
			return err
		}
		all, err := r.Entries(ctx, ids)
		for i := range all {
			if !visit(&all[i]) {
				return nil
			}
		}
		if err != nil {
			return err
		}
		f.After = ids[len(ids)-1]
	}
}

// Hour is how many messages had an outcome in an hour.
type Hour struct {
	Start time.Time
	Outcome
	N int64
}

// Hours counts the messages from a time on, hour by hour.
func (r *Reader) Hours(ctx context.Context, since time.Time) ([]Hour, error) {
	rows, err := r.QueryContext(ctx, `SELECT hour, n, role, verdict, spf, dkim, dmarc, arc, observed FROM hour JOIN outcome ON outcome.id = hour.outcome
		WHERE hour >= ? ORDER BY hour`, since.Unix()/3600)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Hour
	for rows.Next() {
		var h Hour
		var hour int64
		if err := rows.Scan(&hour, &h.N, &h.Role, &h.Verdict, &h.SPF, &h.DKIM, &h.DMARC, &h.ARC, &h.Observed); err != nil {
			return nil, err
		}
		h.Start = time.Unix(hour*3600, 0)
		all = append(all, h)
	}
	return all, rows.Err()
}

// Count is how many messages somebody sent.
type Count struct {
	Name string // a domain or an address
	N    int64
}

// Top gives the domains, or the clients, of most messages that a filter takes. It looks at the newest of them, so many that it
// ends within a second; whole says whether those were all.
func (r *Reader) Top(ctx context.Context, f Filter, clients bool, most int) (top []Count, whole bool, err error) {
	const look = 50_000
	ids, err := r.IDs(ctx, f, look, false)
	if err != nil {
		return nil, false, err
	}
	column := "domain"
	if clients {
		column = "client"
	}
	n := map[string]int64{}
	for some := range slices.Chunk(ids, page) {
		if err := r.names(ctx, "SELECT "+column+" FROM message WHERE id IN ("+list(some)+")", clients, n); err != nil {
			return nil, false, err
		}
	}
	return MostFrequent(n, most), len(ids) < look, nil
}

// MostFrequent returns the greatest counts, in their order.
func MostFrequent(n map[string]int64, most int) (all []Count) {
	for name, count := range n {
		all = append(all, Count{name, count})
	}
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name))
	})
	return all[:min(most, len(all))]
}

// names counts what a question brings.
func (r *Reader) names(ctx context.Context, query string, clients bool, n map[string]int64) error {
	rows, err := r.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name []byte
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if clients {
			n[unaddress(name)]++
		} else {
			n[string(name)]++
		}
	}
	return rows.Err()
}

// Size is how many octets the database takes, and Newest when its last message came.
func (r *Reader) Size() (size int64, newest time.Time, err error) {
	if size, err = r.used(); err != nil {
		return 0, newest, err
	}
	var last int64
	err = r.QueryRow("SELECT coalesce(max(id), 0) FROM message").Scan(&last)
	return size, time.UnixMicro(last), err
}

// Covers returns the times of the oldest and the newest message. Both are zero if the journal is empty.
func (r *Reader) Covers(ctx context.Context) (oldest, newest time.Time, err error) {
	var first, last *int64
	// Two queries: with both in one SQLite reads the whole table.
	if err = r.QueryRowContext(ctx, "SELECT min(id) FROM message").Scan(&first); err == nil {
		err = r.QueryRowContext(ctx, "SELECT max(id) FROM message").Scan(&last)
	}
	if err != nil || first == nil || last == nil {
		return time.Time{}, time.Time{}, err
	}
	return time.UnixMicro(*first), time.UnixMicro(*last), nil
}

// Close ends reading.
func (r *Reader) Close() { _ = r.DB.Close() }
