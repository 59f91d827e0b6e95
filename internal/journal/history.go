package journal

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"
)

// History returns the counts of each hour, the oldest first, of the messages that match a filter. Like Top, it counts only the newest 50,000
// of them; whole reports whether these are all.
func (r *Reader) History(ctx context.Context, f Filter) (all []Hour, whole bool, err error) {
	type key struct{ hour, outcome int64 }
	n, total := map[key]int64{}, 0
	outcomes := map[int64]Outcome{}
	err = r.snapshot(ctx, func(s *snapshot) error {
		clear(n)
		clear(outcomes)
		total = 0
		byOutcome, err := readOutcomes(ctx, s.tx)
		if err != nil {
			return err
		}
		for o, id := range byOutcome {
			outcomes[id] = o.current()
		}
		return s.find(ctx, f, "id, outcome", mostCounted, false, func(rows *sql.Rows, err error) (int, error) {
			before := total
			err = each(rows, err, func() error {
				var id, outcome int64
				err := rows.Scan(&id, &outcome)
				n[key{id / hourMicros, outcome}]++
				total++
				return err
			})
			return total - before, err
		})
	})
	if err != nil {
		return nil, false, err
	}
	for k, count := range n {
		all = append(all, Hour{time.Unix(k.hour*3600, 0), outcomes[k.outcome], count})
	}
	slices.SortFunc(all, func(a, b Hour) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(b.N, a.N)) })
	return all, total < mostCounted, nil
}
