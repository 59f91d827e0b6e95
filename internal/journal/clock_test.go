package journal

import (
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/testjournal"
)

// still returns a journal without a running goroutine. It performs only the operations that the test calls.
func (d *fixture) still(t *testing.T) *Journal {
	t.Helper()
	j := newJournal(d.Options)
	if d.chunk > 0 {
		j.chunk = d.chunk
	}
	close(j.stop)
	j.Limit(d.Limits)
	j.open()
	t.Cleanup(func() { j.end(time.Now()) })
	return j
}

// wait advances the clock in steps and calls tidy at each step until nothing is left to delete.
func (d *fixture) wait(j *Journal, long time.Duration) {
	for end := d.ahead.Load() + int64(long); d.ahead.Load() < end; {
		d.ahead.Add(int64(30 * time.Minute))
		for j.tidy(); j.more != nil; {
			j.tidy()
		}
	}
}

// writeSamples writes the samples with the numbers first to last-1.
func (j *Journal) writeSamples(first, last int) {
	for i := first; i < last; i++ {
		j.Add(sample(i))
	}
	for len(j.queue) > 0 {
		j.writeNext(<-j.queue)
	}
}

// order checks that the journal has exactly the samples 0 to n-1, in this order, and that the counts by hour add up to n.
func (d *fixture) order(t *testing.T, n int) {
	t.Helper()
	r := d.read(t)
	var got, want []string
	for i := range n {
		want = append(want, sample(i).Evidence.MessageID)
	}
	whole := true
	err := r.Each(t.Context(), Filter{}, func(e *Entry) bool {
		got = append(got, e.Evidence.MessageID)
		whole = whole && !strings.Contains(e.Evidence.SPF.Record, "no longer known")
		return true
	})
	if err != nil || !slices.Equal(got, want) || !whole {
		t.Errorf("%d messages, want %d in order, with their records (%v): %v", len(got), len(want), whole, err)
	}
	var counted int64
	hours, err := r.Hours(t.Context(), time.Time{})
	for _, h := range hours {
		counted += h.N
	}
	if err != nil || int(counted) != n {
		t.Errorf("the hours have %d messages, want %d: %v", counted, n, err)
	}
}

const year = 365 * 24 * time.Hour

// One day after the clock was corrected, messages from the time when it was years ahead are found by their correct time. So are later
// messages.
func TestClockWasAhead(t *testing.T) {
	d := newFixture(t)
	j := d.still(t)
	j.writeSamples(0, 10)
	d.ahead.Add(int64(10 * year))
	j.writeSamples(10, 300)
	d.ahead.Add(-int64(10 * year))
	d.wait(j, 2*time.Hour)
	j.writeSamples(300, 600)
	d.wait(j, 24*time.Hour)
	j.writeSamples(600, 610)
	d.order(t, 610)
	r := d.read(t)
	for since, want := range map[time.Duration]int{time.Hour: 10, 24*time.Hour + 30*time.Minute: 310, 48 * time.Hour: 610} {
		ids, err := r.IDs(t.Context(), Filter{Since: d.Now().Add(-since)}, 10_000, false)
		if err != nil || len(ids) != want {
			t.Errorf("%d in the last %v, want %d: %v", len(ids), since, want, err)
		}
	}
	if hours, err := r.Hours(t.Context(), d.Now().Add(time.Hour)); err != nil || len(hours) != 0 {
		t.Errorf("%v %v", hours, err)
	}
	d.wait(j, d.Keep)
	if n := d.count(t); n != 0 {
		t.Errorf("%d messages are older than journal.keep", n)
	}
}

// After the clock jumps years ahead, the journal pauses age-based deletion for an hour, so that the clock can be corrected.
func TestClockLeaps(t *testing.T) {
	d := newFixture(t)
	j := d.still(t)
	j.writeSamples(0, 300)
	d.wait(j, 2*time.Hour)
	d.ahead.Add(int64(10 * year))
	d.wait(j, time.Hour)
	d.ahead.Add(-int64(10 * year))
	d.wait(j, 48*time.Hour)
	d.order(t, 300)
	if !strings.Contains(d.log.String(), "the clock jumped, or the machine was suspended; the journal pauses age-based deletion for an hour") {
		t.Errorf("the log: %s", d.log)
	}
	d.ahead.Add(int64(10 * year)) // this time the clock is not corrected
	d.wait(j, 2*time.Hour)
	if n := d.count(t); n != 0 {
		t.Errorf("%d messages are ten years old", n)
	}
}

// If the clock starts years in the past and stays wrong for days, the journal deletes and renumbers no message. After the clock is
// corrected, the journal still has all messages, in order.
func TestClockStartsYearsAgo(t *testing.T) {
	d := newFixture(t)
	d.keep(t, 0, 300)
	d.ahead.Add(-int64(10 * year))
	j := d.still(t)
	j.writeSamples(300, 310)
	d.wait(j, 72*time.Hour)
	j.writeSamples(310, 320)
	d.ahead.Store(0)
	j.writeSamples(320, 330)
	d.wait(j, 4*time.Hour)
	d.order(t, 330)
}

// While messages are renumbered, new ones arrive. Each message keeps its place, and the number of chunks does not grow.
func TestRenumberedBesideMail(t *testing.T) {
	d := newFixture(t)
	d.chunk = 500
	j := d.still(t)
	j.writeSamples(0, 10)
	d.ahead.Add(int64(10 * year))
	j.writeSamples(10, 3000)
	d.ahead.Add(-int64(10 * year))
	d.wait(j, 23*time.Hour)
	n := 3000
	for range 90 { // until the clock has been stable for a day, and then for half an hour
		d.ahead.Add(int64(90 * time.Second))
		j.tidy()
		j.writeSamples(n, n+5)
		n += 5
	}
	d.order(t, n)
	if chunks := d.catalog(t); len(chunks) > 10 || len(j.db.ahead) > 0 {
		t.Errorf("%d chunks, %d of them still have to be renumbered", len(chunks), len(j.db.ahead))
	}
	if _, newest, err := d.read(t).Covers(t.Context()); err != nil || newest.After(d.Now()) {
		t.Errorf("the newest message is of %v, now is %v: %v", newest, d.Now(), err)
	}
}

// A restart in the middle of renumbering continues it.
func TestRenumberedAcrossRestart(t *testing.T) {
	d := newFixture(t)
	d.chunk = 100
	j := d.still(t)
	j.writeSamples(0, 10)
	d.ahead.Add(int64(10 * year))
	j.writeSamples(10, 500)
	d.ahead.Add(-int64(10 * year))
	d.wait(j, 2*time.Hour)
	for range 2 {
		if err := j.db.renumber(t.Context(), d.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if len(j.db.ahead) == 0 {
		t.Fatal("nothing is left to renumber")
	}
	j.writeSamples(500, 510)
	copied := d.copyTo(t)
	copied.ahead.Store(d.ahead.Load())
	next := copied.still(t)
	next.writeSamples(510, 520)
	copied.wait(next, 25*time.Hour)
	next.writeSamples(520, 530)
	copied.order(t, 530)
	if len(next.db.ahead) > 0 {
		t.Errorf("%d chunks still have to be renumbered", len(next.db.ahead))
	}
}

// If all messages of the past have expired when a message is renumbered, it gets a number of the last day.
func TestRenumberedWithoutPast(t *testing.T) {
	d := newFixture(t)
	d.chunk = 100
	j := d.still(t)
	j.writeSamples(0, 10)
	d.ahead.Add(int64(10 * year))
	j.writeSamples(10, 250)
	d.ahead.Add(-int64(10 * year))
	d.wait(j, 2*time.Hour)
	if err := j.db.markAhead(t.Context(), d.Now().UnixMicro(), d.Now().Add(maxClockStep).UnixMicro()); err != nil {
		t.Fatal(err)
	}
	if deleted, err := j.db.deleteOldest(t.Context(), d.Now().UnixMicro()); err != nil || !deleted {
		t.Fatal(deleted, err)
	}
	for len(j.db.ahead) > 0 {
		if err := j.db.renumber(t.Context(), d.Now()); err != nil {
			t.Fatal(err)
		}
	}
	oldest, newest, err := d.read(t).Covers(t.Context())
	if n := d.count(t); n != 240 || err != nil || d.Now().Sub(oldest) > 25*time.Hour || newest.After(d.Now()) {
		t.Errorf("%d messages from %v to %v: %v", n, oldest, newest, err)
	}
}

// A chunk may have messages of the past and of the future if the clock was ahead by about a day. It stays as it is, and later messages
// follow it until the time catches up.
func TestChunkSpansNow(t *testing.T) {
	d := newFixture(t)
	begin := d.Now().UTC().Truncate(24 * time.Hour).Add(34 * time.Hour) // 10:00
	d.ahead.Add(int64(begin.Sub(d.Now())))
	j := d.still(t)
	j.writeSamples(0, 10)
	d.ahead.Add(int64(30 * time.Hour))
	j.writeSamples(10, 20)
	d.wait(j, 6*time.Hour)
	j.writeSamples(20, 1520)
	d.ahead.Add(-int64(30 * time.Hour))
	d.wait(j, 25*time.Hour)
	j.writeSamples(1520, 1600)
	d.order(t, 1600)
	d.wait(j, 25*time.Hour)
	j.writeSamples(1600, 1610)
	d.order(t, 1610)
	if _, newest, err := d.read(t).Covers(t.Context()); err != nil || newest.After(d.Now()) {
		t.Errorf("the newest message is of %v, now is %v: %v", newest, d.Now(), err)
	}
}

// A clock that is years slow for days seals no chunk but those of its own days.
func TestSlowClockSealsNothing(t *testing.T) {
	d := newFixture(t)
	d.keep(t, 0, 300)
	d.ahead.Add(-int64(10 * year))
	j := d.still(t)
	d.wait(j, 25*time.Hour)
	before := len(d.catalog(t))
	for n := range 60 {
		j.writeSamples(300+n, 301+n)
		d.ahead.Add(int64(time.Minute))
		j.tidy()
	}
	if after := len(d.catalog(t)); after > before+1 {
		t.Errorf("%d chunks, %d before", after, before)
	}
	d.order(t, 360)
}

// Messages of version 1 with times in the future are renumbered in their own table.
func TestOldTableWasAhead(t *testing.T) {
	d := newFixture(t)
	d.Path = testjournal.Version1(t)
	d.Keep = 100 * year
	before := d.count(t)
	j := d.still(t)
	const more = 2*renumberChunk + 500
	base := d.Now().Add(3 * 24 * time.Hour).UnixMicro()
	for i := range int64(more) {
		if _, err := j.db.db.Exec("INSERT INTO message SELECT ?, queue, mid, domain, client, outcome, entry FROM message ORDER BY id LIMIT 1", base+i); err != nil {
			t.Fatal(err)
		}
	}
	for text, args := range map[string][]any{"INSERT INTO hour VALUES (?, 1, ?)": {base / hourMicros, more}, "UPDATE chunk SET last = ?": {base + more - 1}} {
		if _, err := j.db.db.Exec(text, args...); err != nil {
			t.Fatal(err)
		}
	}
	j.db.close()
	j.db = nil
	j.open()
	j.writeSamples(0, 10)
	d.wait(j, 25*time.Hour)
	j.writeSamples(10, 20)
	if n := d.count(t); n != before+more+20 {
		t.Errorf("%d messages, want %d", n, before+more+20)
	}
	if _, newest, err := d.read(t).Covers(t.Context()); err != nil || newest.After(d.Now()) {
		t.Errorf("the newest message is of %v, now is %v: %v", newest, d.Now(), err)
	}
	if found, err := d.read(t).Find(t.Context(), sample(15).Evidence.MessageID); err != nil || len(found) != 1 {
		t.Errorf("a later message: %v %v", found, err)
	}
}

// An index that cannot be created does not stop the journal: no message is lost.
func TestIndexFails(t *testing.T) {
	d := newFixture(t)
	d.chunk = 100
	j := d.still(t)
	j.writeSamples(0, 150)
	if _, err := j.db.db.Exec("CREATE TABLE message_1_queue (x)"); err != nil { // the name of the index is taken
		t.Fatal(err)
	}
	for n := 150; n < 450; n += 10 {
		d.ahead.Add(int64(time.Second))
		j.tidy()
		j.writeSamples(n, n+10)
	}
	if n := d.count(t); n != 450 || d.lost.Load() > 0 {
		t.Errorf("%d messages, %d lost\n%s", n, d.lost.Load(), d.log)
	}
	if n := strings.Count(d.log.String(), "an index of the journal cannot be created"); n != 1 {
		t.Errorf("%d log lines\n%s", n, d.log)
	}
}
