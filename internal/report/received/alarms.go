package received

import (
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"slices"

	"signpost/internal/report/status"
)

// Alarms returns the alarms of the last run, in the order of their keys.
func (s *Store) Alarms(ctx context.Context) (all []status.Alarm, err error) {
	err = s.each(ctx, func(scan func(...any) error) error {
		var text []byte
		if err := scan(&text); err != nil {
			return err
		}
		var a status.Alarm
		err := json.Unmarshal(text, &a)
		all = append(all, a)
		return err
	}, "SELECT alarm FROM alarm ORDER BY key")
	return all, err
}

// SetAlarms replaces the alarms, and returns those that are new and those that have ended. An alarm that continues keeps its earliest Since. The
// alarms of the given codes that could not be computed are kept.
func (s *Store) SetAlarms(ctx context.Context, found []status.Alarm, unknown ...status.Code) (begun, ended []status.Alarm, err error) {
	before, err := s.Alarms(ctx)
	if err != nil {
		return nil, nil, err
	}
	current := map[string]status.Alarm{}
	for _, a := range found {
		current[a.Key()] = a
	}
	for _, old := range before {
		key := old.Key()
		now, continues := current[key]
		switch {
		case continues:
			if old.Since.Before(now.Since) {
				now.Since = old.Since
				current[key] = now
			}
		case slices.Contains(unknown, old.Code):
			current[key] = old
		default:
			ended = append(ended, old)
		}
	}
	known := map[string]bool{}
	for _, old := range before {
		known[old.Key()] = true
	}
	err = s.db.Transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM alarm"); err != nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(current)) {
			text, err := json.Marshal(current[key])
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO alarm VALUES (?, ?)", key, text); err != nil {
				return err
			}
			if !known[key] {
				begun = append(begun, current[key])
			}
		}
		return nil
	})
	return begun, ended, err
}
