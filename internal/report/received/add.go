package received

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"signpost/internal/report/read"
	"signpost/internal/report/status"
)

// Quotas of a reporter that is not trusted, for reports that arrive on one UTC day. Nobody sends a new reporter's reports about more domains
// than a large provider hosts. A trusted reporter has no quota.
const (
	quotaReports = 10_000
	quotaRows    = 1_000_000
)

// Errors of Add.
var (
	ErrQuota = errors.New("the reporter has sent too many reports today")
	ErrLarge = errors.New("the report is too large for the database")
)

// MaxSize/fullShare is left free for the write-ahead log. One report may take MaxSize/reportShare.
const (
	fullShare   = 4
	reportShare = 8
)

// errFull is the error of a transaction after which the database would be too large.
var errFull = errors.New("the database is full")

// Add stores a report, and counts it as status.Stored if it is verified. The error is ErrDuplicate, ErrQuota or ErrLarge if the report is not
// stored for this reason. A verified report replaces an imported one. If the database is full, Add deletes other reports.
func (s *Store) Add(ctx context.Context, r *read.Report, o Origin) error {
	for {
		err := s.db.Transact(ctx, func(tx *sql.Tx) error { return s.add(ctx, tx, r, o) })
		switch {
		case err == nil, errors.Is(err, ErrDuplicate), errors.Is(err, ErrQuota), errors.Is(err, ErrLarge), ctx.Err() != nil:
			return err
		case !errors.Is(err, errFull):
			return fmt.Errorf("%s: %w", s.path, err)
		}
		if freed, err := s.makeRoom(ctx); err != nil {
			return err
		} else if !freed {
			return ErrLarge
		}
	}
}

func (s *Store) add(ctx context.Context, tx *sql.Tx, r *read.Report, o Origin) error {
	before, err := used(ctx, tx)
	if err != nil {
		return err
	}
	signed := signatures(r.Rows)
	rows := len(r.Rows) + len(signed)
	for _, p := range r.Policies {
		rows += 1 + len(p.Failures)
	}
	if o.Verified {
		if err := s.charge(ctx, tx, o.Reporter, rows); err != nil { // before the rows are written, which takes seconds
			return err
		}
		if !o.Shared {
			err = count(ctx, tx, status.Stored)
		}
		if err != nil {
			return err
		}
		if err := deleteImported(ctx, tx, r, o); err != nil {
			return err
		}
	}
	if err := add(ctx, tx, r, o, signed, rows); err != nil {
		return err
	}
	switch after, err := used(ctx, tx); {
	case err != nil || s.MaxSize == 0:
		return err
	case after-before > s.MaxSize/reportShare:
		return ErrLarge
	case after > s.full():
		return errFull
	}
	return nil
}

// deleteImported deletes the imported copy of a report that is verified now. Otherwise, a forged file that was imported could keep the genuine
// report from being stored.
func deleteImported(ctx context.Context, tx *sql.Tx, r *read.Report, o Origin) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM report WHERE kind = ? AND reporter = ? AND report_id = ? AND domain = ? AND NOT verified", r.Kind, o.Reporter, r.ID, r.Domain)
	return err
}

// full returns the size in bytes at which the database is full.
func (s *Store) full() int64 { return s.MaxSize - s.MaxSize/fullShare }

// used returns the size of the database in bytes without its free pages, which SQLite uses before the file grows.
func used(ctx context.Context, tx *sql.Tx) (bytes int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size").Scan(&bytes)
	return bytes, err
}

// charge counts a report for the quotas of its reporter.
func (s *Store) charge(ctx context.Context, tx *sql.Tx, reporter string, rows int) error {
	var reports, sum int64
	err := tx.QueryRowContext(ctx, `INSERT INTO quota VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE SET reports = reports + 1, rows = rows + excluded.rows
		RETURNING reports, rows`, s.today().Unix(), reporter, rows).Scan(&reports, &sum)
	if err != nil || reports <= quotaReports && sum <= quotaRows {
		return err
	}
	var trusted bool
	if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM trusted WHERE reporter = ?)", reporter).Scan(&trusted); err != nil {
		return err
	}
	if !trusted {
		return ErrQuota
	}
	return nil
}

// today returns the first second of this UTC day.
func (s *Store) today() time.Time { return s.now().UTC().Truncate(24 * time.Hour) }

// Count counts a message of the spool that was not stored.
func (s *Store) Count(ctx context.Context, r status.Result) error {
	return s.db.Transact(ctx, func(tx *sql.Tx) error { return count(ctx, tx, r) })
}

func count(ctx context.Context, tx *sql.Tx, r status.Result) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO tally VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1", r)
	return err
}

// Numbers are counts of the whole database.
type Numbers struct {
	Read   map[status.Result]int64 // what Add and Count have counted; each result has an entry
	Stored map[string]int64        // reports, by read.Kind
	Bytes  int64                   // the size of the files, with the write-ahead log
}

// Numbers returns the counts of the database.
func (s *Store) Numbers(ctx context.Context) (n Numbers, err error) {
	n = Numbers{Read: map[status.Result]int64{}, Stored: map[string]int64{}}
	for _, kind := range status.Kinds() {
		n.Stored[kind] = 0
	}
	for _, r := range status.Results() {
		n.Read[r] = 0
	}
	var name string
	var value int64
	if err := s.each(ctx, func(scan func(...any) error) error {
		err := scan(&name, &value)
		n.Read[status.Result(name)] = value
		return err
	}, "SELECT result, n FROM tally"); err != nil {
		return n, fmt.Errorf("counting the messages: %w", err)
	}
	if err := s.each(ctx, func(scan func(...any) error) error {
		err := scan(&name, &value)
		n.Stored[name] = value
		return err
	}, "SELECT kind, count(*) FROM report GROUP BY kind"); err != nil {
		return n, fmt.Errorf("counting the reports: %w", err)
	}
	n.Bytes, err = s.Size()
	return n, err
}
