// Package received keeps the reports that other receivers sent about our domains: STATE_DIR/reports/received.db. signpost reports read fills it
// from the spool of the daemon, and signpost reports import from files.
package received

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/report/db"
	"signpost/internal/report/read"
)

// ErrNone is the error of Open if there is no database.
var ErrNone = errors.New("no report was received yet")

// Store is the database. Each method is one transaction.
type Store struct {
	// MaxSize is the size in bytes below which Add keeps the database: it deletes reports to make room. 0: no limit.
	MaxSize int64

	path string
	db   *db.DB
	now  func() time.Time
}

const version = 1

// schema creates the tables. Times are in seconds since 1970, days are the first second of a UTC day. Names are lower-case A-labels.
//
// A report has a day if its range is within one UTC day (with an hour of tolerance); otherwise day is NULL, and charts omit it. A row of source
// is a record of an aggregate report. After foldAfter, the rows of a report with the same address and results are added up, and header_from,
// envelope_from and detail are empty. A row of signature counts the messages of a report with a signature; after foldAfter, address is empty.
//
// trusted has the reporters that count for advice and alarms. mail counts our outbound mail by day and domain of the recipients; the domain of the
// row that marks a day as counted is empty. lookup caches what was found in DNS; since is when this value was first found. quota counts what a
// reporter has sent on a day. tally counts what happened to the messages of the spool.
const schema = `
CREATE TABLE report (
	id INTEGER PRIMARY KEY, kind TEXT NOT NULL, reporter TEXT NOT NULL, report_id TEXT NOT NULL, domain TEXT NOT NULL,
	begin_at INTEGER NOT NULL, end_at INTEGER NOT NULL, day INTEGER, received INTEGER NOT NULL, verified INTEGER NOT NULL, queue_id TEXT NOT NULL,
	org_name TEXT NOT NULL, contact TEXT NOT NULL, generator TEXT NOT NULL, errors TEXT NOT NULL, policy TEXT NOT NULL,
	messages INTEGER NOT NULL, passed INTEGER NOT NULL, rows INTEGER NOT NULL, folded INTEGER NOT NULL DEFAULT 0,
	UNIQUE (kind, reporter, report_id, domain)
);
CREATE INDEX report_end ON report (end_at);
CREATE INDEX report_received ON report (received, reporter);
CREATE INDEX report_fold ON report (folded, end_at);
CREATE INDEX report_domain ON report (domain, kind, end_at);
CREATE TABLE source (
	report INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE, address BLOB NOT NULL, count INTEGER NOT NULL,
	dkim INTEGER NOT NULL, spf INTEGER NOT NULL, disposition TEXT NOT NULL, header_from TEXT NOT NULL, envelope_from TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX source_report ON source (report);
CREATE TABLE signature (
	report INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE, address BLOB NOT NULL,
	domain TEXT NOT NULL, selector TEXT NOT NULL, result TEXT NOT NULL, count INTEGER NOT NULL
);
CREATE INDEX signature_report ON signature (report);
CREATE INDEX signature_selector ON signature (domain, selector);
CREATE TABLE tls (
	report INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE, domain TEXT NOT NULL, type TEXT NOT NULL,
	successful INTEGER NOT NULL, failed INTEGER NOT NULL, failures TEXT NOT NULL
);
CREATE INDEX tls_report ON tls (report);
CREATE TABLE trusted (reporter TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE alarm (key TEXT PRIMARY KEY, alarm TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tally (result TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE quota (day INTEGER NOT NULL, reporter TEXT NOT NULL, reports INTEGER NOT NULL, rows INTEGER NOT NULL, PRIMARY KEY (day, reporter)) WITHOUT ROWID;
CREATE TABLE mail (day INTEGER NOT NULL, domain TEXT NOT NULL, messages INTEGER NOT NULL, PRIMARY KEY (day, domain)) WITHOUT ROWID;
CREATE TABLE lookup (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, since INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
`

// maxLog is the size in bytes to which the write-ahead log is cut after a large transaction.
const maxLog = 4 << 20

// Open opens the database at path. If create is true, it creates the database and its directory; otherwise, the error wraps ErrNone if there is
// none. now is the clock.
func Open(ctx context.Context, path string, create bool, now func() time.Time) (*Store, error) {
	d, err := db.Open(ctx, path, schema, version, create, "auto_vacuum(2)", "journal_size_limit("+strconv.Itoa(maxLog)+")")
	if errors.Is(err, fs.ErrNotExist) && !create {
		err = fmt.Errorf("%s: %w", path, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	return &Store{path: path, db: d, now: now}, nil
}

// Close closes the database.
func (s *Store) Close() { _ = s.db.Close() }

// Origin is where a report came from.
type Origin struct {
	Reporter string    // the domain in d= that was verified; of a report that was not verified: the domain of its contact
	Verified bool      // the daemon verified the message
	QueueID  string    // empty: the report was imported
	Received time.Time // when
	Shared   bool      // another host received and counted it
}

// ErrDuplicate is the error of Add if the store has the report: one of the same kind, reporter, report ID and domain, which is verified
// unless this one is not.
var ErrDuplicate = errors.New("this report was received before")

// detail is what is stored of a record besides the columns.
type detail struct {
	Reasons    []read.Reason    `json:"reasons,omitempty"`
	Signatures []read.Signature `json:"signatures,omitempty"`
	SPF        []read.SPFResult `json:"spf,omitempty"`
}

// countLimit limits a count of a report. No address sends more messages a day. Without a limit, a forged report could make sums overflow.
const countLimit = 1_000_000_000

// add writes a report. rows is the number of its rows, for the quota and for the size of transactions.
func add(ctx context.Context, tx *sql.Tx, r *read.Report, o Origin, signed map[signed]int64, rows int) error {
	var messages, passed int64
	for _, row := range r.Rows {
		n := min(row.Count, countLimit)
		messages += n
		if row.DKIM || row.SPF {
			passed += n
		}
	}
	policy, err := json.Marshal(r.Policy)
	if err != nil {
		return err
	}
	result, err := tx.ExecContext(ctx, `INSERT INTO report (kind, reporter, report_id, domain, begin_at, end_at, day, received, verified, queue_id,
		org_name, contact, generator, errors, policy, messages, passed, rows) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		r.Kind, o.Reporter, r.ID, r.Domain, r.Begin.Unix(), r.End.Unix(), dayOf(r), o.Received.Unix(), o.Verified, o.QueueID,
		r.OrgName, r.Contact, r.Generator, strings.Join(r.Errors, "; "), policy, messages, passed, rows)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return cmp.Or(err, ErrDuplicate)
	}
	id, err := result.LastInsertId()
	if err != nil {
		return err
	}
	return errors.Join(addSources(ctx, tx, id, r.Rows), addSignatures(ctx, tx, id, signed), addPolicies(ctx, tx, id, r.Policies))
}

func addSources(ctx context.Context, tx *sql.Tx, id int64, rows []read.Row) error {
	insert, err := tx.PrepareContext(ctx, "INSERT INTO source VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, row := range rows {
		more, err := json.Marshal(detail{row.Reasons, row.Signatures, row.SPFResults})
		if err != nil {
			return err
		}
		if _, err := insert.ExecContext(ctx, id, row.Source.AsSlice(), min(row.Count, countLimit), row.DKIM, row.SPF, row.Disposition, row.HeaderFrom, row.EnvelopeFrom, more); err != nil {
			return err
		}
	}
	return nil
}

func addSignatures(ctx context.Context, tx *sql.Tx, id int64, all map[signed]int64) error {
	insert, err := tx.PrepareContext(ctx, "INSERT INTO signature VALUES (?, ?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for sig, n := range all {
		if _, err := insert.ExecContext(ctx, id, sig.address.AsSlice(), sig.domain, sig.selector, sig.result, n); err != nil {
			return err
		}
	}
	return nil
}

func addPolicies(ctx context.Context, tx *sql.Tx, id int64, all []read.TLSPolicy) error {
	for _, p := range all {
		for i := range p.Failures {
			p.Failures[i].Count = min(p.Failures[i].Count, countLimit)
		}
		failures, err := json.Marshal(p.Failures)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO tls VALUES (?, ?, ?, ?, ?, ?)", id, p.Domain, p.Type, min(p.Successful, countLimit), min(p.Failed, countLimit), failures); err != nil {
			return err
		}
	}
	return nil
}

// signed is a kind of signature from an address.
type signed struct {
	address                  netip.Addr
	domain, selector, result string
}

// signatures returns the number of messages with each signature. A row that has the same signature twice counts once.
func signatures(rows []read.Row) map[signed]int64 {
	all := map[signed]int64{}
	for _, row := range rows {
		var seen []signed
		for _, s := range row.Signatures {
			if one := (signed{row.Source, s.Domain, s.Selector, s.Result}); !slices.Contains(seen, one) {
				seen = append(seen, one)
				all[one] += min(row.Count, countLimit)
			}
		}
	}
	return all
}

// tolerance is how far the range of a report may exceed a UTC day. Some reporters include the first second of the next day.
const tolerance = time.Hour

// dayOf returns the first second of the day of a report, or nil if its range is not within one day.
func dayOf(r *read.Report) any {
	day := r.Begin.Add(tolerance).UTC().Truncate(24 * time.Hour)
	if r.End.After(day.Add(24*time.Hour + tolerance)) {
		return nil
	}
	return day.Unix()
}
