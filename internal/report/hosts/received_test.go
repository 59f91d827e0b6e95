package hosts

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"signpost/internal/report/read"
	"signpost/internal/report/received"
)

// What a host shares on a day is limited in bytes, because anyone can send reports. The limit ends with the day.
func TestSharedBytes(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	site := newSite(t, now, nil)
	store, err := received.Open(t.Context(), filepath.Join(t.TempDir(), "received.db"), true, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	add := func(n int) {
		t.Helper()
		r := &read.Report{Kind: read.Aggregate, OrgName: "R", ID: fmt.Sprint("id", n), Begin: now.AddDate(0, 0, -1), End: now, Domain: "example.org", Policy: read.Policy{P: "none"}}
		if err := store.Add(t.Context(), r, received.Origin{Reporter: "reporter.test", Verified: true, Received: now}); err != nil {
			t.Fatal(err)
		}
	}
	r := &Received{Client: site.Client, Store: store, Now: func() time.Time { return now }, Log: site.Log}
	if err := r.Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Bytes = maxSharedBytes - 10
	for n, want := range []int{0, 1} {
		add(n)
		if err := r.Push(t.Context()); err != nil || r.Count != want {
			t.Errorf("day %d: %d reports were shared, want %d: %v", n, r.Count, want, err)
		}
		now = now.AddDate(0, 0, 1)
	}
}
