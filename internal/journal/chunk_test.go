package journal

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/testjournal"
)

// catalog returns the chunks of a journal.
func (d *fixture) catalog(t *testing.T) (all []chunk) {
	t.Helper()
	r := d.read(t)
	defer r.Close()
	if err := r.snapshot(t.Context(), func(s *snapshot) error { all = s.chunks; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// work runs the steps of the journal that are due, until none is left.
func (j *Journal) work() {
	for j.tidy(); j.more != nil; {
		j.tidy()
	}
}

// A chunk has a maximum number of messages and a maximum number of bytes. All its messages are of one UTC day. A chunk is sealed first, and
// then gets its indexes. After that, its first and last number do not change.
func TestChunkIsSealed(t *testing.T) {
	d := newFixture(t)
	d.chunk = 100
	j := d.still(t)
	j.writeSamples(0, 250)
	got := d.catalog(t)
	if len(got) != 3 || !got[0].sealed || !got[1].sealed || got[2].sealed {
		t.Fatalf("after 250 messages: %+v", got)
	}
	j.work()
	later := d.catalog(t)
	if later[0].indexes != len(chunkIndexes()) || later[1].indexes != len(chunkIndexes()) || later[2].indexes != 0 {
		t.Errorf("indexes: %+v", later)
	}
	d.ahead.Add(int64(24 * time.Hour))
	j.work()
	if got := d.catalog(t); !got[2].sealed || len(got) != 3 {
		t.Errorf("a day later: %+v", got)
	}
	j.writeSamples(250, 260)
	got = d.catalog(t)
	for i := range 2 {
		if a, b := later[i], got[i]; a.first != b.first || a.last != b.last || a.id != b.id {
			t.Errorf("chunk %d had %+v, then %+v", i, a, b)
		}
	}
	if len(got) != 4 || got[3].first/dayMicros == got[2].first/dayMicros {
		t.Errorf("a message of the next day: %+v", got)
	}
	d.order(t, 260)
}

func TestChunkIsSealedBySize(t *testing.T) {
	d := newFixture(t)
	d.MaxSize = 16 << 20 // a chunk has 1 MiB
	j := d.still(t)
	var all []*decision.Record
	for i := range 10 {
		all = append(all, hostile(i))
	}
	for i := range 250 {
		j.Add(all[i%len(all)])
		if len(j.queue) == 50 {
			j.writeNext(<-j.queue)
		}
	}
	for len(j.queue) > 0 {
		j.writeNext(<-j.queue)
	}
	chunks := d.catalog(t)
	if len(chunks) != 2 || !chunks[0].sealed {
		t.Fatalf("%+v", chunks)
	}
	var bytes int64
	if err := j.db.db.QueryRow("SELECT sum(octet_length(entry)) FROM " + chunks[0].table()).Scan(&bytes); err != nil || bytes > 1<<20 || bytes < 1<<19 {
		t.Errorf("%d bytes: %v", bytes, err)
	}
}

// Messages are deleted on the day that journal.keep requires, even if there are few messages. The test writes about fifty messages a day
// for a month and keeps them for a week.
func TestKeepIsHonouredToTheDay(t *testing.T) {
	d := newFixture(t)
	d.Keep = 7 * 24 * time.Hour
	j := d.still(t)
	const perDay = 48
	for day := range 30 {
		for i := range perDay {
			j.writeSamples(day*perDay+i, day*perDay+i+1)
			d.wait(j, 24*time.Hour/perDay)
		}
		oldest, _, err := d.read(t).Covers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		age := d.Now().Sub(oldest)
		if age > d.Keep+25*time.Hour || day > 9 && age < d.Keep-time.Hour {
			t.Errorf("day %d: the oldest message is %v old", day, age)
		}
	}
	if n := len(d.catalog(t)); n > 10 {
		t.Errorf("%d chunks for a week", n)
	}
}

// copyTo copies the files of a journal as they are, as if the daemon was killed at this moment.
func (d *fixture) copyTo(t *testing.T) *fixture {
	t.Helper()
	to := newFixture(t)
	to.chunk = d.chunk
	if err := os.Mkdir(filepath.Dir(to.Path), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal"} {
		from, err := os.Open(d.Path + suffix)
		if err != nil {
			continue
		}
		f, err := os.Create(to.Path + suffix)
		if err == nil {
			_, err = io.Copy(f, from)
		}
		if err != nil {
			t.Fatal(err)
		}
		from.Close()
		f.Close()
	}
	return to
}

// A kill between any two steps of sealing, indexing and dropping loses nothing: the next start continues the work. An unfinished
// transaction is rolled back. TestKilled checks this.
func TestKilledBetweenSteps(t *testing.T) {
	d := newFixture(t)
	d.chunk = 50
	j := d.still(t)
	states := map[string]bool{}
	check := func(n int) {
		t.Helper()
		copied := d.copyTo(t)
		copied.ahead.Store(d.ahead.Load())
		var state []string
		for _, c := range copied.catalog(t) {
			state = append(state, c.table(), map[bool]string{true: "sealed", false: "open"}[c.sealed], strings.Repeat("i", c.indexes))
		}
		states[strings.Join(state, " ")] = true
		next := copied.still(t)
		next.writeSamples(n, n+60)
		next.work()
		copied.order(t, n+60)
		for _, c := range copied.catalog(t) {
			if c.sealed && c.indexes != len(chunkIndexes()) {
				t.Errorf("after the next start: %+v", c)
			}
		}
	}
	n := 0
	for range 3 {
		j.writeSamples(n, n+40)
		n += 40
		check(n)
		for j.db.unindexed() != nil {
			if err := j.db.createIndex(t.Context(), j.db.unindexed()); err != nil {
				t.Fatal(err)
			}
			check(n)
		}
	}
	if len(states) < 12 {
		t.Errorf("%d states: %v", len(states), states)
	}
	for dropped := 50; ; dropped += 50 {
		deleted, err := j.db.deleteOldest(t.Context(), j.db.last)
		if err != nil {
			t.Fatal(err)
		}
		if !deleted {
			break
		}
		copied := d.copyTo(t)
		if got := copied.count(t); got != n-dropped {
			t.Errorf("%d messages after a drop, want %d", got, n-dropped)
		}
	}
}

// brute returns the messages that a filter should select, newest first.
func brute(all []Entry, f Filter) (ids []int64) {
	lowest, highest := f.bounds()
	for _, e := range slices.Backward(all) {
		if e.ID < lowest || e.ID > highest || f.Domain != "" && e.Domain() != f.Domain || f.Client.IsValid() && !f.Client.Contains(e.Client) || f.Outcome != nil && !f.Outcome(e.Outcome()) {
			continue
		}
		ids = append(ids, e.ID)
	}
	return ids
}

// A query finds the same messages in sealed chunks with all, some or no indexes, in the open chunk, and in the table of version 1.
func TestFiltersOverChunks(t *testing.T) {
	old := newFixture(t)
	old.Path = testjournal.Version1(t)
	for name, d := range map[string]*fixture{"chunks": newFixture(t), "version 1 and chunks": old} {
		t.Run(name, func(t *testing.T) {
			d.chunk, d.Keep = 70, 100*year
			j := d.still(t)
			j.writeSamples(0, 300)
			for range 8 {
				if err := j.db.createIndex(t.Context(), j.db.unindexed()); err != nil {
					t.Fatal(err)
				}
			}
			r := d.read(t)
			var all []Entry
			if err := r.Each(t.Context(), Filter{}, func(e *Entry) bool { all = append(all, *e); return true }); err != nil || len(all) < 300 {
				t.Fatal(len(all), err)
			}
			if !slices.IsSortedFunc(all, func(a, b Entry) int { return int(a.ID - b.ID) }) {
				t.Error("the messages are not in order")
			}
			reject := func(o Outcome) bool { return o.Action == "reject" }
			middle := all[len(all)/2].Time
			for name, f := range map[string]Filter{
				"all": {}, "failed": {Outcome: Outcome.Failed}, "reject": {Outcome: reject}, "none": {Outcome: func(Outcome) bool { return false }},
				"domain": {Domain: all[7].Domain()}, "domain, reject": {Domain: all[9].Domain(), Outcome: reject},
				"client": {Client: netip.PrefixFrom(all[3].Client, all[3].Client.BitLen())}, "network": {Client: netip.MustParsePrefix("203.0.0.0/24")},
				"world": {Client: netip.MustParsePrefix("0.0.0.0/0"), Outcome: Outcome.Failed}, "IPv6": {Client: netip.MustParsePrefix("::/0")},
				"since": {Since: middle}, "before": {Before: middle, Outcome: reject}, "after": {After: all[len(all)-90].ID, Outcome: reject},
				"client and domain": {Client: netip.PrefixFrom(all[3].Client, all[3].Client.BitLen()), Domain: all[3].Domain()},
			} {
				want := brute(all, f)
				for _, most := range []int{1, 10, 1000} {
					got, err := r.IDs(t.Context(), f, most, false)
					if w := want[:min(most, len(want))]; err != nil || !slices.Equal(got, w) {
						t.Errorf("%s, newest %d: %v, want %v: %v", name, most, got, w, err)
					}
					got, err = r.IDs(t.Context(), f, most, true)
					slices.Reverse(want)
					if w := want[:min(most, len(want))]; err != nil || !slices.Equal(got, w) {
						t.Errorf("%s, oldest %d: %v, want %v: %v", name, most, got, w, err)
					}
					slices.Reverse(want)
				}
				counts := map[string]int64{}
				for _, e := range all {
					if slices.Contains(want, e.ID) {
						counts[e.Domain()]++
					}
				}
				if got, whole, err := r.Top(t.Context(), f, false, 5); err != nil || !whole || !reflect.DeepEqual(got, MostFrequent(counts, 5)) {
					t.Errorf("%s: top %v, want %v: %v", name, got, MostFrequent(counts, 5), err)
				}
			}
			for _, e := range []Entry{all[0], all[len(all)/2], all[len(all)-1]} {
				if found, err := r.Find(t.Context(), e.Evidence.MessageID); err != nil || !slices.ContainsFunc(found, func(f Entry) bool { return f.ID == e.ID }) {
					t.Errorf("%s: %v %v", e.Evidence.MessageID, found, err)
				}
			}
		})
	}
}

// The table of version 1 is one sealed chunk. Its messages expire by age, and the chunk is dropped with the last message.
func TestOldTableExpires(t *testing.T) {
	d := newFixture(t)
	d.Path = testjournal.Version1(t)
	before := d.count(t)
	j := d.still(t)
	all := d.catalog(t)
	if len(all) != 1 || !all[0].old || !all[0].sealed {
		t.Fatalf("%+v", all)
	}
	d.Keep = 100 * year
	j.Limit(d.Limits)
	j.writeSamples(0, 10)
	d.wait(j, 2*time.Hour)
	if n := d.count(t); n != before+10 {
		t.Errorf("%d messages, want %d", n, before+10)
	}
	d.Keep = 12 * time.Hour
	j.Limit(d.Limits)
	d.wait(j, time.Hour)
	if n := d.count(t); n != 10 {
		t.Errorf("%d messages, want the 10 new ones", n)
	}
	if all := d.catalog(t); len(all) != 1 || all[0].old {
		t.Errorf("%+v", all)
	}
}

// Damage in an index of a sealed chunk does not stop the journal: new messages are kept, and the error of a query names the damage.
func TestDamagedIndex(t *testing.T) {
	d := newFixture(t)
	d.chunk = 300
	j := d.still(t)
	j.writeSamples(0, 400)
	j.work()
	j.end(time.Now())
	if err := overwrite(d.Path, (d.rootPage(t, "message_1_mid")-1)*pageSize); err != nil {
		t.Fatal(err)
	}
	d.keep(t, 400, 500)
	if d.lost.Load() > 0 || d.log.String() != "" {
		t.Errorf("%d lost: %s", d.lost.Load(), d.log)
	}
	if n := d.count(t); n != 500 {
		t.Errorf("%d messages", n)
	}
	if _, err := d.read(t).Find(t.Context(), sample(3).Evidence.MessageID); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("a search in the damaged index: %v", err)
	}
}

// No index is created while many messages wait to be written.
func TestIndexingWaitsForMail(t *testing.T) {
	d := newFixture(t)
	d.chunk = 50
	j := d.still(t)
	j.writeSamples(0, 120)
	for i := range queueMessages/4 + 1 {
		j.Add(sample(200 + i))
	}
	j.tidy()
	if c := d.catalog(t); c[0].indexes != 0 {
		t.Errorf("indexed while %d messages wait: %+v", len(j.queue), c[0])
	}
	if j.more == nil {
		t.Error("indexing is not scheduled")
	}
}

// A journal whose catalog lists a table that does not exist is damaged: it is renamed, and a new one is created.
func TestMissingTable(t *testing.T) {
	d := newFixture(t)
	d.chunk = 50
	d.keep(t, 0, 120)
	db, err := create(t.Context(), d.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.db.Exec("DROP TABLE message_2"); err != nil {
		t.Fatal(err)
	}
	db.close()
	d.keep(t, 120, 130)
	if n := d.count(t); n != 10 || !strings.Contains(d.log.String(), "the table message_2 does not exist, which its catalog lists") {
		t.Errorf("%d messages: %s", n, d.log)
	}
}
