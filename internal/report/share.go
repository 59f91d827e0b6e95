package report

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"
)

// Progress is the state of a delivery as the hosts of a site share it.
type Progress struct {
	Report   string    `json:"report"` // the Report-ID
	Day      time.Time `json:"day"`
	Position int       `json:"position"` // of the destination in the report
	Stage    Stage     `json:"stage"`
	Since    time.Time `json:"since"`   // when it was last put into StageFrozen
	Changed  time.Time `json:"changed"` // in seconds, like Since
	Tries    int       `json:"tries"`
	Detail   string    `json:"detail,omitempty"`
	Bounced  string    `json:"bounced,omitempty"`
	Host     string    `json:"host,omitempty"` // the host that changed the stage
}

// later reports whether p is later than q. StageAccepted is never left, even if someone puts an older state back: the report would be sent
// again.
func (p Progress) later(q Progress) bool {
	switch {
	case p.Stage != q.Stage && (p.Stage == StageAccepted || q.Stage == StageAccepted):
		return p.Stage == StageAccepted
	case !p.Changed.Equal(q.Changed):
		return p.Changed.After(q.Changed)
	case p.Stage != q.Stage:
		return q.Stage == StageFrozen
	}
	return p.Tries > q.Tries
}

const progressColumns = "report, (SELECT r.day FROM report r WHERE r.id = delivery.report), position, stage, since, changed, tries, detail, bounced, host"

func (p *Progress) columns() []any {
	return []any{&p.Report, (*seconds)(&p.Day), &p.Position, &p.Stage, (*seconds)(&p.Since), (*seconds)(&p.Changed), &p.Tries, &p.Detail, &p.Bounced, &p.Host}
}

// shared returns the column shared of a delivery that changes.
func (s *State) shared() int {
	if s.Host == "" {
		return 1
	}
	return 0
}

// Unshared returns the deliveries and suppressions that changed since SetShared or SetSuppressionShared was called for them: at most most of
// each.
func (s *State) Unshared(ctx context.Context, most int) (deliveries []Progress, suppressions []Suppression, err error) {
	err = s.db.Transact(ctx, func(tx *sql.Tx) error {
		err := each(ctx, tx, func(scan func(...any) error) error {
			var p Progress
			err := scan(p.columns()...)
			deliveries = append(deliveries, p)
			return err
		}, "SELECT "+progressColumns+" FROM delivery WHERE shared = 0 LIMIT ?", most)
		if err != nil {
			return err
		}
		return each(ctx, tx, func(scan func(...any) error) error {
			var p Suppression
			err := scan(p.columns()...)
			suppressions = append(suppressions, p)
			return err
		}, "SELECT "+suppressionColumns+" FROM suppression WHERE shared = 0 LIMIT ?", most)
	})
	return deliveries, suppressions, err
}

func each(ctx context.Context, tx *sql.Tx, row func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// SetShared records that the other hosts can read a state of a delivery. If the state has changed since, SetShared changes nothing.
func (s *State) SetShared(ctx context.Context, p Progress) error {
	_, err := s.db.ExecContext(ctx, "UPDATE delivery SET shared = 1 WHERE report = ? AND position = ? AND stage = ? AND changed = ? AND tries = ? AND bounced = ?",
		p.Report, p.Position, p.Stage, p.Changed.Unix(), p.Tries, p.Bounced)
	return err
}

// SetUnshared records that the other hosts do not know the states of a report's deliveries.
func (s *State) SetUnshared(ctx context.Context, id string) error {
	_, err := s.db.ExecContext(ctx, "UPDATE delivery SET shared = 0 WHERE report = ?", id)
	return err
}

// SetSuppressionShared is SetShared for a suppression.
func (s *State) SetSuppressionShared(ctx context.Context, p Suppression) error {
	_, err := s.db.ExecContext(ctx, "UPDATE suppression SET shared = 1 WHERE destination = ? AND until = ? AND changed = ?", p.Destination, p.Until.Unix(), p.Changed.Unix())
	return err
}

// Merge applies the state of a delivery that another host shared, unless the state in this database is later. Then that state is shared again.
func (s *State) Merge(ctx context.Context, p Progress) error {
	p.Day, p.Since, p.Changed = p.Day.UTC(), p.Since.UTC(), p.Changed.UTC()
	return s.db.Transact(ctx, func(tx *sql.Tx) error {
		var now Progress
		err := tx.QueryRowContext(ctx, "SELECT "+progressColumns+" FROM delivery WHERE report = ? AND position = ?", p.Report, p.Position).Scan(now.columns()...)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // the report has expired here
		}
		if err != nil {
			return err
		}
		next := now
		if p.later(now) {
			next = p
		}
		next.Bounced = cmp.Or(now.Bounced, p.Bounced)
		if next == now && next == p {
			return nil
		}
		shared := 0
		if next == p {
			shared = 1
		}
		_, err = tx.ExecContext(ctx, "UPDATE delivery SET stage = ?, since = ?, changed = ?, tries = ?, detail = ?, bounced = ?, host = ?, shared = ? WHERE report = ? AND position = ?",
			next.Stage, next.Since.Unix(), next.Changed.Unix(), next.Tries, next.Detail, next.Bounced, next.Host, shared, next.Report, next.Position)
		return err
	})
}

// MergeSuppression is Merge for a suppression: the one that changed last is kept, and of those that changed at the same time the longer one.
func (s *State) MergeSuppression(ctx context.Context, p Suppression) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO suppression (destination, until, count, status, changed, shared) VALUES (?,?,?,?,?,1)"+
		" ON CONFLICT (destination) DO UPDATE SET until = excluded.until, count = excluded.count, status = excluded.status, changed = excluded.changed, shared = 1"+
		" WHERE excluded.changed > changed OR excluded.changed = changed AND excluded.until > until",
		p.Destination, p.Until.Unix(), p.Count, p.Status, p.Changed.Unix())
	return err
}

// Pulled returns the value that SetPulled stored last: up to where this host has read what the other hosts shared. If there is none, v stays as
// it is.
func (s *State) Pulled(ctx context.Context, v any) error {
	var text string
	err := s.db.QueryRowContext(ctx, "SELECT value FROM pulled").Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), v)
}

// SetPulled stores the value for Pulled, as JSON.
func (s *State) SetPulled(ctx context.Context, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, "INSERT INTO pulled (id, value) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value", string(text))
	return err
}
