package summary

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"signpost/internal/report/received"
	"signpost/internal/report/status"
	"signpost/internal/term"
)

// text writes lines and tables, and keeps the first error.
type text struct {
	w       io.Writer
	columns int
	err     error
}

func (t *text) line(format string, a ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, strings.TrimRight(term.Printable(fmt.Sprintf(format, a...)), " "))
	}
}

// sentence writes a text that is broken at the width of the terminal.
func (t *text) sentence(format string, a ...any) {
	room := t.columns
	if room == 0 {
		room = term.LineWidth
	}
	for _, part := range term.Break(term.Printable(fmt.Sprintf(format, a...)), room) {
		t.line("%s", part)
	}
}

// table writes rows, of which the first is the head. Columns of numbers, by their position, are aligned to the right.
func (t *text) table(rows [][]string, second int, numbers ...int) {
	for _, row := range rows {
		for c := range row {
			row[c] = term.Printable(row[c])
		}
	}
	for _, c := range numbers {
		width := 0
		for _, row := range rows {
			width = max(width, len(row[c]))
		}
		for _, row := range rows {
			row[c] = fmt.Sprintf("%*s", width, row[c])
		}
	}
	if t.err == nil {
		t.err = term.NewTable(t.w, t.columns, second, func(_ int, s string) string { return s }).Write(rows)
	}
}

// more writes how many entries a list omits.
func (t *text) more(shown, all int) {
	if all > shown {
		t.line("and %d more", all-shown)
	}
}

// head writes an empty line and a title.
func (t *text) head(format string, a ...any) {
	t.line("")
	t.line(format, a...)
}

// mostDomains and others limit the lists, so that the text fits one screen.
const (
	mostDomains = 20
	mostAlarms  = 5
	mostDays    = 7
	mostSources = 5
)

// buffered writes the result of f at once.
func buffered(w io.Writer, f func(*text)) error {
	var b bytes.Buffer
	columns, _ := term.Size(w)
	t := &text{w: &b, columns: columns}
	f(t)
	if t.err != nil {
		return t.err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// WriteOverview writes what the reports since a day state about all hosted domains.
func WriteOverview(w io.Writer, o Overview, since string) error {
	return buffered(w, func(t *text) {
		t.line("reports about mail since %s", since)
		t.line("")
		alarms := map[string]int{}
		for _, a := range o.Alarms {
			alarms[a.Domain]++
		}
		rows := [][]string{{"domain", "messages", "passed", "failed", "reporters", "last day", "alarms"}}
		for _, d := range o.Domains[:min(len(o.Domains), mostDomains)] {
			rows = append(rows, []string{d.Domain, number(d.Messages), Percent(d.Passed, d.Messages), number(d.Failed), number(d.Reporters), day(d.Last), fmt.Sprint(alarms[d.Domain])})
		}
		if len(o.Domains) > 0 {
			t.table(rows, len(rows[0])-1, 1, 2, 3, 4, 6)
			t.more(len(rows)-1, len(o.Domains))
		} else {
			t.line("no report about a hosted domain in this period; --since 400d shows earlier ones")
		}
		if len(o.Silent) > 0 {
			t.sentence("hosted domains without reports: %d (%s)", len(o.Silent), names(o.Silent))
		}
		if o.Foreign > 0 {
			t.line("domains with reports that are not hosted here: %d", o.Foreign)
		}
		t.alarms(o.Alarms, len(o.Alarms)+o.Omitted, true)
	})
}

func (t *text) alarms(all []status.Alarm, count int, withDomain bool) {
	if len(all) == 0 {
		return
	}
	t.head("alarms")
	shown := all[:min(len(all), mostAlarms)]
	for _, a := range shown {
		name := string(a.Code)
		if withDomain && a.Domain != "" {
			name = a.Domain + ": " + name
		}
		t.sentence("%s: %s", name, a)
		if !withDomain {
			t.sentence("  %s", Advice(a.Code))
			if len(a.Reports) > 0 {
				t.sentence("  reports: %s", strings.Trim(fmt.Sprint(a.Reports), "[]"))
			}
		}
	}
	t.more(len(shown), count)
}

// WriteAbout writes what the reports state about one domain.
func WriteAbout(w io.Writer, a received.About) error {
	return buffered(w, func(t *text) {
		trusted := 0
		for _, r := range a.Reporters {
			if r.Trusted {
				trusted++
			}
		}
		t.line("%s, reports about mail since %s", a.Domain, day(a.Since))
		if a.TLS.Reports == 0 && len(a.Reporters) == 0 {
			t.line("no report in this period; --since 400d shows earlier ones")
			t.alarms(a.Alarms, len(a.Alarms), false)
			return
		}
		t.line("messages: %d, passed DMARC: %d (%s), failed: %d, reporters: %d, trusted: %d", a.Messages, a.Passed, Percent(a.Passed, a.Messages), a.Failed, len(a.Reporters), trusted)
		for _, p := range a.Policies[:min(len(a.Policies), 2)] {
			t.line("policy seen: %s (reporters: %d, last: %s)", Policy(p.Policy), p.Reporters, day(p.Last))
		}
		t.alarms(a.Alarms, len(a.Alarms), false)
		t.days(a.Days)
		t.sources("sources of mail", a.Most, a.Count)
		t.sources("sources of mail that failed", a.MostFailed, a.Failing)
		t.reporters(a.Reporters)
		t.tls(a.TLS)
		t.cost(a.Cost)
	})
}

func (t *text) days(all []received.Day) {
	if len(all) == 0 {
		return
	}
	t.line("")
	rows := [][]string{{"day", "messages", "passed", "failed"}}
	for _, d := range all[max(0, len(all)-mostDays):] {
		rows = append(rows, []string{day(d.Day), number(d.Messages), Percent(d.Passed, d.Messages), number(d.Failed)})
	}
	t.table(rows, 4, 1, 2, 3)
}

func (t *text) sources(title string, all []received.Source, count int) {
	if len(all) == 0 {
		return
	}
	t.head("%s: %d", title, count)
	rows := [][]string{{"address", "messages", "passed", "dkim", "spf", "last day", "owner", "name", "from", "reporters"}}
	for _, s := range all[:min(len(all), mostSources)] {
		rows = append(rows, []string{s.Address.String(), number(s.Messages), Percent(s.Passed, s.Messages), number(s.DKIM), number(s.SPF), day(s.Last), string(s.Owner), dash(s.Name), dash(names(s.HeaderFroms)), names(s.Reporters)})
	}
	t.table(rows, 7, 1, 2, 3, 4)
	t.more(len(rows)-1, count)
}

func (t *text) reporters(all []received.Reporter) {
	if len(all) == 0 {
		return
	}
	t.line("")
	rows := [][]string{{"reporter", "messages", "passed", "reports", "last day", "last report", "trust"}}
	for _, r := range all[:min(len(all), mostSources)] {
		rows = append(rows, []string{r.Reporter, number(r.Messages), Percent(r.Passed, r.Messages), number(r.Reports), day(r.Last), number(r.LastID), Trust(r)})
	}
	t.table(rows, 7, 1, 2, 3, 5)
	t.more(len(rows)-1, len(all))
}

// Trust returns whether a reporter is trusted, in words.
func Trust(r received.Reporter) string {
	switch {
	case r.Trusted:
		return "trusted"
	case !r.Verified:
		return "imported"
	}
	return "not yet"
}

func (t *text) tls(s received.TLSSessions) {
	if s.Reports == 0 {
		return
	}
	t.head("TLS sessions: %d, failed: %d, reporters: %d, last day: %s", s.Successful+s.Failed, s.Failed, s.Reporters, day(s.Last))
	for _, f := range s.Failures[:min(len(s.Failures), mostSources)] {
		t.sentence("%7d %s (policy: %s, reporters: %d, last: %s) %s", f.Sessions, f.Type, f.Policy, f.Reporters, day(f.Last), f.MX)
	}
	t.more(min(len(s.Failures), mostSources), len(s.Failures))
}

func (t *text) cost(c received.Cost) {
	t.head("cost of p=quarantine or p=reject")
	t.sentence("%s", Cost(c))
	for _, f := range c.Causes {
		if f.Messages == 0 {
			continue
		}
		var most []string
		for _, s := range f.Most {
			most = append(most, s.Address.String())
		}
		t.sentence("%7d %s: %s (addresses: %s; reporters: %s)", f.Messages, Cause(f.Cause), Effect(f.Cause), names(most), names(f.Reporters))
	}
	if v := Verdict(c); v != "" {
		t.sentence("%s", v)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
