package report

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"signpost/internal/report/db"
)

// State is the database of the reports that were made: STATE_DIR/reports/reports.db. Each method is one transaction, which is on the disk
// when the method returns. A process that is killed therefore loses nothing, and continues with the next step. Several processes can use
// the database, but only one should send: the caller holds a lock.
type State struct {
	// Host is the name of this host, which changes of deliveries get. It is empty if the site has only one host: then changes of deliveries are
	// not shared, and the index of those to be shared needs no space.
	Host string

	db  *db.DB
	now func() time.Time
}

// ErrNoState is the error of OpenState if there is no database.
var ErrNoState = errors.New("no report was made yet")

// stateVersion is the version of the tables, as in user_version.
const stateVersion = 1

// stateSchema creates the tables. Times are in seconds since 1970. The since of a delivery is when it was last put into StageFrozen. shared is 0
// if the row has changed since this host shared it with the others. The row of pulled is that of Pulled.
const stateSchema = `
CREATE TABLE report (
	id TEXT PRIMARY KEY, file TEXT NOT NULL, gzip BLOB NOT NULL,
	day INTEGER NOT NULL, domain TEXT NOT NULL, rows INTEGER NOT NULL, messages INTEGER NOT NULL, created INTEGER NOT NULL,
	sender_domain TEXT NOT NULL, org_name TEXT NOT NULL, email TEXT NOT NULL
);
CREATE TABLE delivery (
	report TEXT NOT NULL REFERENCES report (id) ON DELETE CASCADE,
	position INTEGER NOT NULL, destination TEXT NOT NULL, organization TEXT NOT NULL, mac TEXT NOT NULL,
	stage TEXT NOT NULL, since INTEGER NOT NULL, changed INTEGER NOT NULL, tries INTEGER NOT NULL, detail TEXT NOT NULL, bounced TEXT NOT NULL,
	host TEXT NOT NULL, shared INTEGER NOT NULL,
	PRIMARY KEY (report, position), UNIQUE (report, destination)
);
CREATE INDEX delivery_mac ON delivery (mac);
CREATE INDEX delivery_stage ON delivery (stage, changed);
CREATE TABLE suppression (destination TEXT PRIMARY KEY, until INTEGER NOT NULL, count INTEGER NOT NULL, status TEXT NOT NULL, changed INTEGER NOT NULL, shared INTEGER NOT NULL);
CREATE TABLE day (day INTEGER PRIMARY KEY);
CREATE INDEX delivery_shared ON delivery (shared) WHERE shared = 0;
CREATE TABLE pulled (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE unresolved (day INTEGER NOT NULL, domain TEXT NOT NULL, PRIMARY KEY (day, domain)) WITHOUT ROWID;
`

// collectedDays is the number of days after which the record that a day was collected is deleted. journal.keep is shorter.
const collectedDays = 4000

// OpenState opens the database at path. If create is true, it creates the database and its directory; otherwise, the error wraps ErrNoState if
// there is none. now is the clock.
func OpenState(ctx context.Context, path string, create bool, now func() time.Time) (*State, error) {
	d, err := db.Open(ctx, path, stateSchema, stateVersion, create)
	if errors.Is(err, fs.ErrNotExist) && !create {
		err = fmt.Errorf("%s: %w", path, ErrNoState)
	}
	if err != nil {
		return nil, err
	}
	return &State{db: d, now: now}, nil
}

// Close closes the database.
func (s *State) Close() { _ = s.db.Close() }

// Collected reports whether SetCollected was called for a day.
func (s *State) Collected(ctx context.Context, day time.Time) (collected bool, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM day WHERE day = ?)", Day(day).Unix()).Scan(&collected)
	return collected, err
}

// SetCollected records that all reports of a day are frozen, so the journal of that day is not read again.
func (s *State) SetCollected(ctx context.Context, day time.Time) error {
	return s.db.Transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM unresolved WHERE day = ?", Day(day).Unix()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO day (day) VALUES (?) ON CONFLICT DO NOTHING", Day(day).Unix())
		return err
	})
}

// ForgetDays forgets that days since a time were collected. It is called for days that have not ended: the clock was ahead. A report about
// such a day that was frozen stays as it is.
func (s *State) ForgetDays(ctx context.Context, since time.Time) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM day WHERE day >= ?", Day(since).Unix())
	return err
}

// SetUnresolved records that the destinations of a Policy Domain's report about a day could not be looked up.
func (s *State) SetUnresolved(ctx context.Context, day time.Time, domain string) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO unresolved (day, domain) VALUES (?,?) ON CONFLICT DO NOTHING", Day(day).Unix(), domain)
	return err
}

// Unresolved returns the domains for which SetUnresolved was called, until SetCollected is called for that day.
func (s *State) Unresolved(ctx context.Context, day time.Time) (map[string]bool, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT domain FROM unresolved WHERE day = ?", Day(day).Unix())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]bool{}
	for rows.Next() {
		var domain string
		if err := rows.Scan(&domain); err != nil {
			return nil, err
		}
		all[domain] = true
	}
	return all, rows.Err()
}

// Expire deletes the reports that were frozen before a time, with their deliveries, except those that are due. It also deletes days and
// suppressions that no longer matter.
func (s *State) Expire(ctx context.Context, before time.Time) error {
	return s.db.Transact(ctx, func(tx *sql.Tx) error {
		for _, e := range []struct {
			query string
			args  []any
		}{
			{"DELETE FROM report WHERE created < ? AND NOT EXISTS (SELECT 1 FROM delivery WHERE report = id AND stage = ?)", []any{before.Unix(), StageFrozen}},
			{"DELETE FROM day WHERE day < ?", []any{s.now().AddDate(0, 0, -collectedDays).Unix()}},
			{"DELETE FROM unresolved WHERE day < ?", []any{s.now().AddDate(0, 0, -collectedDays).Unix()}},
			{"DELETE FROM suppression WHERE max(until, changed) < ?", []any{s.now().Add(-forgetBounces).Unix()}},
		} {
			if _, err := tx.ExecContext(ctx, e.query, e.args...); err != nil {
				return err
			}
		}
		return nil
	})
}
