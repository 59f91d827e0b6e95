package journal

import (
	"context"
	"time"
)

// Covers says from when to when the messages in the journal came. Both are zero where it is empty.
func (r *Reader) Covers(ctx context.Context) (oldest, newest time.Time, err error) {
	var first, last *int64
	// Two questions: SQLite looks the ends up in the index of each alone, and reads all for both.
	if err = r.QueryRowContext(ctx, "SELECT min(id) FROM message").Scan(&first); err == nil {
		err = r.QueryRowContext(ctx, "SELECT max(id) FROM message").Scan(&last)
	}
	if err != nil || first == nil || last == nil {
		return time.Time{}, time.Time{}, err
	}
	return time.UnixMicro(*first), time.UnixMicro(*last), nil
}
