package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// target is one goal and its result.
type target struct {
	what    string
	want    string
	got     float64 // NaN: not measured
	limit   float64
	atLeast bool
	unit    string
}

const notMeasured = "not measured"

func (t target) met() string {
	switch {
	case math.IsNaN(t.got):
		return notMeasured
	case t.atLeast == (t.got >= t.limit) || t.got == t.limit:
		return "met"
	}
	return "**not met**"
}

func (t target) result() string {
	if math.IsNaN(t.got) {
		return ""
	}
	return fmt.Sprintf("%.3g%s", t.got, t.unit)
}

// usual returns the cell that most targets use. Eight sessions are typical of a busy server, and most connections carry one small message.
func usual(role string, size int) cell {
	c := cell{role: role, size: size, sessions: 8, perSession: 10}
	if size == 4<<10 {
		c.perSession = 1
	}
	return c
}

// alone returns a cell with one session, to measure the time of a message.
func alone(delay time.Duration, cold bool) cell {
	return cell{role: verifying, size: 4 << 10, sessions: 1, perSession: 10, delay: delay, cold: cold}
}

// get returns a number of a server in a cell, or NaN if it was not measured.
func (r *report) get(c cell, name string, of func(figure) float64) float64 {
	for _, m := range r.cells {
		if m.cell != c {
			continue
		}
		for _, row := range m.rows {
			if row.name == name {
				return of(row.figure)
			}
		}
	}
	return math.NaN()
}

func cpuOf(f figure) float64 { return milliseconds(f.cpu) }
func p50Of(f figure) float64 { return milliseconds(f.p50) }

// ratio returns Signpost's processor time divided by another server's.
func (r *report) ratio(c cell, name string) float64 {
	return r.get(c, ours, cpuOf) / r.get(c, name, cpuOf)
}

// best returns Signpost's processor time divided by that of the best other server.
func (r *report) best(c cell) float64 {
	ratio := math.NaN()
	for _, m := range r.cells {
		for _, row := range m.rows {
			if m.cell == c && row.name != ours && row.name != baselineName && row.name != bareName {
				// The best other server is the one for which this ratio is highest.
				if q := r.ratio(c, row.name); !(q <= ratio) {
					ratio = q
				}
			}
		}
	}
	return ratio
}

// targets returns the goals with their results.
func (r *report) targets() []target {
	small := 4 << 10
	verify, sign := usual(verifying, small), usual(signing, small)
	coldWait := r.get(alone(slowDNS, true), ours, p50Of) - r.get(alone(0, true), ours, p50Of)
	warmWait := r.get(alone(slowDNS, false), ours, p50Of) - r.get(alone(0, false), ours, p50Of)
	list := []target{
		{what: "verify 4 KiB, 8 sessions: CPU relative to rspamd's", want: "at most 1/5, ideally 1/7", got: r.ratio(verify, rspamdName), limit: 1. / 5},
		{what: "verify 4 KiB, 8 sessions: CPU relative to rspamd's with its own rules", want: "at most 1/5, ideally 1/7", got: r.ratio(verify, rulesName), limit: 1. / 5},
		{what: "verify 4 KiB, 8 sessions: CPU relative to OpenDKIM + OpenDMARC", want: "at most 1/8, ideally 1/12", got: r.ratio(verify, "opendkim+opendmarc"), limit: 1. / 8},
		{what: "sign 4 KiB, 8 sessions: CPU relative to OpenDKIM's", want: "at most 0.55", got: r.ratio(sign, "opendkim"), limit: 0.55},
		{what: "sign 4 KiB, 8 sessions: CPU relative to the bare rsa.SignPKCS1v15", want: "at most 1.15", got: r.ratio(sign, bareName), limit: 1.15},
		{what: "sign 10 MiB, 8 sessions: CPU relative to that of the best other server", want: "at most 0.3", got: r.best(usual(signing, 10<<20)), limit: 0.3},
		{what: "verify 10 MiB, 8 sessions: CPU relative to that of the best other server", want: "at most 0.3", got: r.best(usual(verifying, 10<<20)), limit: 0.3},
		{what: fmt.Sprintf("through Postfix, %d sessions: throughput relative to no milter", postfixSessions), want: "at least 0.7", got: r.throughPostfix(), limit: 0.7, atLeast: true},
		{what: "peak memory at 64 sessions, any size", want: "under 40 MiB", got: r.peak(64), limit: 40, unit: " MiB"},
		{what: "DNS of 20 ms, new domains: additional p50", want: "at most two round trips, 40 ms", got: coldWait, limit: 40, unit: " ms"},
		// Measurement noise may be a tenth of a round trip.
		{what: "DNS of 20 ms, known domains: additional p50", want: "none (2 ms are noise)", got: warmWait, limit: 2, unit: " ms"},
	}
	for _, c := range r.idle {
		if c.name == ours {
			list = append(list, target{what: fmt.Sprintf("%d idle connections after one message each: memory", idleConnections), want: "under 30 KiB each",
				got: float64(max(c.fresh, c.spent)) / 1024, limit: 30, unit: " KiB"})
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

// throughPostfix returns the throughput with Signpost divided by the throughput without a milter.
func (r *report) throughPostfix() float64 {
	with, without := math.NaN(), math.NaN()
	for _, t := range r.postfix {
		switch t.name {
		case ours:
			with = t.perSecond
		case noMilter:
			without = t.perSecond
		}
	}
	return with / without
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
