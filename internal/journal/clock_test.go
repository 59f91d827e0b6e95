package journal

import (
	"slices"
	"strings"
	"testing"
	"time"
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
