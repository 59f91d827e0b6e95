package keys

import (
	"testing"
	"time"
)

// Wrong counts a key whose record is missing, even before another key signs instead. Unanswered DNS queries do not change the
// count, and a correct record ends it.
func TestGuardWrong(t *testing.T) {
	g := newGuarded(t)
	l := create(t, g.store, "example.org", "rsa")
	activate(t, g.store, l)
	g.start()
	if n := g.guard.Wrong()["example.org"]; n != 0 {
		t.Errorf("%d wrong keys before the first check", n)
	}
	for i, step := range []struct {
		zone string
		want int
	}{
		{guardedText(l), 0},
		{guardedZone, 1},
		{guardedZone + ";fault " + RecordName("example.org", l.Selector) + " SERVFAIL\n", 1},
		{guardedText(l), 0},
	} {
		if err := g.server.SetZone(step.zone); err != nil {
			t.Fatal(err)
		}
		g.guard.Check(t.Context())
		if n := g.guard.Wrong()["example.org"]; n != step.want {
			t.Errorf("step %d: %d wrong, want %d\n%s", i, n, step.want, g.log.String())
		}
		g.clock = g.clock.Add(2 * time.Hour)
	}
}

// A step that is due now has been due since the key entered its state. A step with a date has been due since that date.
func TestStepSince(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	before := now.Add(-72 * time.Hour)
	for _, c := range []struct {
		step Step
		want time.Time
	}{
		{Step{Do: DoCheck, Key: &Key{Since: before}, Due: now}, before},
		{Step{Do: DoRevoke, Key: &Key{Since: before}, Due: now.Add(time.Hour)}, now.Add(time.Hour)},
		{Step{Do: DoCreate, Due: now}, now},
	} {
		if got := c.step.Since(now); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", c.step.Do, got, c.want)
		}
	}
}
