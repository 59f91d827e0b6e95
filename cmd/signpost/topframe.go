package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"signpost/internal/cli"
	"signpost/internal/filter"
	"signpost/internal/journal"
	"signpost/keys"
)

// A window of wide columns and more has two columns of texts; the one of the rates is as wide as they are.
const (
	wide       = 78
	ratesWidth = 26
	columnGap  = 2
)

// leastKeys is how many keys are to be seen before the other lists get shorter.
const leastKeys = 3

// frame is what is shown, in lines of width columns at the most. Where height is 0 it is all. A window that is too low for that
// gets shorter lists, then no empty lines, and then fewer lines.
func (w *watch) frame(now time.Time, width, height int, paint cli.Painter) []topLine {
	f := topFrame{width: width, paint: paint}
	for _, spaced := range []bool{true, false} {
		for most := topSources; most > 0; most-- {
			lines, room := w.compose(f, now, height, most, spaced)
			if keyring := w.keyring(f, now); height == 0 || room >= min(leastKeys, len(keyring)) {
				return append(lines, f.fit(keyring, room, height, "dkimkey status")...)
			}
		}
	}
	lines, _ := w.compose(f, now, height, 1, false)
	return f.fit(append(lines, w.keyring(f, now)...), height, height, "in a larger window")
}

// compose gives all but the keys themselves, with lists of most, and how many lines are left for them.
func (w *watch) compose(f topFrame, now time.Time, height, most int, spaced bool) (lines []topLine, room int) {
	var gap []topLine
	if spaced {
		gap = []topLine{{}}
	}
	add := func(block []topLine) { lines = append(append(lines, gap...), block...) }
	lines = w.title(f, now, height > 0)
	failing := func(f topFrame, of string, all []journal.Count) []topLine {
		lines := f.head("Failing mail, last hour: %s", of)
		if len(all) == 0 {
			lines = append(lines, f.line("none"))
		}
		return append(lines, f.counts(all[:min(most, len(all))])...)
	}
	if height > 0 && f.width >= wide {
		left, right := f.split(ratesWidth)
		found := append(append(w.results(right, now), gap...), w.dns(right, now, max(1, most-2))...)
		add(beside(left, w.rates(left, now), found))
		left, right = f.split(min((f.width-columnGap)/2, maxCell))
		add(beside(left, failing(left, "domains", w.domains), failing(right, "clients", w.clients)))
	} else {
		for _, block := range [][]topLine{w.rates(f, now), w.results(f, now), w.dns(f, now, most), failing(f, "domains", w.domains), failing(f, "clients", w.clients)} {
			add(block)
		}
	}
	add(f.head("Keys"))
	return lines, height - len(lines)
}

func (w *watch) title(f topFrame, now time.Time, live bool) (lines []topLine) {
	first := "signpost top, " + now.UTC().Format("15:04:05 UTC")
	if live {
		first += ", q ends"
	}
	lines = append(lines, f.line("%s", first), f.line("journal %d KiB, newest %s, lost %s", w.size>>10, ago(now, w.newest), w.lost))
	for _, text := range []string{w.trouble, w.silent} {
		if text != "" {
			lines = append(lines, f.bad("%s", text))
		}
	}
	if !w.conf.Journal.Enabled {
		lines = append(lines, f.bad("journal.enabled = false: nothing new comes"))
	}
	if slices.ContainsFunc(w.recent, func(s seen) bool { return s.outcome.Observed }) {
		lines = append(lines, f.line("observe mode: what is counted as signed, tagged or refused was only found out, not carried out"))
	}
	return lines
}

func (w *watch) rates(f topFrame, now time.Time) []topLine {
	short, long := min(time.Minute, w.span(now)), w.span(now)
	lines := f.head("%-12s %5s %7s", "Messages/min", brief(short), brief(long))
	row := func(name string, takes func(journal.Outcome) bool) {
		var late, all int
		for _, s := range w.recent {
			if takes(s.outcome) {
				all++
				if s.at.After(now.Add(-short)) {
					late++
				}
			}
		}
		lines = append(lines, f.line("%-10s %7.0f %7.1f", name, float64(late)/short.Minutes(), float64(all)/long.Minutes()))
	}
	row("all", func(journal.Outcome) bool { return true })
	row("verified", func(o journal.Outcome) bool { return o.Role == "verify" })
	for _, d := range filter.Dispositions() {
		row(d, func(o journal.Outcome) bool { return o.Verdict == d })
	}
	return lines
}

func (w *watch) results(f topFrame, now time.Time) []topLine {
	lines := f.head("Results, last %s", brief(w.span(now)))
	for _, m := range []struct {
		name string
		of   func(journal.Outcome) string
	}{
		{"SPF", func(o journal.Outcome) string { return o.SPF }}, {"DKIM", func(o journal.Outcome) string { return o.DKIM }},
		{"DMARC", func(o journal.Outcome) string { return o.DMARC }}, {"ARC", func(o journal.Outcome) string { return o.ARC }},
	} {
		n := map[string]int64{}
		for _, s := range w.recent {
			if word := m.of(s.outcome); word != "" {
				n[word]++
			}
		}
		text := fmt.Sprintf("%-6s", m.name)
		for i, c := range sorted(n, len(n)) {
			word := fmt.Sprintf("%s %d", c.Name, c.N)
			if i > 0 && cli.Columns(text+"  "+word) > f.width {
				lines = append(lines, f.line("%s", text))
				text = fmt.Sprintf("%-6s", "")
			}
			text += strings.Repeat(" ", min(i, 1)) + " " + word
		}
		if len(n) > 0 {
			lines = append(lines, f.line("%s", text))
		}
	}
	if len(lines) == 1 {
		lines = append(lines, f.line("nothing was checked"))
	}
	return lines
}

// dns is about questions that went to servers.
func (w *watch) dns(f topFrame, now time.Time, most int) []topLine {
	lines := f.head("DNS, last %s", brief(w.span(now)))
	var asked, failed, late int64
	var took, longest time.Duration
	names := map[string]int64{}
	for _, s := range w.recent {
		for _, l := range s.lookups {
			asked++
			took += l.took
			longest = max(longest, l.took)
			if l.failed {
				failed++
			}
			if l.slow {
				late++
			}
			if l.failed || l.slow {
				names[l.name]++
			}
		}
	}
	if asked == 0 {
		return append(lines, f.line("nothing was asked"))
	}
	lines = append(lines, f.line("%d asked, %d failed, %d took a second or more", asked, failed, late),
		f.line("%s on average, %s at most", (took/time.Duration(asked)).Round(time.Millisecond), longest.Round(time.Millisecond)))
	return append(lines, f.counts(sorted(names, most))...)
}

// keyring is the keys, those first that want something, and then by what comes next.
func (w *watch) keyring(f topFrame, now time.Time) (lines []topLine) {
	if w.noKeys != "" {
		lines = append(lines, f.bad("%s", w.noKeys))
	}
	all := slices.DeleteFunc(slices.Clone(w.keys), func(k keys.Status) bool { return k.State == keys.Removed })
	next := func(k keys.Status) time.Time {
		switch {
		case k.Err != nil && !k.Elsewhere:
			return time.Time{}
		case len(k.Steps) > 0:
			return k.Steps[0].Due
		}
		return now.AddDate(100, 0, 0)
	}
	slices.SortStableFunc(all, func(a, b keys.Status) int { return next(a).Compare(next(b)) })
	for _, k := range all {
		text := fmt.Sprintf("%-24s %-14s %-9s %s", k.Domain, k.Selector, k.State, k.Next)
		if k.Err != nil && !k.Elsewhere {
			lines = append(lines, f.bad("%s", text))
		} else {
			lines = append(lines, f.line("%s", text))
		}
	}
	return lines
}

// sorted gives the greatest counts.
func sorted(n map[string]int64, most int) []journal.Count {
	var all []journal.Count
	for name, count := range n {
		all = append(all, journal.Count{Name: name, N: count})
	}
	slices.SortFunc(all, func(a, b journal.Count) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name))
	})
	return all[:min(most, len(all))]
}

func ago(now, at time.Time) string {
	if at.UnixMicro() == 0 {
		return "none"
	}
	return max(0, now.Sub(at)).Round(time.Second).String() + " ago"
}

// brief writes a length of time: "10 min".
func brief(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f min", d.Minutes())
}
