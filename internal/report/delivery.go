package report

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Frozen is a report with everything that its message is made from. It never changes, so the message is the same each time it is sent.
type Frozen struct {
	ID       string    `json:"id"`
	File     string    `json:"file"`
	Gzip     []byte    `json:"-"`
	Day      time.Time `json:"day"`
	Domain   string    `json:"policy_domain"`
	Rows     int       `json:"rows"`
	Messages int       `json:"messages"`
	Created  time.Time `json:"created"` // in seconds, UTC; the Date of the message

	// The Sender when the report was frozen.
	SenderDomain string `json:"sender_domain"`
	OrgName      string `json:"org_name"`
	Email        string `json:"email"`
}

// Stage is the stage of a delivery.
type Stage string

// The stages. A delivery begins as StageFrozen. The others are final, unless the user retries.
const (
	StageFrozen     Stage = "frozen"     // not accepted yet
	StageAccepted   Stage = "accepted"   // the SMTP server replied 250
	StageGivenUp    Stage = "given_up"   // not accepted in time
	StageRefused    Stage = "refused"    // the SMTP server replied 5xx
	StageSuppressed Stage = "suppressed" // the destination was suppressed
)

// Destination is an address to which a report is sent.
type Destination struct {
	Address      string
	Organization string // the Organizational Domain of Address
	MAC          string // of the envelope sender
}

// Delivery is a report to one destination.
type Delivery struct {
	Report       Frozen    `json:"report"` // without Gzip
	Destination  string    `json:"destination"`
	Organization string    `json:"organization"` // the Organizational Domain of the destination
	MAC          string    `json:"mac"`          // of the envelope sender
	Stage        Stage     `json:"stage"`
	Changed      time.Time `json:"changed"`         // when the delivery reached the stage
	Tries        int       `json:"tries,omitempty"` // attempts
	Detail       string    `json:"detail,omitempty"`
	Bounced      string    `json:"bounced,omitempty"` // the status of the bounce, such as 5.1.1
	Host         string    `json:"host,omitempty"`    // the host that changed the stage; empty: the site has only one host
}

// maxDetail limits the detail of a delivery, in bytes: an SMTP reply line.
const maxDetail = 512

// errNoDelivery is the error if there is no such delivery.
var errNoDelivery = errors.New("there is no such report to this destination")

// Freeze stores a report and its destinations, in their order. If there is a report with this ID, Freeze changes nothing, and fresh is
// false: a report may have been sent, so it must not change.
func (s *State) Freeze(ctx context.Context, f Frozen, destinations []Destination) (fresh bool, err error) {
	err = s.db.Transact(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, "INSERT INTO report (id, file, gzip, day, domain, rows, messages, created, sender_domain, org_name, email) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING",
			f.ID, f.File, f.Gzip, f.Day.Unix(), f.Domain, f.Rows, f.Messages, f.Created.Unix(), f.SenderDomain, f.OrgName, f.Email)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return err
		}
		fresh = true
		for i, d := range destinations {
			if _, err := tx.ExecContext(ctx, "INSERT INTO delivery (report, position, destination, organization, mac, stage, since, changed, tries, detail, bounced, host, shared) VALUES (?,?,?,?,?,?,?,?,0,'','','',1)",
				f.ID, i, d.Address, d.Organization, d.MAC, StageFrozen, f.Created.Unix(), f.Created.Unix()); err != nil {
				return err
			}
		}
		return nil
	})
	return fresh && err == nil, err
}

// Has reports whether a report with this ID was frozen.
func (s *State) Has(ctx context.Context, id string) (has bool, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM report WHERE id = ?)", id).Scan(&has)
	return has, err
}

// Due returns the deliveries in StageFrozen: those with the fewest attempts first, then those of the reports with the most rows, and those of
// one report in the order of its destinations. A report at which the server closes the connection thus does not delay the others. Find
// returns the attachment.
func (s *State) Due(ctx context.Context) ([]Delivery, error) {
	return s.deliveries(ctx, "WHERE stage = ? ORDER BY tries, rows DESC, id, position", StageFrozen)
}

// Move sets the stage of a delivery, and its detail, such as the reply of the server. Changed does not decrease, because the clocks of hosts
// differ, and the last change counts: see Progress. StageAccepted counts in any case, and has the time for the limits of reports.
func (s *State) Move(ctx context.Context, id, destination string, to Stage, detail string) error {
	return s.change(ctx, "stage = ?, detail = ?, changed = CASE WHEN ? THEN ? ELSE max(?, changed) END, host = ? WHERE report = ? AND destination = ?",
		to, cut(detail), to == StageAccepted, s.now().Unix(), s.now().Unix(), s.Host, id, destination)
}

// Try counts an attempt before it is made. If the disk is full, it returns an error, and the report must not be sent: its acceptance could
// not be recorded, so each run would send it again.
func (s *State) Try(ctx context.Context, id, destination string) error {
	return s.change(ctx, "tries = tries + 1 WHERE report = ? AND destination = ?", id, destination)
}

// Tried sets the detail of a delivery that stays in StageFrozen after an attempt has failed.
func (s *State) Tried(ctx context.Context, id, destination, detail string) error {
	return s.change(ctx, "detail = ? WHERE report = ? AND destination = ?", cut(detail), id, destination)
}

func (s *State) change(ctx context.Context, set string, args ...any) error {
	r, err := s.db.ExecContext(ctx, "UPDATE delivery SET shared = ?, "+set, append([]any{s.shared()}, args...)...)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return errors.Join(errNoDelivery, err)
	}
	return nil
}

func cut(detail string) string { return strings.ToValidUTF8(detail[:min(maxDetail, len(detail))], "") }

// GiveUp gives up the deliveries that have been in StageFrozen since before a time. It returns them.
func (s *State) GiveUp(ctx context.Context, before time.Time) (all []Delivery, err error) {
	err = s.db.Transact(ctx, func(tx *sql.Tx) error {
		const old = "WHERE stage = ? AND since < ?"
		if all, err = deliveries(ctx, tx, old+" ORDER BY id, position", StageFrozen, before.Unix()); err != nil || len(all) == 0 {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE delivery SET shared = ?, host = ?, stage = ?, changed = max(?, changed) "+old, s.shared(), s.Host, StageGivenUp, s.now().Unix(), StageFrozen, before.Unix())
		return err
	})
	return all, err
}

// Retry returns a report's deliveries that were given up, refused or suppressed to StageFrozen, and restarts the time until they are given
// up. The message stays the same. It returns their number.
func (s *State) Retry(ctx context.Context, id string) (int, error) {
	now := s.now().Unix()
	r, err := s.db.ExecContext(ctx, "UPDATE delivery SET shared = ?, stage = ?, since = ?, changed = max(?, changed + 1) WHERE report = ? AND stage IN (?,?,?)",
		s.shared(), StageFrozen, now, now, id, StageGivenUp, StageRefused, StageSuppressed)
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	return int(n), err
}

// Accepted returns the number of deliveries that were accepted since a time, of all destinations, and by Organizational Domain.
func (s *State) Accepted(ctx context.Context, since time.Time) (all int, byOrganization map[string]int, err error) {
	byOrganization = map[string]int{}
	rows, err := s.db.QueryContext(ctx, "SELECT organization, count(*) FROM delivery WHERE stage = ? AND changed >= ? GROUP BY organization", StageAccepted, since.Unix())
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var organization string
		var n int
		if err := rows.Scan(&organization, &n); err != nil {
			return 0, nil, err
		}
		all += n
		byOrganization[organization] = n
	}
	return all, byOrganization, rows.Err()
}

// List returns all deliveries, newest report first. A report without destinations is not in the list.
func (s *State) List(ctx context.Context) ([]Delivery, error) {
	return s.deliveries(ctx, "ORDER BY created DESC, id, position")
}

// Counts returns the number of deliveries in each stage.
func (s *State) Counts(ctx context.Context) (map[Stage]int, error) {
	counts := map[Stage]int{}
	rows, err := s.db.QueryContext(ctx, "SELECT stage, count(*) FROM delivery GROUP BY stage")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var stage Stage
		var n int
		if err := rows.Scan(&stage, &n); err != nil {
			return nil, err
		}
		counts[stage] = n
	}
	return counts, rows.Err()
}

// Find returns a report by its ID, with Gzip, and its deliveries. found is false if there is none.
func (s *State) Find(ctx context.Context, id string) (f Frozen, all []Delivery, found bool, err error) {
	err = s.db.Transact(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT gzip, "+reportColumns+" FROM report WHERE id = ?", id).Scan(append([]any{&f.Gzip}, f.columns()...)...)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if found = err == nil; err == nil {
			all, err = deliveries(ctx, tx, "WHERE id = ? ORDER BY position", id)
		}
		return err
	})
	return f, all, found && err == nil, err
}

const reportColumns = "id, file, day, domain, rows, messages, created, sender_domain, org_name, email"

// columns returns what a row of reportColumns is scanned into.
func (f *Frozen) columns() []any {
	return []any{&f.ID, &f.File, (*seconds)(&f.Day), &f.Domain, &f.Rows, &f.Messages, (*seconds)(&f.Created), &f.SenderDomain, &f.OrgName, &f.Email}
}

// seconds is a time that is stored in seconds since 1970.
type seconds time.Time

// Scan implements sql.Scanner.
func (t *seconds) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("%v is not a time", v)
	}
	*t = seconds(time.Unix(n, 0).UTC())
	return nil
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (s *State) deliveries(ctx context.Context, where string, args ...any) ([]Delivery, error) {
	return deliveries(ctx, s.db, where, args...)
}

func deliveries(ctx context.Context, q querier, where string, args ...any) (all []Delivery, err error) {
	rows, err := q.QueryContext(ctx, "SELECT "+reportColumns+", destination, organization, mac, stage, changed, tries, detail, bounced, host FROM delivery JOIN report ON id = report "+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var d Delivery
		if err := rows.Scan(append(d.Report.columns(), &d.Destination, &d.Organization, &d.MAC, &d.Stage, (*seconds)(&d.Changed), &d.Tries, &d.Detail, &d.Bounced, &d.Host)...); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, rows.Err()
}
