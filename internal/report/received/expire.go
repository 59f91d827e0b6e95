package received

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"time"
)

const (
	// foldAfter is the age at which the rows of a report are added up. Alarms and advice need younger rows.
	foldAfter = 90 * 24 * time.Hour
	// step is the maximum number of rows that one transaction deletes or adds up, except those of one larger report. It takes about a second,
	// in which signpost reports import has to wait. Readers never wait.
	step = 20_000
	// vacuumPages is the number of free pages that one transaction returns to the file system.
	vacuumPages = 2000
)

// Expire deletes the reports whose range ended before a time, and adds up the rows of those that are older than foldAfter. It returns unused
// space to the file system. If ctx ends, the next call continues.
func (s *Store) Expire(ctx context.Context, before time.Time) error {
	if err := s.deleteAll(ctx, "end_at < ? ORDER BY end_at", before.Unix()); err != nil {
		return err
	}
	if err := s.fold(ctx, s.now().Add(-foldAfter)); err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, "DELETE FROM quota WHERE day < ?", s.today().Unix()); err != nil {
		return err
	}
	return s.vacuum(ctx)
}

func (s *Store) deleteAll(ctx context.Context, which string, args ...any) error {
	for {
		if n, err := s.deleteSome(ctx, which, args...); n == 0 || err != nil {
			return err
		}
	}
}

// deleteSome deletes the first reports of a query, with about step rows, and returns their number.
func (s *Store) deleteSome(ctx context.Context, which string, args ...any) (n int, err error) {
	err = s.db.Transact(ctx, func(tx *sql.Tx) error {
		ids, err := first(ctx, tx, which, args...)
		n = len(ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, "DELETE FROM report WHERE id = ?", id); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// first returns the first reports of a query that have about step rows together, but at least one report.
func first(ctx context.Context, tx *sql.Tx, which string, args ...any) (ids []int64, err error) {
	const most = step / 10 // a report without rows is also work
	rows, err := tx.QueryContext(ctx, "SELECT id, rows FROM report WHERE "+which+" LIMIT "+strconv.Itoa(most), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	sum := 0
	for rows.Next() && sum < step {
		var id int64
		var n int
		if err := rows.Scan(&id, &n); err != nil {
			return nil, err
		}
		if sum += n; sum > step && len(ids) > 0 {
			break
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// makeRoom deletes reports of a full database until an eighth of it is free: first those of reporters that are not trusted, since anyone can send
// many of them; then the oldest. It reports whether it deleted any.
func (s *Store) makeRoom(ctx context.Context) (freed bool, err error) {
	for {
		var size int64
		if err := s.db.Transact(ctx, func(tx *sql.Tx) (err error) {
			size, err = used(ctx, tx)
			return err
		}); err != nil || freed && size <= s.full()-s.full()/8 {
			return freed, err
		}
		n, err := s.deleteSome(ctx, "verified AND reporter NOT IN (SELECT reporter FROM trusted) ORDER BY end_at")
		if n == 0 && err == nil {
			n, err = s.deleteSome(ctx, "true ORDER BY end_at")
		}
		if n == 0 || err != nil {
			return freed, err
		}
		freed = true
	}
}

// fold adds up the rows of the reports whose range ended before a time.
func (s *Store) fold(ctx context.Context, before time.Time) error {
	for n := -1; n != 0; {
		if err := s.db.Transact(ctx, func(tx *sql.Tx) error {
			ids, err := first(ctx, tx, "folded = 0 AND end_at < ? ORDER BY end_at", before.Unix())
			n = len(ids)
			for i := 0; i < n && err == nil; i++ {
				err = foldReport(ctx, tx, ids[i])
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func foldReport(ctx context.Context, tx *sql.Tx, id int64) error {
	for table, sums := range map[string]string{
		"source":    "report, address, sum(count), dkim, spf, disposition, '', '', '' FROM source WHERE report = ? GROUP BY address, dkim, spf, disposition",
		"signature": "report, x'', domain, selector, result, sum(count) FROM signature WHERE report = ? GROUP BY domain, selector, result",
	} {
		var last int64
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(rowid), 0) FROM "+table).Scan(&last); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+table+" SELECT "+sums, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE report = ? AND rowid <= ?", id, last); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `UPDATE report SET folded = 1, rows = (SELECT count(*) FROM source WHERE report = id) + (SELECT count(*) FROM signature WHERE report = id)
		+ (SELECT count(*) FROM tls WHERE report = id) WHERE id = ?`, id)
	return err
}

// vacuum returns free pages to the file system.
func (s *Store) vacuum(ctx context.Context) error {
	for before := -1; ; {
		var free int
		if err := s.db.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free); err != nil {
			return err
		}
		if free < vacuumPages || free == before {
			break
		}
		before = free
		if _, err := s.db.ExecContext(ctx, "PRAGMA incremental_vacuum("+strconv.Itoa(vacuumPages)+")"); err != nil {
			return err
		}
	}
	_, err := s.db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

// Size returns the size of the database in bytes, with its write-ahead log.
func (s *Store) Size() (sum int64, err error) {
	for _, suffix := range []string{"", "-wal"} {
		fi, err := os.Stat(s.path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		sum += fi.Size()
	}
	return sum, nil
}
