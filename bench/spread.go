package main

import (
	"fmt"
	"math"
	"slices"
)

// spread is a number with its variation: the median of the rounds, the lowest and the highest. All are NaN if nothing was measured.
type spread struct {
	mid, low, high float64
}

// single returns a number without variation.
func single(x float64) spread { return spread{x, x, x} }

// paired compares two servers round by round, so that both values of a comparison were measured within seconds of each other.
func paired(a, b []figure, compare func(a, b figure) float64) spread {
	rounds := min(len(a), len(b))
	if rounds == 0 {
		return single(math.NaN())
	}
	values := make([]float64, rounds)
	for i := range values {
		values[i] = compare(a[i], b[i])
	}
	slices.Sort(values)
	return spread{(values[(rounds-1)/2] + values[rounds/2]) / 2, values[0], values[rounds-1]}
}

// The comparisons of two servers in a round.
func cpuRatio(a, b figure) float64        { return float64(a.cpu) / float64(b.cpu) }
func throughputRatio(a, b figure) float64 { return a.perSecond() / b.perSecond() }
func cpuDifference(a, b figure) float64   { return milliseconds(a.cpu - b.cpu) }
func peakDifference(a, b figure) float64  { return float64(a.peak-b.peak) / (1 << 20) }

// text formats the numbers with a function: "0.21 (0.19 to 0.24)", or only the median if the rounds do not differ.
func (s spread) text(format func(float64) string) string {
	mid, low, high := format(s.mid), format(s.low), format(s.high)
	if low == high {
		return mid
	}
	return fmt.Sprintf("%s (%s to %s)", mid, low, high)
}

// twoDecimals is the format of a ratio in a table.
func twoDecimals(x float64) string { return fmt.Sprintf("%.2f", x) }

// digits is the format of a target's result. It has three decimals below 2, so that a result close to its limit is not rounded to it.
func digits(x float64) string {
	switch {
	case math.Abs(x) < 2:
		return fmt.Sprintf("%.3f", x)
	case math.Abs(x) < 10:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.1f", x)
}
