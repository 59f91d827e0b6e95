package received

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"time"
)

// LookupKind is what was looked up in DNS.
type LookupKind string

// The kinds.
const (
	LookupMX           LookupKind = "mx"           // the mail exchangers of a domain, separated by spaces
	LookupOrganization LookupKind = "organization" // the Organizational Domain of a domain
	LookupPolicy       LookupKind = "policy"       // the DMARC record of a domain; empty: there is none
)

// Lookup is a value that was found in DNS.
type Lookup struct {
	Value string
	Since time.Time // when this value was first found
	At    time.Time // when it was last found; zero: never
}

// Lookup returns the cached value of a name.
func (s *Store) Lookup(ctx context.Context, kind LookupKind, name string) (l Lookup, err error) {
	var since, at int64
	err = s.db.QueryRowContext(ctx, "SELECT value, since, at FROM lookup WHERE kind = ? AND name = ?", kind, name).Scan(&l.Value, &since, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return Lookup{}, nil
	}
	l.Since, l.At = time.Unix(since, 0).UTC(), time.Unix(at, 0).UTC()
	return l, err
}

// SetLookup caches a value that was found now, and returns it with its times.
func (s *Store) SetLookup(ctx context.Context, kind LookupKind, name, value string) (Lookup, error) {
	now := s.now().Unix()
	if _, err := s.db.ExecContext(ctx, `INSERT INTO lookup VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
		since = iif(value = excluded.value, since, excluded.since), value = excluded.value, at = excluded.at`, kind, name, value, now, now); err != nil {
		return Lookup{}, err
	}
	return s.Lookup(ctx, kind, name)
}

// keepLookups and keepMail are how long the tables lookup and mail keep rows that are not renewed.
const (
	keepLookups = 30 * 24 * time.Hour
	keepMail    = 31 * 24 * time.Hour
)

// Mailed are the days whose outbound mail has been counted.
func (s *Store) Mailed(ctx context.Context) (days map[time.Time]bool, err error) {
	days = map[time.Time]bool{}
	err = s.each(ctx, func(scan func(...any) error) error {
		var day int64
		err := scan(&day)
		days[time.Unix(day, 0).UTC()] = true
		return err
	}, "SELECT day FROM mail WHERE domain = ''")
	return days, err
}

// SetMailed stores the messages of a day by the domain of the recipients. It deletes old rows.
func (s *Store) SetMailed(ctx context.Context, day time.Time, messages map[string]int64) error {
	return s.db.Transact(ctx, func(tx *sql.Tx) error {
		for _, name := range append(slices.Collect(maps.Keys(messages)), "") {
			if _, err := tx.ExecContext(ctx, "INSERT INTO mail VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET messages = excluded.messages", day.Unix(), name, messages[name]); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM lookup WHERE at < ?", s.now().Add(-keepLookups).Unix()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM mail WHERE day < ?", s.now().Add(-keepMail).Unix())
		return err
	})
}

// Recipients returns the number of messages since a time to the domains with the most messages.
func (s *Store) Recipients(ctx context.Context, since time.Time, most int) (messages map[string]int64, err error) {
	messages = map[string]int64{}
	err = s.each(ctx, func(scan func(...any) error) error {
		var name string
		var n int64
		err := scan(&name, &n)
		messages[name] = n
		return err
	}, "SELECT domain, sum(messages) AS n FROM mail WHERE day >= ? AND domain != '' GROUP BY domain ORDER BY n DESC, domain LIMIT ?", since.Unix(), most)
	return messages, err
}
