package journal

import "time"

// Messages are numbered, found and deleted by the time that the machine's clock says. A clock may be wrong: an empty battery has
// it start years ago, a slip of the hand sets it years ahead, and after a while somebody, or NTP, puts it right.

const (
	// maxClockStep is the greatest difference between two readings, a minute apart, that is not taken for a jump of the clock.
	maxClockStep = time.Hour
	// minStable is how long the clock must not have jumped before messages are deleted for their age: an error by which they seem
	// years old is noticed sooner.
	minStable = time.Hour
	// minStableToRenumber is the same before messages with times in the future are renumbered. A machine without a network may
	// run for hours with a clock that is years slow, and all messages from before then lie in the future.
	minStableToRenumber = 24 * time.Hour
)

// clockStable returns for how long the clock has not jumped, as far as this process knows.
func (j *Journal) clockStable(now time.Time) time.Duration {
	now = now.Round(0) // the wall clock's reading alone
	if now.Sub(j.clockReadAt).Abs() > maxClockStep {
		if !j.clockReadAt.IsZero() {
			j.options.Log.Warn("the clock has leapt, or the machine slept; for an hour nothing is deleted from the journal for its age", "from", j.clockReadAt, "to", now)
		}
		j.clockJumpedAt = now
	}
	j.clockReadAt = now
	return now.Sub(j.clockJumpedAt)
}

// bringBack numbers the messages that lie ahead of the clock anew, in their order: by the time that the clock said when they
// came, and where that lies ahead too, as that of the last one before them. A part of them, where there are many: behind says that
// there are more. Where no message is older than now it is the clock that is wrong.
func (d *database) bringBack(now time.Time) error {
	ahead := now.Add(maxClockStep).UnixMicro()
	for range deleteSteps {
		if d.last <= ahead {
			return nil
		}
		if n, err := d.bringBackSome(now.UnixMicro(), ahead); err != nil || n < deleteChunk {
			return err
		}
	}
	d.behind = true
	return nil
}

func (d *database) bringBackSome(now, ahead int64) (n int, err error) {
	tx, err := d.Begin()
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	var at int64
	if err := tx.QueryRow("SELECT coalesce(max(id), 0) FROM message WHERE id <= ?", ahead).Scan(&at); err != nil || at == 0 {
		return 0, err
	}
	rows, err := tx.Query("SELECT id, outcome, entry FROM message WHERE id > ? ORDER BY id LIMIT ?", ahead, deleteChunk)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	type moved struct{ from, to, outcome int64 }
	var all []moved
	for rows.Next() {
		var m moved
		var packed []byte
		if err := rows.Scan(&m.from, &m.outcome, &packed); err != nil {
			return 0, err
		}
		at++
		if e, err := d.codec.decode(packed); err == nil && e.Time.UnixMicro() <= now {
			at = max(at, e.Time.UnixMicro())
		}
		m.to = at
		all = append(all, m)
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	for _, m := range all {
		for _, q := range []struct {
			text string
			args []any
		}{
			{"UPDATE message SET id = ? WHERE id = ?", []any{m.to, m.from}},
			{"UPDATE hour SET n = n - 1 WHERE hour = ? AND outcome = ?", []any{m.from / hourMicros, m.outcome}},
			{"INSERT INTO hour (hour, outcome, n) VALUES (?,?,1) ON CONFLICT DO UPDATE SET n = n + 1", []any{m.to / hourMicros, m.outcome}},
		} {
			if _, err := tx.Exec(q.text, q.args...); err != nil {
				return 0, err
			}
		}
	}
	if _, err := tx.Exec("DELETE FROM hour WHERE n <= 0"); err != nil {
		return 0, err
	}
	if _, err := tx.Exec("UPDATE answer SET seen = ? WHERE seen > ?", now/1e6, ahead/1e6); err != nil {
		return 0, err
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	if len(all) < deleteChunk { // those were the last
		d.last = at
		d.stored.clear()
	}
	return len(all), nil
}
