package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"signpost/internal/journal"
	"signpost/internal/term"
	"signpost/keys"
	"signpost/policy"
)

const (
	// wide is the minimum width, in columns, for two blocks side by side. The constant ratesWidth is the width of the block of rates.
	wide       = 78
	ratesWidth = 26
	// maxCounts is the maximum width of the left list, if two lists are side by side.
	maxCounts = 48
	// leastKeys is the minimum number of keys shown. The other lists are shortened to make room for them.
	leastKeys = 3
)

// frame returns the lines to show. Each line has at most width columns. If height is 0, frame returns all lines. If the lines do not fit
// into height, it first shortens the lists, then omits empty lines, and then omits other lines.
func (w *watch) frame(now time.Time, width, height int, paint term.Painter) []term.Line {
	f := term.Frame{Width: width, Paint: paint}
	for _, spaced := range []bool{true, false} {
		for most := topSources; most > 0; most-- {
			lines, room := w.compose(f, now, height, most, spaced)
			switch keyring := w.keyring(f, now); {
			case height == 0:
				return append(lines, keyring...)
			case room >= min(leastKeys, len(keyring)):
				return append(lines, f.Fit(keyring, room, "dkimkey status")...)
			}
		}
	}
	lines, _ := w.compose(f, now, height, 1, false)
	return f.Fit(append(lines, w.keyring(f, now)...), height, "in a larger window")
}

// compose returns all lines except the lines of the keys. It also returns the number of lines that are left for the keys. The parameter
// most limits the number of items in each list.
func (w *watch) compose(f term.Frame, now time.Time, height, most int, spaced bool) (lines []term.Line, room int) {
	var gap []term.Line
	if spaced {
		gap = []term.Line{{}}
	}
	add := func(block []term.Line) { lines = append(append(lines, gap...), block...) }
	lines = w.title(f, now, height > 0)
	failing := func(f term.Frame, of string, all []journal.Count) []term.Line {
		lines := f.Head("Failing mail, last hour: %s", of)
		if len(all) == 0 {
			lines = append(lines, f.Line("none"))
		}
		return append(lines, counts(f, all[:min(most, len(all))])...)
	}
	if height > 0 && f.Width >= wide {
		left, right := f.Split(ratesWidth)
		found := append(append(w.results(right, now), gap...), w.dns(right, now, max(1, most-2))...)
		add(left.Beside(w.rates(left, now), found))
		left, right = f.Halves(maxCounts)
		add(left.Beside(failing(left, "domains", w.domains), failing(right, "clients", w.clients)))
	} else {
		for _, block := range [][]term.Line{w.rates(f, now), w.results(f, now), w.dns(f, now, most), failing(f, "domains", w.domains), failing(f, "clients", w.clients)} {
			add(block)
		}
	}
	add(f.Head("Keys"))
	return lines, height - len(lines)
}

func (w *watch) title(f term.Frame, now time.Time, live bool) (lines []term.Line) {
	first := "signpost top, " + now.UTC().Format("15:04:05 UTC")
	if live {
		first += ", q quits"
	}
	lines = append(lines, f.Line("%s", first), f.Line("journal %d KiB, newest %s, lost %s", w.size>>10, ago(now, w.newest), w.lost))
	for _, text := range []string{w.trouble, w.silent} {
		if text != "" {
			lines = append(lines, f.Bad("%s", text))
		}
	}
	if w.Disabled {
		lines = append(lines, f.Bad("journal.enabled = false: no new messages are recorded"))
	}
	if slices.ContainsFunc(w.recent, func(s seen) bool { return s.outcome.Observed }) {
		lines = append(lines, f.Line("observe mode: the actions were not carried out"))
	}
	return lines
}

func (w *watch) rates(f term.Frame, now time.Time) []term.Line {
	short, long := min(time.Minute, w.span(now)), w.span(now)
	lines := f.Head("%-12s %5s %7s", "Messages/min", brief(short), brief(long))
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
		lines = append(lines, f.Line("%-10s %7.0f %7.1f", name, float64(late)/short.Minutes(), float64(all)/long.Minutes()))
	}
	row("all", func(journal.Outcome) bool { return true })
	row("verified", func(o journal.Outcome) bool { return o.Role == "verify" })
	for _, a := range policy.Actions() {
		row(string(a), func(o journal.Outcome) bool { return o.Action == string(a) })
	}
	return lines
}

func (w *watch) results(f term.Frame, now time.Time) []term.Line {
	lines := f.Head("Results, last %s", brief(w.span(now)))
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
		for i, c := range journal.MostFrequent(n, len(n)) {
			word := fmt.Sprintf("%s %d", c.Name, c.N)
			if i > 0 && term.Columns(text+"  "+word) > f.Width {
				lines = append(lines, f.Line("%s", text))
				text = fmt.Sprintf("%-6s", "")
			}
			text += strings.Repeat(" ", min(i, 1)) + " " + word
		}
		if len(n) > 0 {
			lines = append(lines, f.Line("%s", text))
		}
	}
	if len(lines) == 1 {
		lines = append(lines, f.Line("no message was verified"))
	}
	return lines
}

// dns returns the block about the queries that were sent to servers.
func (w *watch) dns(f term.Frame, now time.Time, most int) []term.Line {
	lines := f.Head("DNS, last %s", brief(w.span(now)))
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
		return append(lines, f.Line("no queries were sent"))
	}
	lines = append(lines, f.Line("%d sent, %d failed, %d took a second or more", asked, failed, late),
		f.Line("%s on average, %s at most", (took/time.Duration(asked)).Round(time.Millisecond), longest.Round(time.Millisecond)))
	return append(lines, counts(f, journal.MostFrequent(names, most))...)
}

// keyring returns a line for each key: those with an error first, the others by the time of their next step.
func (w *watch) keyring(f term.Frame, now time.Time) (lines []term.Line) {
	if w.noKeys != "" {
		lines = append(lines, f.Bad("%s", w.noKeys))
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
			lines = append(lines, f.Bad("%s", text))
		} else {
			lines = append(lines, f.Line("%s", text))
		}
	}
	return lines
}

func counts(f term.Frame, all []journal.Count) (lines []term.Line) {
	for _, c := range all {
		lines = append(lines, f.Line("%8d  %s", c.N, cmp.Or(c.Name, "(no readable domain)")))
	}
	return lines
}

func ago(now, at time.Time) string {
	if at.UnixMicro() == 0 {
		return "none"
	}
	return max(0, now.Sub(at)).Round(time.Second).String() + " ago"
}

// brief formats a duration, such as "10 min".
func brief(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f min", d.Minutes())
}
