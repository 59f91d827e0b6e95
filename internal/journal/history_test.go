package journal

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// The history of a domain has each of its messages once, in the hour in which it arrived, and no message of another domain.
func TestHistory(t *testing.T) {
	path := os.Getenv(pathVar)
	limit := time.Duration(0)
	if path == "" {
		path = filepath.Join(t.TempDir(), "journal.db")
		historyOf(t, path)
	} else {
		limit = time.Second
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	top, _, err := r.Top(t.Context(), Filter{}, false, 1)
	if err != nil || len(top) == 0 {
		t.Fatal(top, err)
	}
	start := time.Now()
	hours, whole, err := r.History(t.Context(), Filter{Domain: top[0].Name})
	took := time.Since(start)
	t.Log(top, len(hours), whole, took)
	if limit > 0 && took > limit {
		t.Errorf("%v", took)
	}
	var sum int64
	for i, h := range hours {
		sum += h.N
		if i > 0 && h.Start.Before(hours[i-1].Start) || h.Start.Truncate(time.Hour) != h.Start || h.Action == "" {
			t.Errorf("%+v", h)
		}
	}
	if err != nil || limit == 0 && (!whole || sum != 75 || top[0].N != 75 || len(hours) < 10) {
		t.Errorf("%d messages of %v: %v", sum, top, err)
	}
}

func historyOf(t *testing.T, path string) {
	t.Helper()
	now, asked := time.Now().Add(-48*time.Hour), new(atomic.Int64)
	j := Open(Options{Path: path, Limits: Limits{Keep: 14 * 24 * time.Hour, MaxSize: 64 << 20}, Now: func() time.Time { return now.Add(time.Duration(asked.Add(1)) * 10 * time.Minute) }, Log: slog.New(slog.DiscardHandler)})
	for n := range 100 {
		r := *sample(n)
		r.Evidence.Author.Domains = []string{[]string{"a.example", "b.example"}[n%4/3]}
		j.Add(&r)
	}
	j.Close()
}
