package hosts

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"signpost/internal/cluster/control"
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

// A host whose clock is a year ahead deletes no report that the other hosts have not read yet.
func TestSharedWithClockAhead(t *testing.T) {
	written := written()
	for _, ahead := range []time.Duration{0, 366 * 24 * time.Hour} {
		now := written.Add(ahead)
		body := pack(received.Stored{Kind: read.Aggregate, OrgName: "R", ID: "id", Begin: written.AddDate(0, 0, -1), End: written, Domain: "example.org", Reporter: "reporter.test"})
		site := newSite(t, now, []control.Item{
			{Kind: control.KindReceived, Day: date(written), Name: "new", Body: body},
			{Kind: control.KindReceived, Day: date(written.AddDate(0, 0, -40)), Name: "old", Body: body}})
		store, err := received.Open(t.Context(), filepath.Join(t.TempDir(), "received.db"), true, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		r := &Received{Client: site.Client, Store: store, Now: site.Now, Log: site.Log}
		if err := r.Pull(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		page, err := r.Client.ChangedItems(t.Context(), control.Cursor{}, control.KindReceived)
		if err != nil || len(page.Items) != 1 || page.Items[0].Name != "new" {
			t.Errorf("clock ahead by %v: %d reports are left, want 1: %v", ahead, len(page.Items), err)
		}
	}
}
