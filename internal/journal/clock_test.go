package journal

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// still is a journal that does only what the test has it do.
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

// wait lets time go on, and the journal tidy up meanwhile. It ends when nothing is left to do.
func (d *fixture) wait(j *Journal, long time.Duration) {
	for end := d.ahead.Load() + int64(long); d.ahead.Load() < end; {
		d.ahead.Add(int64(30 * time.Minute))
		for j.tidy(); j.more != nil; {
			j.tidy()
		}
	}
}

// write has the messages from first to before last written.
func (j *Journal) writeSamples(first, last int) {
	for i := first; i < last; i++ {
		j.Add(sample(i))
	}
	for len(j.queue) > 0 {
		j.writeNext(<-j.queue)
	}
}

// order wants just the messages up to before n, oldest first, and as many in the hours.
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
		t.Errorf("%d messages, want %d in their order, with their records (%v): %v", len(got), len(want), whole, err)
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

// What came while the clock was years ahead, and what came after it, is found by its time again a day after the clock was put right.
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
		t.Errorf("%d are kept beyond journal.keep", n)
	}
}

// A clock that leaps years ahead has an hour to be put right before messages are deleted for their age. What comes meanwhile is kept.
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
	d.ahead.Add(int64(10 * year)) // and stays there
	d.wait(j, 2*time.Hour)
	if n := d.count(t); n != 0 {
		t.Errorf("%d are kept for ten years", n)
	}
}

// A machine whose clock starts years ago deletes nothing and numbers nothing anew, though it runs so for days; when its clock is
// right all is there, in its order.
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
