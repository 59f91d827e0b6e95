package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster"
	"signpost/internal/cluster/control"
)

func item(kind control.Kind, name string, part int, body string) control.Item {
	return control.Item{Kind: kind, Day: "2026-12-01", Name: name, Part: part, Body: []byte(body)}
}

func (h *host) put(items ...control.Item) []control.Item {
	h.t.Helper()
	stored, err := h.Items().Put(h.t.Context(), items)
	if err != nil {
		h.t.Fatal(err)
	}
	return stored
}

// listed returns the items of a kind and a day, as host, name, part and body, and the number of refused rows. It reads all pages.
func (h *host) listed(kind control.Kind) (all []string, refused int) {
	h.t.Helper()
	after := control.Item{Kind: kind, Day: "2026-12-01", Part: -1}
	for {
		page, err := h.Items().List(h.t.Context(), after)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, i := range page.Items {
			all = append(all, fmt.Sprintf("%s/%s/%d=%s", i.Host, i.Name, i.Part, i.Body))
		}
		if refused += page.Refused; !page.More {
			return all, refused
		}
		after = page.After.Last
	}
}

func (h *host) hasItems(kind control.Kind, want ...string) {
	h.t.Helper()
	got, refused := h.listed(kind)
	if slices.Sort(got); !slices.Equal(got, want) || refused > 0 {
		h.t.Errorf("%s on host %s: %q, want %q; %d refused", kind, h.name, got, want, refused)
	}
}

// Each host has counts of its own, which it can write again. What is written once never changes. All hosts read the same items.
func testItems(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	for _, h := range []*host{a, b} {
		h.put(item(control.KindCount, "x", 1, "1"), item(control.KindCount, "y", 1, "1"))
	}
	forged := item(control.KindCount, "x", 1, "2")
	forged.Host = "b"
	a.put(forged)
	if got := a.put(item(control.KindReport, "x", 0, "first")); string(got[0].Body) != "first" {
		t.Errorf("%s", got[0].Body)
	}
	if got := b.put(item(control.KindReport, "x", 0, "second")); string(got[0].Body) != "first" {
		t.Errorf("another host replaced what is written once: %s", got[0].Body)
	}
	b.put(item(control.KindDelivery, "x", 0, "frozen"))
	a.put(item(control.KindDelivery, "x", 0, "accepted"))
	for _, h := range []*host{a, b} {
		h.hasItems(control.KindCount, "a/x/1=2", "a/y/1=1", "b/x/1=1", "b/y/1=1")
		h.hasItems(control.KindReport, "/x/0=first")
		h.hasItems(control.KindDelivery, "/x/0=accepted")
		h.hasItems(control.KindRound)
	}
	if k1, err := a.Items().BounceKey(t.Context()); err != nil || len(k1) != 64 {
		t.Errorf("%q %v", k1, err)
	} else if k2, err := b.Items().BounceKey(t.Context()); err != nil || k1 != k2 {
		t.Errorf("the hosts have different bounce keys: %v", err)
	}
	if n := s.sql("SELECT COUNT(*) FROM sp_report WHERE POSITION('accepted' IN %s) > 0", s.asText("sealed")); n != "0" {
		t.Error("the database shows a body")
	}
}

// A list of more than one page is complete, also if many rows were written at the same time, or have long bodies.
func testItemsPages(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	var counts, reports []control.Item
	for n := range 1203 {
		counts = append(counts, item(control.KindCount, fmt.Sprint("n", n/3), n%3, "x"))
		reports = append(reports, item(control.KindDelivery, fmt.Sprint("r", n), 0, "x"))
	}
	for _, h := range []*host{a, b} {
		for part := range slices.Chunk(counts, control.MaxItems) {
			h.put(part...)
		}
	}
	for part := range slices.Chunk(reports, control.MaxItems) {
		a.put(part...)
	}
	long := bytes.Repeat([]byte{'y'}, 3<<20)
	for n := range 4 {
		i := item(control.KindReport, fmt.Sprint("long", n), 0, "")
		i.Body = long
		a.put(i)
	}
	if got, _ := b.listed(control.KindCount); len(got) != 2*len(counts) || len(slices.Compact(got)) != len(got) {
		t.Errorf("%d counts, want %d", len(got), 2*len(counts))
	}
	for _, same := range []bool{false, true} {
		if same {
			s.sql("UPDATE sp_report SET written = 5")
		}
		var at control.Cursor
		seen := map[string]bool{}
		for pages := 0; pages < 20; pages++ {
			page, err := b.Items().Changed(t.Context(), at, []control.Kind{control.KindReport, control.KindDelivery})
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range page.Items {
				if key := string(i.Kind) + i.Name; seen[key] || i.Kind == control.KindCount {
					t.Errorf("%s %s is in the list twice, or does not belong there", i.Kind, i.Name)
				} else {
					seen[key] = true
				}
			}
			if at = page.After; !page.More {
				break
			}
		}
		if len(seen) != len(reports)+4 {
			t.Errorf("%d changed items, want %d", len(seen), len(reports)+4)
		}
	}
}

// Nobody who can only write to the database can add an item, move it to another place, or exchange the items of two hosts.
func testItemsForged(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.put(item(control.KindCount, "x", 1, "1"), item(control.KindCount, "x", 2, "2"), item(control.KindReport, "x", 0, "first"))
	b.put(item(control.KindCount, "x", 1, "5"))
	for what, change := range map[string]string{
		"another part": "part = part + 10", "another day": "day = '2026-12-01', part = 7", "another host": "host = 'c'", "another name": "name = 'z'", "another kind": "kind = 'delivery'",
	} {
		if what == "another day" {
			other := item(control.KindCount, "x", 7, "7")
			other.Day = "2026-12-02"
			a.put(other)
		}
		s.sql("CREATE TABLE saved AS SELECT * FROM sp_report")
		day := "2026-12-01"
		if what == "another day" {
			day = "2026-12-02"
		}
		s.sql("UPDATE sp_report SET %s WHERE kind = 'count' AND day = '%s' AND host = 'a'", change, day)
		kind := control.KindCount
		if what == "another kind" {
			kind = control.KindDelivery
		}
		if got, refused := b.listed(kind); refused == 0 || strings.Contains(fmt.Sprint(got), "c/") {
			t.Errorf("%s: %d rows were refused: %q", what, refused, got)
		}
		s.sql("DELETE FROM sp_report; INSERT INTO sp_report SELECT * FROM saved; DROP TABLE saved")
	}
	s.sql("UPDATE sp_report SET name = 'y' WHERE kind = 'report'")
	if _, err := b.Items().Put(t.Context(), []control.Item{item(control.KindReport, "y", 0, "own")}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a report that was moved stands for another one: %v", err)
	}
}

// Items of the days before a time are deleted, of some kinds. A host that left the cluster, or that is stopped because
// the database was restored, reads and writes no items.
func testItemsExpire(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	day := func(kind control.Kind, back int) control.Item {
		i := item(kind, "x", 1, "1")
		i.Day = time.Now().UTC().AddDate(0, 0, -back).Format(time.DateOnly)
		return i
	}
	for _, back := range []int{0, 5, 7, 20, 40} {
		a.put(day(control.KindCount, back), day(control.KindShipped, back), day(control.KindRound, back), day(control.KindReport, back), day(control.KindDelivery, back))
	}
	a.put(control.Item{Kind: control.KindSuppression, Name: "x@example.org", Body: []byte("1")})
	if err := b.Items().Expire(t.Context(), time.Now().AddDate(0, 0, -6), []control.Kind{control.KindCount, control.KindShipped, control.KindRound}); err != nil {
		t.Fatal(err)
	}
	if err := b.Items().Expire(t.Context(), time.Now().AddDate(0, 0, -30), control.Kinds()); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[control.Kind]string{control.KindCount: "2", control.KindShipped: "2", control.KindRound: "2", control.KindReport: "4", control.KindDelivery: "4", control.KindSuppression: "1"} {
		if got := s.sql("SELECT COUNT(*) FROM sp_report WHERE kind = '%s'", kind); got != want {
			t.Errorf("%s: %s rows, want %s", kind, got, want)
		}
	}
	sync2(a, b)
	if err := a.Leave(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	_ = b.Sync(context.WithoutCancel(t.Context()))
	_, err := b.Items().Put(t.Context(), []control.Item{item(control.KindCount, "x", 1, "1")})
	stopped(t, err, cluster.Left)
	s.sql("UPDATE sp_site SET version = 0")
	stopped(t, a.Sync(t.Context()), cluster.Restored)
	_, err = a.Items().Changed(t.Context(), control.Cursor{}, control.Kinds())
	stopped(t, err, cluster.Restored)
}

// After the site key was replaced, the items can still be read with the new one.
func testItemsRekey(t *testing.T, s *site) {
	a := s.joined("a")
	a.put(item(control.KindCount, "x", 1, "1"), item(control.KindReport, "x", 0, "first"))
	sync2(a)
	old, err := a.Items().BounceKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	present, err := os.ReadFile(s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	fresh := cluster.NewSiteKey()
	s.setKeys(string(present), fresh)
	sync2(a)
	if r, err := a.Rekey(t.Context()); err != nil || len(r.Waiting) > 0 {
		t.Fatalf("%+v %v", r, err)
	}
	s.setKeys(fresh)
	sync2(a)
	a.hasItems(control.KindCount, "a/x/1=1")
	a.hasItems(control.KindReport, "/x/0=first")
	if next, err := a.Items().BounceKey(t.Context()); err != nil || next == old {
		t.Errorf("the bounce key did not change: %v", err)
	}
}
