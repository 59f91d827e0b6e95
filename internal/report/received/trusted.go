package received

import (
	"context"
	"database/sql"
)

// Trusted returns the reporters that count for advice and alarms, sorted: as of the last run of signpost reports read.
func (s *Store) Trusted(ctx context.Context) (all []string, err error) {
	err = s.each(ctx, func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		all = append(all, name)
		return err
	}, "SELECT reporter FROM trusted ORDER BY reporter")
	return all, err
}

// SetTrusted replaces the list of Trusted.
func (s *Store) SetTrusted(ctx context.Context, all []string) error {
	return s.db.Transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM trusted"); err != nil {
			return err
		}
		for _, name := range all {
			if _, err := tx.ExecContext(ctx, "INSERT INTO trusted VALUES (?) ON CONFLICT DO NOTHING", name); err != nil {
				return err
			}
		}
		return nil
	})
}

// each calls f for each row of a query.
func (s *Store) each(ctx context.Context, f func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
