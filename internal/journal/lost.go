package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// reportInterval is the minimum time between two log messages about lost messages.
const reportInterval = time.Minute

// losses counts the messages that were lost and are not logged yet, by cause.
type losses struct {
	mu         sync.Mutex
	n          map[Cause]int
	days       map[int64]int // the messages that are not recorded in the database yet, by day: days since 1970, UTC
	reportedAt time.Time     // used only by the writer's goroutine
}

func (j *Journal) lose(cause Cause, n int) {
	if n == 0 {
		return
	}
	day := dayOf(j.options.Now())
	l := &j.losses
	l.mu.Lock()
	if l.n == nil {
		l.n = map[Cause]int{}
	}
	if l.days == nil {
		l.days = map[int64]int{}
	}
	l.n[cause] += n
	l.days[day] += n
	l.mu.Unlock()
	j.options.Lost(cause, n)
}

// discard counts queued messages as lost.
func (j *Journal) discard(cause Cause, all ...*row) {
	j.release(all)
	j.lose(cause, len(all))
}

// release subtracts messages from the size of the queue.
func (j *Journal) release(all []*row) {
	for _, r := range all {
		j.queued.Add(-r.size)
	}
}

// reportLost logs the number of lost messages, one line for each cause.
func (j *Journal) reportLost() {
	l := &j.losses
	now := j.options.Now()
	if now.Sub(l.reportedAt) < reportInterval {
		return
	}
	l.mu.Lock()
	all := l.n
	l.n = nil
	l.mu.Unlock()
	j.recordLost()
	for _, cause := range Causes() {
		if all[cause] == 0 {
			continue
		}
		l.reportedAt = now
		args := []any{"cause", cause, "messages", all[cause], "file", j.options.Path}
		if cause == DatabaseFailed && j.failure != nil {
			args = append(args, "error", j.failure)
		}
		j.options.Log.Error("messages are missing from the journal; mail was not affected", args...)
	}
}

const (
	// lostDays is the number of days for which the numbers of lost messages are kept.
	lostDays = 400
	// lostName is the name of the note with the number of lost messages of a day. The number of the day has five digits until 2243, so that
	// names can be compared.
	lostName = "lost %05d"
)

// dayOf returns the number of days since 1970, UTC.
func dayOf(t time.Time) int64 { return t.Unix() / int64(24*time.Hour/time.Second) }

// recordLost adds the lost messages to the numbers in the database. If that fails, it keeps them for the next call. The reports about a day
// state how many messages are missing.
func (j *Journal) recordLost() {
	l := &j.losses
	l.mu.Lock()
	days := maps.Clone(l.days)
	l.mu.Unlock()
	if j.db == nil || len(days) == 0 || j.options.Now().Before(j.retryAt) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	err := j.db.transact(ctx, func(tx *sql.Tx) error {
		for day, n := range days {
			if _, err := tx.ExecContext(ctx, "INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", fmt.Sprintf(lostName, day), n); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM note WHERE name BETWEEN ? AND ?", fmt.Sprintf(lostName, 0), fmt.Sprintf(lostName, dayOf(j.options.Now())-lostDays))
		return err
	})
	if err != nil {
		return // the failure of the database is logged when a batch is written
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for day, n := range days {
		if l.days[day] -= n; l.days[day] == 0 {
			delete(l.days, day)
		}
	}
}

// Lost returns the number of messages of a UTC day that could not be stored. The number may be a minute old. Messages that a crash of the
// machine lost are not counted.
func (r *Reader) Lost(ctx context.Context, day time.Time) (n int64, err error) {
	err = r.row(ctx, []any{&n}, "SELECT value FROM note WHERE name = ?", fmt.Sprintf(lostName, dayOf(day)))
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, err
}
