package journal

import "time"

// Messages are numbered, found and deleted by the time that the machine's clock says. A clock may be wrong: an empty battery has
// it start years ago, a slip of the hand sets it years ahead, and after a while somebody, or NTP, puts it right.

const (
	// leap is by how much the clock may have gone on, or back, between two looks, which are a minute apart.
	leap = time.Hour
	// sure is how long a clock must have gone without a leap before messages are deleted for their age: what is so wrong that
	// they seem years old is noticed sooner.
	sure = time.Hour
	// settled is the same before messages that lie ahead of it are brought back. A machine without a network may go by a clock
	// of years ago for hours, and all messages from before then lie ahead.
	settled = 24 * time.Hour
)

// steady is for how long the clock has gone without a leap, as far as this process knows.
func (j *Journal) steady(now time.Time) time.Duration {
	now = now.Round(0) // the wall clock's reading alone
	if now.Sub(j.looked).Abs() > leap {
		if !j.looked.IsZero() {
			j.options.Log.Warn("the clock has leapt, or the machine slept; for an hour nothing is deleted from the journal for its age", "from", j.looked, "to", now)
		}
		j.leapt = now
	}
	j.looked = now
	return now.Sub(j.leapt)
}

// bringBack numbers the messages that lie ahead of the clock anew, in their order: by the time that the clock said when they
// came, and where that lies ahead too, as that of the last one before them. A part of them, where there are many: behind says that
// there are more. Where no message is older than now it is the clock that is wrong.
func (d *database) bringBack(now time.Time) error {
	ahead := now.Add(leap).UnixMicro()
	for range some {
		if d.last <= ahead {
			return nil
		}
		if n, err := d.bringBackSome(now.UnixMicro(), ahead); err != nil || n < chunk {
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
	rows, err := tx.Query("SELECT id, outcome, entry FROM message WHERE id > ? ORDER BY id LIMIT ?", ahead, chunk)
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
	if len(all) < chunk { // those were the last
		d.last = at
		d.forget()
	}
	return len(all), nil
}
