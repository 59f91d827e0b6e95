// Package cluster keeps the keys and rules of several hosts the same. Each host works from its own files. The SQL database of the site, which
// is PostgreSQL or MariaDB, carries the changes. Only signpost-cluster imports this package.
//
// [DB] is the database, [SiteKeys] seal its rows, and a [Host] synchronizes the files of one host with it:
//
//	db, err := cluster.Open("postgres://signpost@db.example.org/signpost")
//	...
//	h, err := cluster.New(cluster.Options{DB: db, KeyFile: file, Store: store, Name: "mx1", Program: version, Now: time.Now, Log: log})
//	...
//	err = h.Sync(ctx)
package cluster

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// queryTimeout is the timeout of a query, and of a connection to the database.
const queryTimeout = 5 * time.Second

// dialect has the differences between the databases. All queries are written with "?" as the placeholder.
type dialect struct {
	numbered bool   // placeholders are $1, $2 ...
	now      string // the time of the database in ms since 1970, UTC
	blob     string // the type of a sealed key
	text     string // the type of a rule
	suffix   string // of CREATE TABLE; names are compared byte by byte
	ignore   string // the end of an INSERT that leaves an existing row unchanged
	bytes    string // the query of the size of the messages in bytes
}

// DB is the database of a cluster. It is safe for concurrent use.
type DB struct {
	pool *sql.DB
	dialect
}

// Open returns the database at a URL with the scheme postgres or mysql. It does not connect. An error does not contain the password.
func Open(address string) (*DB, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the database is not a valid URL")
	}
	switch u.Scheme {
	case "postgres":
		return openPostgreSQL(address)
	case "mysql":
		return openMariaDB(u)
	}
	return nil, fmt.Errorf("unknown scheme %q of the database: postgres and mysql are allowed", u.Scheme)
}

func openPostgreSQL(address string) (*DB, error) {
	conf, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("the URL of the database has a parameter that is not valid for PostgreSQL")
	}
	if conf.ConnectTimeout == 0 {
		conf.ConnectTimeout = queryTimeout
	}
	if conf.RuntimeParams["application_name"] == "" {
		conf.RuntimeParams["application_name"] = "signpost-cluster"
	}
	d := dialect{true, "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)", "BYTEA", "TEXT", "",
		" ON CONFLICT DO NOTHING", "SELECT pg_total_relation_size('sp_message')"}
	return limited(&DB{stdlib.OpenDB(*conf), d}), nil
}

// openMariaDB accepts the parameters of the driver in the URL. The parameter host is the path of a unix socket.
func openMariaDB(u *url.URL) (*DB, error) {
	query := u.Query()
	socket := query.Get("host")
	query.Del("host")
	conf, err := mysql.ParseDSN("/?" + query.Encode())
	if err != nil {
		return nil, errors.New("the URL of the database has a parameter that is not valid for MariaDB")
	}
	conf.User, conf.DBName = u.User.Username(), strings.Trim(u.Path, "/")
	conf.Passwd, _ = u.User.Password()
	conf.Net, conf.Addr = "tcp", u.Host
	if socket != "" {
		conf.Net, conf.Addr = "unix", socket
	} else if u.Port() == "" {
		conf.Addr = net.JoinHostPort(u.Hostname(), strconv.Itoa(3306))
	}
	if conf.Timeout == 0 {
		conf.Timeout = queryTimeout
	}
	if conf.ReadTimeout == 0 {
		conf.ReadTimeout, conf.WriteTimeout = 2*queryTimeout, 2*queryTimeout // for a ROLLBACK, which has no context
	}
	conf.ClientFoundRows = true // the number of rows that an UPDATE matched
	conf.RejectReadOnly = true  // after a failover, connections to the former primary are closed
	if conf.Params == nil {
		conf.Params = map[string]string{}
	}
	conf.Params["time_zone"] = "'+00:00'" // UNIX_TIMESTAMP is ambiguous when summer time ends
	conf.Logger = &mysql.NopLogger{}      // the driver also returns each error
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, errors.New("the URL of the database is not valid for MariaDB")
	}
	d := dialect{false, "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)", "MEDIUMBLOB", "MEDIUMTEXT", " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
		" ON DUPLICATE KEY UPDATE id = id", "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'sp_message'"}
	return limited(&DB{sql.OpenDB(connector), d}), nil
}

// limited limits the connections of this host.
func limited(d *DB) *DB {
	d.pool.SetMaxOpenConns(4)
	d.pool.SetMaxIdleConns(2)
	d.pool.SetConnMaxLifetime(10 * time.Minute) // a proxy may have moved to another server
	return d
}

// Close closes the connections.
func (d *DB) Close() error { return d.pool.Close() }

// rebind returns a query with the placeholders of the database.
func (d dialect) rebind(query string) string {
	if !d.numbered {
		return query
	}
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(query, "?") {
		if n > 0 {
			b.WriteString("$" + strconv.Itoa(n))
		}
		b.WriteString(part)
		n++
	}
	return b.String()
}

// session runs queries, each with queryTimeout: outside of a transaction, or in one.
type session struct {
	dialect
	on interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
}

func (d *DB) session() session { return session{d.dialect, d.pool} }

// clock returns the time of the database in milliseconds.
func (s session) clock(ctx context.Context) (ms int64, err error) {
	_, err = s.one(ctx, "SELECT "+s.now, nil, &ms)
	return ms, err
}

// exec returns the number of rows that the statement matched.
func (s session) exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	result, err := s.on.ExecContext(ctx, s.rebind(query), args...)
	if err != nil {
		return 0, databaseError(err)
	}
	return result.RowsAffected()
}

// each calls row for each row of the result. The function scan reads the columns of the row.
func (s session) each(ctx context.Context, row func(scan func(dest ...any) error) error, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.on.QueryContext(ctx, s.rebind(query), args...)
	if err != nil {
		return databaseError(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return databaseError(rows.Err())
}

// one reads the first row of the result. ok is false if there is none.
func (s session) one(ctx context.Context, query string, args []any, dest ...any) (ok bool, err error) {
	err = s.each(ctx, func(scan func(...any) error) error {
		if ok {
			return nil
		}
		ok = true
		return scan(dest...)
	}, query, args...)
	return ok && err == nil, err
}

// transaction calls do in a transaction, and commits if do returns nil. BEGIN and COMMIT have the timeout of a query.
func (d *DB) transaction(ctx context.Context, isolation sql.IsolationLevel, readOnly bool, do func(s session) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	inTime := func(step func() error) error {
		timer := time.AfterFunc(queryTimeout, func() { cancel(context.DeadlineExceeded) })
		defer timer.Stop()
		if err := step(); err != nil {
			return databaseError(cmp.Or(context.Cause(ctx), err))
		}
		return nil
	}
	var tx *sql.Tx
	err := inTime(func() (err error) {
		tx, err = d.pool.BeginTx(ctx, &sql.TxOptions{Isolation: isolation, ReadOnly: readOnly})
		return err
	})
	if err != nil {
		return err
	}
	if err := do(session{d.dialect, tx}); err != nil {
		_ = tx.Rollback() // if this fails, the connection is closed, which has the same effect
		return err
	}
	return inTime(tx.Commit)
}

// Unreachable is the error of a query that the database did not carry out. Nothing is changed, except that a transaction may have been
// committed if the connection failed at that moment.
type Unreachable struct{ err error }

func (e *Unreachable) Error() string {
	var errno syscall.Errno
	var postgres *pgconn.PgError
	var maria *mysql.MySQLError
	switch {
	case errors.Is(e.err, context.DeadlineExceeded), errors.Is(e.err, os.ErrDeadlineExceeded):
		return "the database did not answer in time"
	case errors.Is(e.err, driver.ErrBadConn), errors.Is(e.err, mysql.ErrInvalidConn):
		return "the database closed the connection, or is read-only"
	case errors.As(e.err, &postgres):
		return "the database: " + postgres.Message
	case errors.As(e.err, &maria):
		return "the database: " + maria.Message
	case errors.As(e.err, &errno):
		return "the database cannot be reached: " + errno.Error()
	}
	return "the database: " + strings.Join(strings.Fields(e.err.Error()), " ")
}

func (e *Unreachable) Unwrap() error { return e.err }

func databaseError(err error) error {
	if err == nil {
		return nil
	}
	return &Unreachable{err}
}
