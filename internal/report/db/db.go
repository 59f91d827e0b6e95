// Package db opens the SQLite databases of reports.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// DB is an open database. Each transaction is on the disk when it is committed. Several processes can use the database.
type DB struct{ *sql.DB }

// busy is how long a transaction waits for another process.
const busy = 10 * time.Second

// Open opens the database at path, which has the tables of schema and version as its user_version. If create is true, it creates the database
// and its directory; otherwise, the error wraps fs.ErrNotExist if there is none. more are pragmas that are set before the
// others, such as "auto_vacuum(2)".
func Open(ctx context.Context, path, schema string, version int, create bool, more ...string) (*DB, error) {
	d, err := open(ctx, path, schema, version, create, more)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

func open(ctx context.Context, path, schema string, version int, create bool, more []string) (*DB, error) {
	if create {
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		// A new file gets mode 0600, because it has addresses. Closing a file of SQLite releases its locks, so an existing file is not
		// opened.
		if f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
			f.Close()
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	} else if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fs.ErrNotExist
	}
	all := slices.Concat([]string{fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds())}, more, []string{"journal_mode(WAL)", "synchronous(2)", "foreign_keys(1)"})
	pragmas := url.Values{"_pragma": all, "_txlock": {"immediate"}}
	pool, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: pragmas.Encode()}).String())
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(1)
	d := &DB{pool}
	if err := d.prepare(ctx, schema, version); err != nil {
		pool.Close()
		return nil, err
	}
	return d, nil
}

// prepare creates the tables of a new database.
func (d *DB) prepare(ctx context.Context, schema string, version int) error {
	return d.Transact(ctx, func(tx *sql.Tx) error {
		var has int
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&has); err != nil {
			return err
		}
		switch {
		case has > version:
			return fmt.Errorf("it is of version %d, and this Signpost reads version %d", has, version)
		case has == version:
			return nil
		}
		_, err := tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d", version))
		return err
	})
}

// Transact runs f in a transaction, which is rolled back if f returns an error.
func (d *DB) Transact(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := d.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}
