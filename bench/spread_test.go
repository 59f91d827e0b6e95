package main

import (
	"math"
	"testing"
	"time"
)

// times returns rounds with these processor times, in milliseconds.
func times(ms ...int) (rounds []figure) {
	for _, n := range ms {
		rounds = append(rounds, figure{cpu: time.Duration(n) * time.Millisecond})
	}
	return rounds
}

// Each value compares two figures of the same round. Rounds that only one server has do not count.
func TestPaired(t *testing.T) {
	for _, c := range []struct {
		a, b []figure
		want spread
		text string
	}{
		{times(1, 6, 2), times(10, 20, 10), spread{0.2, 0.1, 0.3}, "0.20 (0.10 to 0.30)"},
		{times(1, 4, 3, 2), times(10, 10, 10, 10), spread{0.25, 0.1, 0.4}, "0.25 (0.10 to 0.40)"},
		{times(1, 9), times(2), single(0.5), "0.50"},
		{times(3, 3), times(4, 4), single(0.75), "0.75"},
	} {
		got := paired(c.a, c.b, cpuRatio)
		if math.Abs(got.mid-c.want.mid)+math.Abs(got.low-c.want.low)+math.Abs(got.high-c.want.high) > 1e-9 || got.text(twoDecimals) != c.text {
			t.Errorf("%v, %q; want %v, %q", got, got.text(twoDecimals), c.want, c.text)
		}
	}
	if got := paired(times(1), nil, cpuRatio); !math.IsNaN(got.mid) {
		t.Errorf("%v of no common round", got)
	}
}

// The comparisons have the units of the targets.
func TestComparisons(t *testing.T) {
	a := figure{messages: 30, elapsed: time.Second, cpu: 1500 * time.Microsecond, peak: 9 << 20}
	b := figure{messages: 40, elapsed: time.Second, cpu: 1250 * time.Microsecond, peak: 4 << 20}
	if cpuRatio(a, b) != 1.2 || throughputRatio(a, b) != 0.75 || cpuDifference(a, b) != 0.25 || peakDifference(a, b) != 5 {
		t.Error(cpuRatio(a, b), throughputRatio(a, b), cpuDifference(a, b), peakDifference(a, b))
	}
}

// A result close to its limit is not rounded to it.
func TestDigits(t *testing.T) {
	for x, want := range map[float64]string{0.1434: "0.143", -0.0068: "-0.007", 1.104: "1.104", 6.04: "6.04", 44.72: "44.7"} {
		if got := digits(x); got != want {
			t.Errorf("%v: %s, want %s", x, got, want)
		}
	}
}
