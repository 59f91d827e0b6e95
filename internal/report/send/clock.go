package send

import (
	"time"

	"golang.org/x/sys/unix"
)

// A wrong clock must not end a day early: the reports about it would lack the rest of its messages, and a report that was sent cannot be
// sent again. Nor must it give up reports, or forget which ones were sent.

const (
	// maxStep is the largest change of the clock that does not matter: the reports of a day are computed firstMinute after its end.
	maxStep = firstMinute * time.Minute / 2
	// maxDown is the longest time between two runs with a boot in between. After a longer one, the clock may have been set.
	maxDown = time.Hour
	// minStable is how long the clock must run without being set. If it was a day ahead, that day is over by then. It is less than a day,
	// so that a run at the same time of each day is sufficient.
	minStable = 23 * time.Hour
)

// Clock has the readings of the clocks in the last run. From it, a run detects that the clock was set.
type Clock struct {
	Time   time.Time     `json:"time"`
	Up     time.Duration `json:"up"`     // since the boot, in nanoseconds
	Stable time.Duration `json:"stable"` // how long the clock has run without being set, in nanoseconds
}

// Next returns the state after another reading. The clock counts as correct in the first run.
func (c Clock) Next(now time.Time, up time.Duration) Clock {
	next := Clock{Time: now.Round(0), Up: up}
	passed := next.Time.Sub(c.Time)
	switch {
	case c.Time.IsZero():
		next.Stable = minStable
	case up >= c.Up && (passed-(up-c.Up)).Abs() <= maxStep:
		next.Stable = min(minStable, c.Stable+up-c.Up)
	case up < c.Up && passed >= 0 && passed <= maxDown:
		next.Stable = min(minStable, c.Stable+passed)
	}
	return next
}

// Wait returns the time for which the clock must not be relied on.
func (c Clock) Wait() time.Duration { return minStable - c.Stable }

// Uptime returns the time since the boot, including the time for which the machine was suspended.
func Uptime() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(bootClock, &t)
	return time.Duration(t.Nano()), err
}
