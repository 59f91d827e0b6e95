package report

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// clock is a clock that the test sets.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func newState(t testing.TB) (*State, *clock) {
	t.Helper()
	c := &clock{monday().Add(25 * time.Hour)}
	s, err := OpenState(t.Context(), filepath.Join(t.TempDir(), "reports", "reports.db"), true, c.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, c
}

// frozenReport returns a report with a number of rows.
func frozenReport(id string, rows int) Frozen {
	return Frozen{ID: id, File: id + ".xml.gz", Gzip: []byte("gzip of " + id), Day: monday(), Domain: "example.org", Rows: rows, Messages: 2 * rows,
		Created: monday().Add(25 * time.Hour), SenderDomain: "reports.example.net", OrgName: "Example", Email: "postmaster@example.net"}
}

func freeze(t testing.TB, s *State, f Frozen, destinations ...string) {
	t.Helper()
	all := make([]Destination, len(destinations))
	for i, d := range destinations {
		all[i] = Destination{d, strings.ToLower(d[strings.IndexByte(d, '@')+1:]), Key("secret").MAC(d, f.ID)}
	}
	if fresh, err := s.Freeze(t.Context(), f, all); err != nil || !fresh {
		t.Fatalf("%s: fresh %v, %v", f.ID, fresh, err)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// due returns the deliveries that are due, as ID and destination.
func due(t testing.TB, s *State) (all []string) {
	t.Helper()
	found, err := s.Due(t.Context())
	ok(t, err)
	for _, d := range found {
		all = append(all, d.Report.ID+" "+d.Destination)
	}
	return all
}

func wantDue(t testing.TB, s *State, want ...string) {
	t.Helper()
	if got := due(t, s); !slices.Equal(got, want) {
		t.Errorf("due: %q, want %q", got, want)
	}
}

// A frozen report never changes, even if the report of that day is computed again.
func TestFrozenStays(t *testing.T) {
	s, _ := newState(t)
	ctx := t.Context()
	first := frozenReport("a", 3)
	freeze(t, s, first, "x@example.com")
	second := first
	second.Gzip, second.Rows, second.OrgName = []byte("other"), 9, "Renamed"
	if fresh, err := s.Freeze(ctx, second, []Destination{{"y@example.com", "example.com", "m"}}); fresh || err != nil {
		t.Error(fresh, err)
	}
	got, deliveries, found, err := s.Find(ctx, "a")
	if err != nil || !found || !reflect.DeepEqual(got, first) || len(deliveries) != 1 || deliveries[0].Destination != "x@example.com" {
		t.Errorf("%+v %+v %v %v", got, deliveries, found, err)
	}
	if _, _, found, err := s.Find(ctx, "none"); found || err != nil {
		t.Error(found, err)
	}
	for id, want := range map[string]bool{"a": true, "b": false} {
		if has, err := s.Has(ctx, id); has != want || err != nil {
			t.Error(id, has, err)
		}
	}
}

// Deliveries are due until they are accepted, refused, suppressed or given up. The reports with the most rows come first.
func TestDeliveries(t *testing.T) {
	s, c := newState(t)
	ctx := t.Context()
	start := c.Time
	freeze(t, s, frozenReport("small", 1), "x@example.com", "y@example.com")
	freeze(t, s, frozenReport("large", 100), "z@Example.ORG", "x@example.com")
	freeze(t, s, frozenReport("dropped", 100))
	wantDue(t, s, "large z@Example.ORG", "large x@example.com", "small x@example.com", "small y@example.com")
	ok(t, s.Move(ctx, "large", "z@Example.ORG", StageAccepted, "250 2.0.0 Ok: queued as 4fXy"))
	ok(t, s.Try(ctx, "small", "x@example.com"))
	ok(t, s.Tried(ctx, "small", "x@example.com", "connection refused"))
	ok(t, s.Move(ctx, "small", "y@example.com", StageRefused, strings.Repeat("é", maxDetail)))
	wantDue(t, s, "large x@example.com", "small x@example.com")
	if err := s.Move(ctx, "small", "nobody@example.com", StageAccepted, ""); !errors.Is(err, errNoDelivery) {
		t.Error(err)
	}
	all, byOrganization, err := s.Accepted(ctx, start)
	if err != nil || all != 1 || byOrganization["example.org"] != 1 || len(byOrganization) != 1 {
		t.Error(all, byOrganization, err)
	}
	c.Time = start.Add(time.Hour)
	if all, _, err := s.Accepted(ctx, c.Time); err != nil || all != 0 {
		t.Error(all, err)
	}
	if gone, err := s.GiveUp(ctx, start); err != nil || len(gone) != 0 {
		t.Error(gone, err)
	}
	gone, err := s.GiveUp(ctx, start.Add(time.Second))
	if err != nil || len(gone) != 2 || gone[1].Report.ID != "small" || gone[1].Tries != 1 || gone[1].Detail != "connection refused" {
		t.Errorf("%+v %v", gone, err)
	}
	wantDue(t, s)
	if n, err := s.Retry(ctx, "small"); n != 2 || err != nil {
		t.Error(n, err)
	}
	wantDue(t, s, "small y@example.com", "small x@example.com")                           // the one with fewer attempts first
	if gone, err := s.GiveUp(ctx, start.Add(time.Second)); err != nil || len(gone) != 0 { // the time restarts
		t.Error(gone, err)
	}
	listed, err := s.List(ctx)
	if err != nil || len(listed) != 4 || listed[0].Report.ID != "large" || listed[0].Stage != StageAccepted || listed[0].Report.Gzip != nil {
		t.Errorf("%+v %v", listed, err)
	}
}

// A year passes. Reports are kept for the retention, deliveries that are due longer, and days and bounces for as long as they matter.
func TestRetention(t *testing.T) {
	s, c := newState(t)
	ctx := t.Context()
	const retention = 30 * day
	start, kept, sent := c.Time, 0, 0
	for n := range 400 {
		c.Time = start.AddDate(0, 0, n)
		f := frozenReport(fmt.Sprint("r", n), 1)
		f.Day, f.Created = Day(c.Time).AddDate(0, 0, -1), c.Time
		freeze(t, s, f, "x@example.com")
		if n != 5 {
			ok(t, s.Move(ctx, f.ID, "x@example.com", StageAccepted, ""))
			sent++
		}
		ok(t, s.SetCollected(ctx, f.Day))
		ok(t, s.Expire(ctx, c.Time.Add(-retention)))
		all, err := s.List(ctx)
		ok(t, err)
		kept = max(kept, len(all))
	}
	if kept != 32 { // 30 days and today, and the delivery that is due
		t.Errorf("at most %d reports are kept", kept)
	}
	wantDue(t, s, "r5 x@example.com")
	for n, want := range map[int]bool{0: true, 399: true, 400: false} {
		if got, err := s.Collected(ctx, start.AddDate(0, 0, n-1)); got != want || err != nil {
			t.Errorf("day %d: collected %v, %v", n, got, err)
		}
	}
	ok(t, s.Move(ctx, "r5", "x@example.com", StageGivenUp, ""))
	ok(t, s.Expire(ctx, c.Time.Add(-retention)))
	if has, err := s.Has(ctx, "r5"); has || err != nil {
		t.Error("a report that was given up is kept", err)
	}
	c.Time = start.AddDate(0, 0, collectedDays+1)
	ok(t, s.Expire(ctx, c.Time))
	if got, err := s.Collected(ctx, monday()); got || err != nil {
		t.Error(got, err)
	}
}

// A destination that bounces is suppressed for 30 days, then 90, then 365, and for 3 days if the mailbox is full. Late bounces of reports
// that were sent before do not count, and neither does a second copy of a bounce.
func TestBounces(t *testing.T) {
	s, c := newState(t)
	ctx := t.Context()
	n := 0
	bounce := func(status string) {
		t.Helper()
		n++
		id := fmt.Sprint("r", n)
		freeze(t, s, frozenReport(id, 1), "Dead@example.com")
		mac := Key("secret").MAC("dead@example.com", id)
		for range 2 {
			d, known, err := s.Bounce(ctx, strings.ToUpper(mac), status)
			if err != nil || !known || d.Report.ID != id || d.Bounced != status || d.Destination != "Dead@example.com" {
				t.Errorf("%+v %v %v", d, known, err)
			}
		}
	}
	want := func(days, count int) {
		t.Helper()
		all, err := s.Suppressed(ctx)
		p := all["dead@example.com"]
		if err != nil || p.Count != count || days == 0 && len(all) > 0 || days > 0 && !p.Until.Equal(c.Time.AddDate(0, 0, days)) {
			t.Errorf("%+v %v, want %d days, %d bounces", all, err, days, count)
		}
	}
	pass := func(days int) { c.Time = c.Time.AddDate(0, 0, days) }
	want(0, 0)
	bounce("5.2.2")
	want(3, 0)
	bounce("5.1.1")
	want(30, 1)
	bounce("5.1.1")
	bounce("5.2.2")
	want(30, 1)
	pass(30)
	want(0, 0)
	if d, known, err := s.Bounce(ctx, Key("secret").MAC("dead@example.com", "r2"), "5.1.1"); err != nil || !known || d.Report.ID != "r2" {
		t.Errorf("%+v %v %v", d, known, err)
	}
	want(0, 0) // it was counted before
	bounce("5.1.1")
	want(90, 2)
	pass(90)
	bounce("5.7.1")
	want(365, 3)
	pass(365)
	bounce("5.1.1")
	want(365, 4)
	pass(365 + 364)
	ok(t, s.Expire(ctx, c.Time.AddDate(-9, 0, 0)))
	bounce("5.1.1")
	want(365, 5)
	pass(365 + 366) // forgotten
	ok(t, s.Expire(ctx, c.Time.AddDate(-9, 0, 0)))
	bounce("5.1.1")
	want(30, 1)
	ok(t, s.Suppress(ctx, "DEAD@example.com", c.Time.AddDate(0, 0, 7)))
	want(7, 1)
	ok(t, s.Suppress(ctx, "dead@example.com", c.Time))
	want(0, 0)
	if _, known, err := s.Bounce(ctx, Key("another").MAC("dead@example.com", "r1"), "5.1.1"); known || err != nil {
		t.Error("a bounce with a wrong MAC counts", err)
	}
	want(0, 0)
}

// Only OpenState with create makes a database. It is private. A database of a later version is not touched.
func TestOpenState(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "reports", "reports.db")
	if _, err := OpenState(ctx, path, false, time.Now); !errors.Is(err, ErrNoState) || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	for range 2 {
		s, err := OpenState(ctx, path, true, time.Now)
		ok(t, err)
		s.Close()
	}
	for file, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", file, fi.Mode(), err)
		}
	}
	db, err := sql.Open("sqlite", path)
	ok(t, err)
	defer db.Close()
	_, err = db.ExecContext(context.Background(), "PRAGMA user_version = 2")
	ok(t, err)
	if _, err := OpenState(ctx, path, true, time.Now); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Error(err)
	}
}

// A day that was collected before it ended is collected again. Domains without an answer are known until the day is collected.
func TestDays(t *testing.T) {
	s, _ := newState(t)
	ctx := t.Context()
	tuesday := monday().AddDate(0, 0, 1)
	ok(t, s.SetUnresolved(ctx, monday(), "slow.example"))
	ok(t, s.SetUnresolved(ctx, monday(), "slow.example"))
	if all, err := s.Unresolved(ctx, monday()); err != nil || !all["slow.example"] || len(all) != 1 {
		t.Error(all, err)
	}
	ok(t, s.SetCollected(ctx, monday()))
	ok(t, s.SetCollected(ctx, tuesday))
	ok(t, s.ForgetDays(ctx, tuesday.Add(time.Hour)))
	for day, want := range map[time.Time]bool{monday(): true, tuesday: false} {
		if got, err := s.Collected(ctx, day); got != want || err != nil {
			t.Error(day, got, err)
		}
	}
	if all, err := s.Unresolved(ctx, monday()); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
}
