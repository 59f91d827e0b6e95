package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Row is what the rows of a report have in common with a message. It is comparable.
type Row struct {
	Domain, Source, Disposition, DKIM, SPF string
}

// Report is a DMARC report as it was received.
type Report struct {
	ID     string
	Domain string
	Sum    [32]byte // SHA-256 of the message, without the fields that relays add
	Begin  time.Time
	End    time.Time
	Rows   map[Row]int64
}

// Reported adds a report that was received.
func (j *Judge) Reported(r Report) { j.reports = append(j.reports, r) }

// judgeReports compares the counts of all reports, which the hosts send together, with the messages. A message whose reply was lost may be counted
// or not, and a message during a fault with the effect Unwritten may be missing. Each of several attempts may be counted.
func (j *Judge) judgeReports() (found []Problem) {
	sums := map[string]Report{}
	all := map[Row]int64{}
	for _, r := range j.reports {
		if first, ok := sums[r.ID]; ok {
			if first.Sum != r.Sum {
				found = append(found, Problem{ReportChanged, r.ID, "two messages with this ID differ"})
			}
			continue
		}
		sums[r.ID] = r
		for row, n := range r.Rows {
			all[row] += n
		}
	}
	if len(j.reports) == 0 {
		return found
	}
	c := j.counts()
	for row := range c.least {
		all[row] += 0
	}
	for row, n := range all {
		if over := n - c.most[row]; over > 0 && over <= c.hidden[row.sender()] {
			c.hidden[row.sender()] -= over
			continue
		}
		if n < c.least[row] || n > c.most[row] {
			found = append(found, Problem{ReportWrong, row.Domain, fmt.Sprintf("%s: %d messages, want %d to %d", row, n, c.least[row], c.most[row])})
		}
	}
	return found
}

// judgeRead compares what the hosts read from reports about their domains with what was sent. A report whose reply was lost may be read or not.
func (j *Judge) judgeRead() (found []Problem) {
	if j.read == nil {
		return nil
	}
	sure, possible := map[Received]bool{}, map[Received]bool{}
	for _, m := range j.messages {
		for _, a := range m.Attempts {
			if m.Want.Received == (Received{}) || a.Code != 0 && a.Code/100 != 2 {
				continue
			}
			possible[m.Want.Received] = true
			if a.Code != 0 && !j.during(Unkept|TempError, a.From, a.To, m.Host) {
				sure[m.Want.Received] = true
			}
		}
	}
	least, most := map[string]int64{}, map[string]int64{}
	for r := range possible {
		most[r.Domain] += r.Messages
		if sure[r] {
			least[r.Domain] += r.Messages
		}
	}
	for domain, n := range j.read {
		if n < least[domain] || n > most[domain] {
			found = append(found, Problem{ReportWrong, domain, fmt.Sprintf("%d messages in the reports that were read, want %d to %d", n, least[domain], most[domain])})
		}
	}
	return found
}

// counts are the least and greatest numbers of messages of each row. A fault with the effect TempError may hide a result, so that a
// message is in another row of the same sender: hidden is the number of such messages.
type counts struct {
	least, most map[Row]int64
	hidden      map[Row]int64 // by Row.sender
}

// sender returns the row with the domain and the source only.
func (r Row) sender() Row { return Row{Domain: r.Domain, Source: r.Source} }

func (j *Judge) counts() counts {
	c := counts{map[Row]int64{}, map[Row]int64{}, map[Row]int64{}}
	for _, m := range j.messages {
		if m.Want.Row == (Row{}) {
			continue
		}
		for _, a := range m.Attempts {
			if a.Code/100 == 4 {
				continue // a temporary failure has no row (RFC 9990)
			}
			c.most[m.Want.Row]++
			if a.Code != 0 && !j.during(Unwritten|TempError, a.From, a.To, m.Host) {
				c.least[m.Want.Row]++
			}
			if j.during(TempError, a.From, a.To, m.Host) {
				c.hidden[m.Want.Row.sender()]++
			}
		}
	}
	return c
}

// String returns the row as one line.
func (r Row) String() string {
	return strings.Join([]string{r.Domain, r.Source, r.Disposition, "dkim=" + r.DKIM, "spf=" + r.SPF}, " ")
}

// Sample is the size of a process at one moment.
type Sample struct {
	At          time.Time
	Process     string // with its host
	Memory      int64  // resident, in bytes
	Descriptors int
}

// Sampled adds a sample.
func (j *Judge) Sampled(s Sample) { j.samples = append(j.samples, s) }

// The growth that is not a problem: half of the first value, and a constant for small processes.
const (
	growthMemory      = 32 << 20
	growthDescriptors = 64
)

// growth compares the median of the last quarter of the samples of each process with that of its second quarter. The first quarter is the
// time in which caches fill.
func (j *Judge) growth() (found []Problem) {
	for name, all := range j.byProcess() {
		if len(all) < 8 {
			continue
		}
		n := len(all)
		early, late := all[n/4:n/2], all[n*3/4:]
		memory := func(s Sample) int64 { return s.Memory }
		files := func(s Sample) int64 { return int64(s.Descriptors) }
		if a, b := median(early, memory), median(late, memory); b > a+a/2+growthMemory {
			found = append(found, Problem{Growth, name, fmt.Sprintf("memory grew from %d to %d MiB", a>>20, b>>20)})
		}
		if a, b := median(early, files), median(late, files); b > a+a/2+growthDescriptors {
			found = append(found, Problem{Growth, name, fmt.Sprintf("descriptors grew from %d to %d", a, b)})
		}
	}
	return found
}

func (j *Judge) byProcess() map[string][]Sample {
	all := map[string][]Sample{}
	for _, s := range j.samples {
		all[s.Process] = append(all[s.Process], s)
	}
	for _, samples := range all {
		slices.SortFunc(samples, func(a, b Sample) int { return a.At.Compare(b.At) })
	}
	return all
}

func median(samples []Sample, value func(Sample) int64) int64 {
	var values []int64
	for _, s := range samples {
		values = append(values, value(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
