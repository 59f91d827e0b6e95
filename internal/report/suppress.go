package report

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// Suppression is a destination to which no report is sent for some time.
type Suppression struct {
	Destination string    `json:"destination"` // lower case
	Until       time.Time `json:"until"`
	Count       int       `json:"count"`            // how often it was suppressed because of bounces
	Status      string    `json:"status,omitempty"` // of the last bounce; empty: suppressed by the user
	Changed     time.Time `json:"-"`                // in seconds; each change has a later one, even if the clock of a host is behind
}

const (
	day = 24 * time.Hour
	// mailboxFull is a status of RFC 3463 that often ends within days.
	mailboxFull = "5.2.2"
	// mailboxFullTime is the time for which it suppresses a destination.
	mailboxFullTime = 3 * day
	// forgetBounces is the time after the end of a suppression at which it is forgotten. The next bounce then counts as the first one.
	forgetBounces = 365 * day
	// maxStatus limits the status of a bounce, in bytes. The longest one is 5.999.999.
	maxStatus = 9
)

// suppressionTime returns the time of the n-th suppression of a destination, beginning with 1.
func suppressionTime(n int) time.Duration {
	switch n {
	case 1:
		return 30 * day
	case 2:
		return 90 * day
	}
	return 365 * day
}

// Bounce records that the delivery with a MAC has failed with a Status 5.x, and suppresses its destination: for 30 days, then 90, then 365,
// or for 3 days if the mailbox is full (5.2.2). It returns the delivery. known is false if no delivery has the MAC. A second bounce of a
// delivery changes nothing. While a destination is suppressed, bounces of other deliveries do not prolong this time.
func (s *State) Bounce(ctx context.Context, mac, status string) (d Delivery, known bool, err error) {
	status = status[:min(maxStatus, len(status))]
	err = s.db.Transact(ctx, func(tx *sql.Tx) error {
		all, err := deliveries(ctx, tx, "WHERE mac = ?", strings.ToLower(mac))
		if err != nil || len(all) == 0 {
			return err
		}
		d, known = all[0], true
		if d.Bounced != "" {
			return nil
		}
		d.Bounced = status
		if _, err := tx.ExecContext(ctx, "UPDATE delivery SET shared = ?, bounced = ? WHERE report = ? AND destination = ?", s.shared(), status, d.Report.ID, d.Destination); err != nil {
			return err
		}
		was := Suppression{Destination: strings.ToLower(d.Destination)}
		err = tx.QueryRowContext(ctx, "SELECT until, count, status FROM suppression WHERE destination = ?", was.Destination).Scan((*seconds)(&was.Until), &was.Count, &was.Status)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		next := was.after(status, s.now())
		_, err = tx.ExecContext(ctx, "INSERT INTO suppression (destination, until, count, status, changed, shared) VALUES (?,?,?,?,?,0) ON CONFLICT (destination) DO UPDATE SET until = excluded.until, count = excluded.count, status = excluded.status, changed = max(excluded.changed, changed + 1), shared = 0",
			next.Destination, next.Until.Unix(), next.Count, next.Status, s.now().Unix())
		return err
	})
	return d, known && err == nil, err
}

// after returns the suppression after a bounce.
func (s Suppression) after(status string, now time.Time) Suppression {
	active := now.Before(s.Until)
	span := mailboxFullTime
	if status != mailboxFull {
		if active && s.Status != "" && s.Status != mailboxFull {
			return s
		}
		s.Count++
		span = suppressionTime(s.Count)
	}
	if until := now.Add(span); until.After(s.Until) {
		s.Until, s.Status = until, status
	}
	return s
}

// Suppress suppresses a destination until a time. A time in the past ends the suppression, and forgets the bounces. The row stays for a year,
// so that the other hosts learn of it.
func (s *State) Suppress(ctx context.Context, destination string, until time.Time) error {
	set := "until = excluded.until"
	if !s.now().Before(until) {
		set, until = "until = 0, count = 0, status = ''", time.Unix(0, 0)
	}
	_, err := s.db.ExecContext(ctx, "INSERT INTO suppression (destination, until, count, status, changed, shared) VALUES (?,?,0,'',?,0) ON CONFLICT (destination) DO UPDATE SET changed = max(excluded.changed, changed + 1), shared = 0, "+set,
		strings.ToLower(destination), until.Unix(), s.now().Unix())
	return err
}

const suppressionColumns = "destination, until, count, status, changed"

func (p *Suppression) columns() []any {
	return []any{&p.Destination, (*seconds)(&p.Until), &p.Count, &p.Status, (*seconds)(&p.Changed)}
}

// Suppressed returns the suppressions that have not ended, by destination.
func (s *State) Suppressed(ctx context.Context) (map[string]Suppression, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+suppressionColumns+" FROM suppression WHERE until > ?", s.now().Unix())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]Suppression{}
	for rows.Next() {
		var p Suppression
		if err := rows.Scan(p.columns()...); err != nil {
			return nil, err
		}
		all[p.Destination] = p
	}
	return all, rows.Err()
}
