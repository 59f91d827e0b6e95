package journal

import (
	"cmp"
	"context"
	"database/sql"
	"math"
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
// entry if that time is in the past. Otherwise the new number is one more than the number of the previous message. If these messages were not
// renumbered, they would expire years late and match every search by time: TestClockWasAhead.
//
// First the chunks of the future are marked, and new messages get numbers from the present. Then each call moves one of these chunks to a
// new chunk. If more chunks are left, it sets the field behind. If no message is in the past, the clock is probably wrong, and renumber
// changes nothing. A chunk that begins in the past stays as it is: its messages are at most a day ahead.
func (d *database) renumber(ctx context.Context, now time.Time) error {
	future := now.Add(maxClockStep).UnixMicro()
	if len(d.ahead) == 0 {
		if d.last <= future {
			return nil
		}
		more, err := d.renumberOld(ctx, now.UnixMicro(), future)
		if err != nil || more {
			d.behind = d.behind || more
			return err
		}
		if err := d.markAhead(ctx, now.UnixMicro(), future); err != nil || len(d.ahead) == 0 {
			return err
		}
	}
	if err := d.moveAhead(ctx, now.UnixMicro()); err != nil {
		return err
	}
	d.behind = d.behind || len(d.ahead) > 0
	return nil
}

// markAhead marks the chunks that begin in the future, and sets d.start.
func (d *database) markAhead(ctx context.Context, now, future int64) error {
	from := slices.IndexFunc(d.chunks, func(c chunk) bool { return c.first > future })
	if from < 0 {
		from = len(d.chunks)
	}
	openIs := d.open != nil && d.open.first > future
	if from == 0 || from == len(d.chunks) && !openIs {
		return nil
	}
	ahead := slices.Clone(d.chunks[from:])
	start := max(now, d.chunks[from-1].last)
	err := d.transact(ctx, func(tx *sql.Tx) error {
		if openIs {
			sealed, err := d.seal(ctx, tx)
			if err != nil {
				return err
			}
			ahead = append(ahead, sealed...)
		}
		for _, c := range ahead {
			var n int64
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+c.table()).Scan(&n); err != nil {
				return err
			}
			start += n // each of these messages may need a number
			if _, err := tx.ExecContext(ctx, "UPDATE chunk SET ahead = 1 WHERE id = ?", c.id); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO note (name, value) VALUES ('start', ?) ON CONFLICT DO UPDATE SET value = excluded.value", start)
		return err
	})
	if err != nil {
		return err
	}
	d.chunks, d.ahead, d.start, d.last = d.chunks[:from:from], ahead, start, start
	if openIs {
		d.open = nil
	}
	return nil
}

// moveAhead moves the messages of the first chunk of d.ahead to a new chunk, in one transaction. For a full chunk this takes a second.
func (d *database) moveAhead(ctx context.Context, now int64) error {
	source, target := d.ahead[0], chunk{}
	err := d.transact(ctx, func(tx *sql.Tx) error {
		all, err := d.newNumbers(ctx, tx, source, d.before(), now, -1, math.MaxInt64)
		if err != nil {
			return err
		}
		if len(all) > 0 {
			if target, err = createChunk(ctx, tx, all[0].to); err != nil {
				return err
			}
			if err := moveAll(ctx, tx, source, &target, all); err != nil {
				return err
			}
		}
		if len(d.ahead) == 1 {
			if _, err := tx.ExecContext(ctx, "UPDATE answer SET seen = ? WHERE seen > ?", now/1e6, now/1e6); err != nil {
				return err
			}
		}
		return dropChunk(ctx, tx, source)
	})
	if err != nil {
		return err
	}
	if d.ahead = d.ahead[1:]; len(d.ahead) == 0 {
		d.stored.clear()
	}
	if target.id != 0 {
		d.chunks = append(d.chunks, target)
		slices.SortFunc(d.chunks, func(a, b chunk) int { return cmp.Compare(a.first, b.first) })
	}
	return nil
}

// before returns the number after which renumbered messages are inserted: the last one before d.start.
func (d *database) before() int64 {
	before := int64(0)
	for _, c := range d.chunks {
		if c.last <= d.start {
			before = max(before, c.last)
		}
	}
	if before == 0 { // all of them have expired in the meantime
		return d.start - dayMicros
	}
	return before
}

// renumbered is a message with its old and its new number.
type renumbered struct{ from, to, outcome int64 }

// newNumbers returns the first messages of a chunk with numbers greater than after, at most most of them. Their new numbers follow at.
func (d *database) newNumbers(ctx context.Context, tx *sql.Tx, source chunk, at, now, after int64, most int) (all []renumbered, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, outcome, entry FROM "+source.table()+" WHERE id > ? ORDER BY id LIMIT ?", after, most)
	return all, each(rows, err, func() error {
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
}

// moveAll copies messages of source to target, and seals target.
func moveAll(ctx context.Context, tx *sql.Tx, source chunk, target *chunk, all []renumbered) error {
	move, err := tx.PrepareContext(ctx, "INSERT INTO "+target.table()+" SELECT ?, queue, mid, domain, client, outcome, entry FROM "+source.table()+" WHERE id = ?")
	if err != nil {
		return err
	}
	defer move.Close()
	for _, m := range all {
		if _, err := move.Exec(m.to, m.from); err != nil {
			return err
		}
	}
	target.last, target.sealed = all[len(all)-1].to, true
	if _, err := tx.ExecContext(ctx, "UPDATE chunk SET last = ?, sealed = 1 WHERE id = ?", target.last, target.id); err != nil {
		return err
	}
	return moveHours(ctx, tx, all)
}

// moveHours changes the counts by hour for messages with new numbers.
func moveHours(ctx context.Context, tx *sql.Tx, all []renumbered) error {
	type hour struct{ hour, outcome int64 }
	change := map[hour]int64{}
	for _, m := range all {
		change[hour{m.from / hourMicros, m.outcome}]--
		change[hour{m.to / hourMicros, m.outcome}]++
	}
	for h, n := range change {
		if _, err := tx.ExecContext(ctx, addToHour, h.hour, h.outcome, n); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM hour WHERE n <= 0")
	return err
}

// addToHour is the statement that adds to the count of an outcome in an hour.
const addToHour = "INSERT INTO hour (hour, outcome, n) VALUES (?,?,?) ON CONFLICT DO UPDATE SET n = n + excluded.n"

// renumberChunk is the number of messages of the table of version 1 that one transaction renumbers.
const renumberChunk = 1000

// renumberOld renumbers messages of the table of version 1 within this table. It reports whether there may be more of them.
func (d *database) renumberOld(ctx context.Context, now, future int64) (more bool, err error) {
	if len(d.chunks) == 0 || !d.chunks[0].old || d.chunks[0].first > future || d.chunks[0].last <= future {
		return false, nil
	}
	c := d.chunks[0]
	err = d.transact(ctx, func(tx *sql.Tx) error {
		var at int64
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(id), ?) FROM message WHERE id <= ?", c.first, future).Scan(&at); err != nil {
			return err
		}
		all, err := d.newNumbers(ctx, tx, c, at, now, future, renumberChunk)
		if err != nil {
			return err
		}
		for _, m := range all {
			at = m.to
			if _, err := tx.ExecContext(ctx, "UPDATE message SET id = ? WHERE id = ?", m.to, m.from); err != nil {
				return err
			}
		}
		if more = len(all) == renumberChunk; !more {
			c.last = at
		}
		if _, err := tx.ExecContext(ctx, "UPDATE chunk SET last = ? WHERE id = ?", c.last, c.id); err != nil {
			return err
		}
		return moveHours(ctx, tx, all)
	})
	if err != nil {
		return false, err
	}
	d.chunks[0] = c
	if !more && len(d.chunks) == 1 && d.open == nil {
		d.last = c.last
	}
	return more, nil
}
