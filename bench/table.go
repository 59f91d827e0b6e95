package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is the result of a server in a cell.
type row struct {
	name   string
	figure // the median of the rounds
	rounds []figure
}

// newRow returns the row of a server that was measured in several rounds.
func newRow(name string, rounds []figure) row { return row{name, median(rounds), rounds} }

// median returns the median of each number separately; the peak is the highest.
func median(all []figure) figure {
	var f figure
	f.cpu = middle(all, func(f figure) time.Duration { return f.cpu })
	f.p50 = middle(all, func(f figure) time.Duration { return f.p50 })
	f.p99 = middle(all, func(f figure) time.Duration { return f.p99 })
	// The median throughput is the throughput of a single round.
	sorted := slices.SortedFunc(slices.Values(all), func(a, b figure) int { return cmp.Compare(a.perSecond(), b.perSecond()) })
	f.messages, f.elapsed = sorted[len(sorted)/2].messages, sorted[len(sorted)/2].elapsed
	for _, one := range all {
		f.peak = max(f.peak, one.peak)
	}
	return f
}

func middle[T cmp.Ordered](all []figure, of func(figure) T) T {
	var values []T
	for _, f := range all {
		values = append(values, of(f))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// nameWidth is the width of a server's name on the terminal.
const nameWidth = 24

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// table returns a cell as a table. A ratio is the CPU time of the first server divided by that of the row in the same round.
func table(c cell, rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n%-*s %10s %10s %10s %10s %9s  %s\n", c, nameWidth, "", "messages/s", "CPU ms", "p50 ms", "p99 ms", "peak MiB", "ratio")
	for _, r := range rows {
		ratio := paired(rows[0].rounds, r.rounds, cpuRatio).text(twoDecimals)
		if r.name == bareName {
			fmt.Fprintf(&b, "%-*s %10s %10.3f %31s  %s\n", nameWidth, r.name, "", milliseconds(r.cpu), "", ratio)
			continue
		}
		fmt.Fprintf(&b, "%-*s %10.1f %10.3f %10.2f %10.2f %9.1f  %s\n", nameWidth, r.name, r.perSecond(), milliseconds(r.cpu), milliseconds(r.p50), milliseconds(r.p99),
			float64(r.peak)/(1<<20), ratio)
	}
	return b.String()
}
