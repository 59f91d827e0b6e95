package journal

import (
	"context"
	"time"
)

// Messages are numbered, found and deleted by the clock of the machine. This clock may be wrong: with an empty battery, it starts years in
// the past, and an operator may set it years into the future. Later, NTP or the operator corrects it.

const (
	// maxClockStep is the largest difference between two readings, a minute apart, that does not count as a jump.
	maxClockStep = time.Hour
	// minStable is the time without a jump that is required before messages are deleted for their age. After a jump into the future, all
	// messages seem to have expired. The error is usually corrected within this time.
	minStable = time.Hour
	// minStableToRenumber is the time without a jump that is required before messages with times in the future are renumbered. A machine
	// without a network may run for hours with a clock that is years slow; then all earlier messages seem to be in the future.
	minStableToRenumber = 24 * time.Hour
)

// clockStable returns the time since the clock last jumped, or since this process first read it.
func (j *Journal) clockStable(now time.Time) time.Duration {
	now = now.Round(0) // without the monotonic clock
	if now.Sub(j.clockReadAt).Abs() > maxClockStep {
		if !j.clockReadAt.IsZero() {
			j.options.Log.Warn("the clock jumped, or the machine was suspended; the journal pauses age-based deletion for an hour", "from", j.clockReadAt, "to", now)
		}
		j.clockJumpedAt = now
	}
	j.clockReadAt = now
	return now.Sub(j.clockJumpedAt)
}

// renumber assigns new numbers to messages whose numbers are in the future, and keeps their order. The new number is the time in the entry
// if that time is in the past. Otherwise the new number is one more than that of the message before. If there are many such messages, one
// call renumbers a part and sets behind. If no message is in the past, the clock is probably wrong, and renumber changes nothing. Without
// renumber, these messages would expire years late and match every search by time: TestClockWasAhead.
func (d *database) renumber(ctx context.Context, now time.Time) error {
	future := now.Add(maxClockStep).UnixMicro()
	for range deleteSteps {
		if d.last <= future {
			return nil
		}
		if n, err := d.renumberChunk(ctx, now.UnixMicro(), future); err != nil || n < deleteChunk {
			return err
		}
	}
	d.behind = true
	return nil
}

func (d *database) renumberChunk(ctx context.Context, now, future int64) (n int, err error) {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	var at int64
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM message WHERE id <= ?", future).Scan(&at); err != nil || at == 0 {
		return 0, err
	}
	type moved struct{ from, to, outcome int64 }
	var all []moved
	rows, err := tx.QueryContext(ctx, "SELECT id, outcome, entry FROM message WHERE id > ? ORDER BY id LIMIT ?", future, deleteChunk)
	err = each(rows, err, func() error {
		var m moved
		var packed []byte
		err := rows.Scan(&m.from, &m.outcome, &packed)
		at++
		if e, err := d.codec.decode(packed); err == nil && e.Time.UnixMicro() <= now {
			at = max(at, e.Time.UnixMicro())
		}
		m.to = at
		all = append(all, m)
		return err
	})
	if err != nil {
		return 0, err
	}
	type statement struct {
		text string
		args []any
	}
	var statements []statement
	for _, m := range all {
		statements = append(statements,
			statement{"UPDATE message SET id = ? WHERE id = ?", []any{m.to, m.from}},
			statement{"UPDATE hour SET n = n - 1 WHERE hour = ? AND outcome = ?", []any{m.from / hourMicros, m.outcome}},
			statement{"INSERT INTO hour (hour, outcome, n) VALUES (?,?,1) ON CONFLICT DO UPDATE SET n = n + 1", []any{m.to / hourMicros, m.outcome}})
	}
	statements = append(statements, statement{"DELETE FROM hour WHERE n <= 0", nil},
		statement{"UPDATE answer SET seen = ? WHERE seen > ?", []any{now / 1e6, future / 1e6}})
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s.text, s.args...); err != nil {
			return 0, err
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	if len(all) < deleteChunk { // there are no more messages to renumber
		d.last = at
		d.stored.clear()
	}
	return len(all), nil
}
