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

// frame is what is shown, in lines that are not longer than width. What strangers named is made printable before it is cut, and
// coloured after.
func (w *watch) frame(now time.Time, width int, paint cli.Painter) []string {
	f := &topFrame{width: width, paint: paint}
	f.line("signpost top, %s, q ends", now.UTC().Format("15:04:05 UTC"))
	f.line("journal %d KiB, newest %s, lost %s", w.size>>10, ago(now, w.newest), w.lost)
	if w.trouble != "" {
		f.bad("%s", w.trouble)
	}
	w.rates(f, now)
	w.results(f)
	f.head("DNS, last %.0f minutes", window.Minutes())
	w.dns(f)
	f.head("Failing mail, last hour: domains")
	f.counts(w.domains)
	f.head("Failing mail, last hour: clients")
	f.counts(w.clients)
	f.head("Keys")
	w.keyring(f, now)
	return f.lines
}

func (w *watch) rates(f *topFrame, now time.Time) {
	f.head("Messages a minute")
	f.line("%-10s %8s %8s", "", "1 min", fmt.Sprintf("%.0f min", window.Minutes()))
	row := func(name string, takes func(journal.Outcome) bool) {
		var one, all int
		for _, s := range w.recent {
			if takes(s.outcome) {
				all++
				if s.at.After(now.Add(-time.Minute)) {
					one++
				}
			}
		}
		f.line("%-10s %8d %8.1f", name, one, float64(all)/window.Minutes())
	}
	row("all", func(journal.Outcome) bool { return true })
	row("verified", func(o journal.Outcome) bool { return o.Role == "verify" })
	for _, d := range filter.Dispositions() {
		row(d, func(o journal.Outcome) bool { return o.Verdict == d })
	}
}

func (w *watch) results(f *topFrame) {
	f.head("Results, last %.0f minutes", window.Minutes())
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
		var words []string
		for _, c := range sorted(n, len(n)) {
			words = append(words, fmt.Sprintf("%s %d", c.Name, c.N))
		}
		f.line("%-10s %s", m.name, strings.Join(words, "  "))
	}
}

// dns is about questions that went to servers.
func (w *watch) dns(f *topFrame) {
	var asked, failed, late int64
	var took, most time.Duration
	names := map[string]int64{}
	for _, s := range w.recent {
		for _, l := range s.lookups {
			asked++
			took += l.took
			most = max(most, l.took)
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
		f.line("nothing was asked")
		return
	}
	f.line("%d asked, %d failed, %d took a second or more; %s on average, %s at most", asked, failed, late, (took / time.Duration(asked)).Round(time.Millisecond), most.Round(time.Millisecond))
	f.counts(sorted(names, topSources))
}

func (w *watch) keyring(f *topFrame, now time.Time) {
	if w.noKeys != "" {
		f.bad("%s", w.noKeys)
	}
	for _, k := range w.keys {
		if k.State == keys.Removed {
			continue
		}
		text := fmt.Sprintf("%-24s %-14s %-9s %s", k.Domain, k.Selector, k.State, k.Next)
		if k.Err != nil && !k.Elsewhere {
			f.bad("%s", text)
		} else {
			f.line("%s", text)
		}
	}
}

// topFrame gathers lines.
type topFrame struct {
	width int
	paint cli.Painter
	lines []string
}

func (f *topFrame) cut(format string, args ...any) string {
	text, _ := cli.Cut(printable(fmt.Sprintf(format, args...)), f.width)
	return text
}

func (f *topFrame) line(format string, args ...any) {
	f.lines = append(f.lines, f.cut(format, args...))
}
func (f *topFrame) bad(format string, args ...any) {
	f.lines = append(f.lines, f.paint.Bad(f.cut(format, args...)))
}

func (f *topFrame) head(format string, args ...any) {
	f.lines = append(f.lines, "", f.paint.Past(f.cut(format, args...)))
}

func (f *topFrame) counts(all []journal.Count) {
	for _, c := range all {
		f.line("%8d  %s", c.N, cmp.Or(c.Name, "(none that can be read)"))
	}
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
	return now.Sub(at).Round(time.Second).String() + " ago"
}
