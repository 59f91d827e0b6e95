package judge

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// shown is the number of problems of each kind that a table describes.
const shown = 10

// WriteTable writes what was judged, and returns the number of problems.
func (j *Judge) WriteTable(w io.Writer) (problems int, err error) {
	found := j.Problems()
	var b strings.Builder
	line := func(name string, n int) { fmt.Fprintf(&b, "%-36s %9d\n", name, n) }
	classes := map[Class]int{}
	attempts, copies, retried, late := 0, 0, 0, 0
	for _, m := range j.messages {
		classes[m.Class]++
		attempts += len(m.Attempts)
		copies += len(j.copies[m.ID])
		for _, c := range j.copies[m.ID] {
			if c.At.Sub(m.Attempts[0].From) > MaxDelay {
				late++
			}
		}
		if len(m.Attempts) > 1 {
			retried++
		}
	}
	line("messages", len(j.messages))
	for _, c := range slices.Sorted(maps.Keys(classes)) {
		line("  "+string(c), classes[c])
	}
	line("attempts", attempts)
	line("messages with several attempts", retried)
	line("copies", copies)
	line("signatures verified with dkimpy", j.verified)
	line("arrived after more than ten minutes", late)
	line("reports", len(j.reports))
	line("faults", len(j.faults))
	count := map[Kind]int{}
	for _, p := range found {
		count[p.Kind]++
	}
	b.WriteString("\n")
	for _, k := range kinds() {
		line(string(k), count[k])
	}
	j.writeSizes(&b)
	before := map[Kind]int{}
	for _, p := range found {
		if before[p.Kind]++; before[p.Kind] <= shown {
			fmt.Fprintf(&b, "%s: %s: %s\n", p.Kind, p.ID, p.Text)
		}
	}
	_, err = io.WriteString(w, b.String())
	return len(found), err
}

// writeSizes writes memory and descriptors of each process in eight parts of its time.
func (j *Judge) writeSizes(b *strings.Builder) {
	all := j.byProcess()
	if len(all) == 0 {
		return
	}
	b.WriteString("\nmemory in MiB and open descriptors, over the time of each process:\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(b, "%-28s", name)
		samples := all[name]
		parts := min(8, len(samples))
		for i := range parts {
			s := samples[(i+1)*len(samples)/parts-1]
			fmt.Fprintf(b, " %4d/%-4d", s.Memory>>20, s.Descriptors)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}
