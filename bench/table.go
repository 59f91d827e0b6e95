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
	name string
	figure
}

// median returns the median of each number separately, and the maximum for the peak.
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

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// table returns a cell as a table. The ratio is the CPU time of the first server divided by that of the row.
func table(c cell, rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n%-20s %10s %10s %10s %10s %9s %6s\n", c, "", "messages/s", "CPU ms", "p50 ms", "p99 ms", "peak MiB", "ratio")
	for _, r := range rows {
		if r.name == bareName {
			fmt.Fprintf(&b, "%-20s %10s %10.3f %39s %6.2f\n", r.name, "", milliseconds(r.cpu), "", float64(rows[0].cpu)/float64(r.cpu))
			continue
		}
		fmt.Fprintf(&b, "%-20s %10.1f %10.3f %10.2f %10.2f %9.1f %6.2f\n", r.name, r.perSecond(), milliseconds(r.cpu), milliseconds(r.p50), milliseconds(r.p99),
			float64(r.peak)/(1<<20), float64(rows[0].cpu)/float64(r.cpu))
	}
	return b.String()
}
