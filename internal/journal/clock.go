package journal

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"
)

// The journal numbers, finds and deletes messages by the time of the machine's clock. This clock may be wrong. With an empty battery, it
// starts years in the past. An operator may set it years into the future. Later, NTP or the operator corrects it.

const (
	// maxClockStep is the largest difference between two readings of the clock that does not count as a jump. The clock is read once a
	// minute.
	maxClockStep = time.Hour
	// minStable is how long the clock must run without a jump before the journal deletes messages older than journal.keep. After a jump
	// into the future, all messages seem to have expired. The error is usually corrected within this time.
	minStable = time.Hour
	// minStableToRenumber is how long the clock must run without a jump before messages with times in the future are renumbered. The clock
	// of a machine without a network may be years in the past for hours. All earlier messages then seem to be in the future.
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

// renumber assigns new numbers to messages whose numbers are in the future, and keeps their order. The new number is the time in the
// entry if that time is in the past. Otherwise the new number is one more than the number of the previous message. The messages move to new
// chunks. If there are many such messages, one call renumbers a part and sets the field behind. If no message is in the past, the clock is
// probably wrong, and renumber changes nothing. If these messages were not renumbered, they would expire years late and match every search
// by time: TestClockWasAhead.
func (d *database) renumber(ctx context.Context, now time.Time) error {
	future := now.Add(maxClockStep).UnixMicro()
	if d.last <= future {
		return nil
	}
	if d.open != nil {
		if err := d.sealNow(ctx); err != nil {
			return err
		}
	}
	from := slices.IndexFunc(d.chunks, func(c chunk) bool { return c.last > future })
	if from < 0 { // the last messages were deleted
		d.last = 0
		if n := len(d.chunks); n > 0 {
			d.last = d.chunks[n-1].last
		}
		return nil
	}
	moved, err := d.renumberSome(ctx, from, now.UnixMicro(), future)
	if err != nil || !moved {
		return err
	}
	if newest := d.chunks[len(d.chunks)-1].last; newest <= future { // those were the last
		d.last = newest
		d.stored.clear()
		return nil
	}
	d.behind = true
	return nil
}

// renumberSome takes some messages with numbers in the future from the chunk d.chunks[from]. It moves them to a new chunk, whose messages
// are of one day.
func (d *database) renumberSome(ctx context.Context, from int, now, future int64) (moved bool, err error) {
	source := d.chunks[from]
	at := int64(0)
	if from > 0 {
		at = d.chunks[from-1].last
	}
	target := chunk{}
	empty := false
	err = d.transact(ctx, func(tx *sql.Tx) error {
		var before int64
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM "+source.table()+" WHERE id <= ?", future).Scan(&before); err != nil {
			return err
		}
		if at = max(at, before); at == 0 {
			return nil
		}
		all, err := d.newNumbers(ctx, tx, source, at, now, future)
		if err != nil || len(all) == 0 {
			return err
		}
		if target, err = createChunk(ctx, tx, all[0].to); err != nil {
			return err
		}
		target.last, target.sealed = all[len(all)-1].to, true
		if err := moveAll(ctx, tx, source, target, all); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE answer SET seen = ? WHERE seen > ?", now/1e6, future/1e6); err != nil {
			return err
		}
		var first, last sql.NullInt64
		if err := tx.QueryRowContext(ctx, "SELECT (SELECT min(id) FROM "+source.table()+"), (SELECT max(id) FROM "+source.table()+")").Scan(&first, &last); err != nil {
			return err
		}
		if empty = !first.Valid; empty {
			return dropChunk(ctx, tx, source)
		}
		source.first, source.last = first.Int64, last.Int64
		_, err = tx.ExecContext(ctx, "UPDATE chunk SET first = ?, last = ? WHERE id = ?", source.first, source.last, source.id)
		return err
	})
	if err != nil || target.id == 0 {
		return false, err
	}
	d.chunks[from] = source
	if empty {
		d.chunks = slices.Delete(d.chunks, from, from+1)
	}
	d.chunks = append(d.chunks, target)
	slices.SortFunc(d.chunks, func(a, b chunk) int { return cmp.Compare(a.first, b.first) })
	return true, nil
}

// renumbered is a message with its old and its new number.
type renumbered struct{ from, to, outcome int64 }

// renumberChunk is the maximum number of messages that one transaction renumbers.
const renumberChunk = 1000

// newNumbers returns the first messages of a chunk whose numbers are in the future, with their new numbers. The parameter at is the lower
// limit of the new numbers, which are all of the same day.
func (d *database) newNumbers(ctx context.Context, tx *sql.Tx, source chunk, at, now, future int64) (all []renumbered, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, outcome, entry FROM "+source.table()+" WHERE id > ? ORDER BY id LIMIT ?", future, renumberChunk)
	err = each(rows, err, func() error {
		var m renumbered
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
	end := slices.IndexFunc(all, func(m renumbered) bool { return m.to/dayMicros != all[0].to/dayMicros })
	if end > 0 {
		all = all[:end]
	}
	return all, err
}

// moveAll moves messages to another chunk, and corrects the counts by hour.
func moveAll(ctx context.Context, tx *sql.Tx, source, target chunk, all []renumbered) error {
	const hour = "INSERT INTO hour (hour, outcome, n) VALUES (?,?,1) ON CONFLICT DO UPDATE SET n = n + 1"
	for _, m := range all {
		for _, s := range []struct {
			text string
			args []any
		}{
			{"INSERT INTO " + target.table() + " SELECT ?, queue, mid, domain, client, outcome, entry FROM " + source.table() + " WHERE id = ?", []any{m.to, m.from}},
			{"DELETE FROM " + source.table() + " WHERE id = ?", []any{m.from}},
			{"UPDATE hour SET n = n - 1 WHERE hour = ? AND outcome = ?", []any{m.from / hourMicros, m.outcome}},
			{hour, []any{m.to / hourMicros, m.outcome}},
		} {
			if _, err := tx.ExecContext(ctx, s.text, s.args...); err != nil {
				return err
			}
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM hour WHERE n <= 0"); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE chunk SET last = ?, sealed = 1 WHERE id = ?", target.last, target.id)
	return err
}
