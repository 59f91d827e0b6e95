package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// target is one goal and its result.
type target struct {
	what    string
	want    string
	got     spread // NaN: not measured
	limit   float64
	atLeast bool
	unit    string
}

const notMeasured = "not measured"

func (t target) met() string {
	switch {
	case math.IsNaN(t.got.mid):
		return notMeasured
	case t.atLeast == (t.got.mid >= t.limit) || t.got.mid == t.limit:
		return "met"
	}
	return "**not met**"
}

func (t target) result() string {
	if math.IsNaN(t.got.mid) {
		return ""
	}
	return t.got.text(digits) + t.unit
}

// usual returns the cell that most targets use. Eight sessions are typical of a busy server, and most connections carry one small message.
func usual(role string, size int) cell {
	c := cell{role: role, size: size, sessions: 8, perSession: 10}
	if size == 4<<10 {
		c.perSession = 1
	}
	return c
}

// judged reports whether a cell is one of the usual ones.
func judged(c cell) bool { return c == usual(c.role, c.size) }

// crowded returns the cell with the most sessions, to measure the memory.
func crowded() cell { return cell{role: verifying, size: 4 << 10, sessions: 64, perSession: 1} }

// ofJournal reports whether the price of the journal is measured in a cell.
func ofJournal(c cell) bool { return c == usual(verifying, 4<<10) || c == crowded() }

// alone returns a cell with one session, to measure the time of a message.
func alone(delay time.Duration, cold bool) cell {
	return cell{role: verifying, size: 4 << 10, sessions: 1, perSession: 10, delay: delay, cold: cold}
}

// row returns the result of a server in a cell, and an empty row if it was not measured.
func (r *report) row(c cell, name string) row {
	for _, m := range r.cells {
		if m.cell != c {
			continue
		}
		if i := slices.IndexFunc(m.rows, func(r row) bool { return r.name == name }); i >= 0 {
			return m.rows[i]
		}
	}
	return row{}
}

// compared compares Signpost with another server in the rounds of a cell.
func (r *report) compared(c cell, name string, compare func(a, b figure) float64) spread {
	return paired(r.row(c, ours).rounds, r.row(c, name).rounds, compare)
}

// p50 returns Signpost's median latency in a cell, in milliseconds.
func (r *report) p50(c cell) float64 {
	row := r.row(c, ours)
	if row.rounds == nil {
		return math.NaN()
	}
	return milliseconds(row.p50)
}

// best returns Signpost's processor time divided by that of the best other server.
func (r *report) best(c cell) spread {
	best := single(math.NaN())
	for _, m := range r.cells {
		for _, row := range m.rows {
			if m.cell == c && row.isOther() {
				// The best one has the highest ratio.
				if q := r.compared(c, row.name, cpuRatio); !(q.mid <= best.mid) {
					best = q
				}
			}
		}
	}
	return best
}

// isOther reports whether a row has another server, and not a build of Signpost or the bare cryptography.
func (r row) isOther() bool {
	return !slices.Contains([]string{ours, noJournalName, baselineName, bareName}, r.name)
}

// targets returns the goals with their results.
func (r *report) targets() []target {
	small := 4 << 10
	verify, sign := usual(verifying, small), usual(signing, small)
	coldWait := r.p50(alone(slowDNS, true)) - r.p50(alone(0, true))
	warmWait := r.p50(alone(slowDNS, false)) - r.p50(alone(0, false))
	list := []target{
		{what: "verify 4 KiB, 8 sessions: processor time divided by that of rspamd", want: "at most 1/7", got: r.compared(verify, rspamdName, cpuRatio), limit: 1. / 7},
		{what: "verify 4 KiB, 8 sessions: processor time divided by that of rspamd with its own rules", want: "at most 1/7", got: r.compared(verify, rulesName, cpuRatio), limit: 1. / 7},
		{what: "verify 4 KiB, 8 sessions: processor time divided by that of OpenDKIM + OpenDMARC", want: "at most 1/12", got: r.compared(verify, "opendkim+opendmarc", cpuRatio), limit: 1. / 12},
		{what: "verify 4 KiB, 8 sessions: processor time divided by that without the journal", want: "at most 1.1", got: r.compared(verify, noJournalName, cpuRatio), limit: 1.1},
		{what: "verify 4 KiB, 64 sessions: processor time divided by that without the journal", want: "at most 1.1", got: r.compared(crowded(), noJournalName, cpuRatio), limit: 1.1},
		{what: "verify 4 KiB, 8 sessions: additional peak memory with the journal", want: "at most 6 MiB", got: r.compared(verify, noJournalName, peakDifference), limit: 6, unit: " MiB"},
		{what: "verify 4 KiB, 64 sessions: additional peak memory with the journal", want: "at most 6 MiB", got: r.compared(crowded(), noJournalName, peakDifference), limit: 6, unit: " MiB"},
		{what: "sign 4 KiB, 8 sessions: processor time divided by that of OpenDKIM", want: "at most 0.55", got: r.compared(sign, "opendkim", cpuRatio), limit: 0.55},
		{what: "sign 4 KiB, 8 sessions: processor time in addition to rsa.SignPKCS1v15 alone", want: "at most 0.15 ms", got: r.compared(sign, bareName, cpuDifference), limit: 0.15, unit: " ms"},
		{what: "sign 10 MiB, 8 sessions: processor time divided by that of the best other server", want: "at most 0.3", got: r.best(usual(signing, 10<<20)), limit: 0.3},
		{what: "verify 10 MiB, 8 sessions: processor time divided by that of the best other server", want: "at most 0.3", got: r.best(usual(verifying, 10<<20)), limit: 0.3},
		{what: fmt.Sprintf("through Postfix, %d sessions: throughput divided by that without a milter", postfixSessions), want: "at least 0.75", got: r.throughPostfix(), limit: 0.75, atLeast: true},
		{what: "peak memory with 64 sessions and messages of any size", want: "under 40 MiB", got: single(r.peak(64)), limit: 40, unit: " MiB"},
		{what: "DNS delay of 20 ms, new domains: increase of p50", want: "at most two round trips, 40 ms", got: single(coldWait), limit: 40, unit: " ms"},
		// Two medians may differ by a tenth of a round trip.
		{what: "DNS delay of 20 ms, known domains: increase of p50", want: "none (2 ms are noise)", got: single(warmWait), limit: 2, unit: " ms"},
	}
	for _, c := range r.idle {
		if c.name == ours {
			list = append(list, target{what: fmt.Sprintf("%d idle connections, after one message on each: memory of a connection", idleConnections), want: "under 30 KiB",
				got: single(float64(max(c.fresh, c.spent)) / 1024), limit: 30, unit: " KiB"})
		}
	}
	return list
}

// summary returns the targets that were measured, for the terminal.
func (r *report) summary() string {
	var b strings.Builder
	for _, t := range r.targets() {
		if t.met() != notMeasured {
			fmt.Fprintf(&b, "\n%s: %s; %s, %s", t.what, t.want, t.result(), strings.Trim(t.met(), "*"))
		}
	}
	b.WriteString("\n")
	return b.String()
}

// throughPostfix returns Signpost's throughput divided by that without a milter.
func (r *report) throughPostfix() spread {
	for _, t := range r.postfix {
		if t.name == ours {
			return r.throughputRatio(t)
		}
	}
	return single(math.NaN())
}

// throughputRatio returns the throughput of a row of Postfix divided by that without a milter, which is in the first row.
func (r *report) throughputRatio(t row) spread {
	return paired(t.rounds, r.postfix[0].rounds, throughputRatio)
}

// peak returns the peak memory of Signpost with a number of sessions, in MiB.
func (r *report) peak(sessions int) float64 {
	most := math.NaN()
	for _, m := range r.cells {
		for _, row := range m.rows {
			if mib := float64(row.peak) / (1 << 20); m.sessions == sessions && row.name == ours && !(mib <= most) {
				most = mib
			}
		}
	}
	return most
}
