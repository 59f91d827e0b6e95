package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// cpu returns a row that contains only the processor time.
func cpu(name string, ms float64) row {
	return newRow(name, []figure{{cpu: time.Duration(ms * float64(time.Millisecond)), messages: 1, elapsed: time.Second}})
}

func someReport() report {
	waits := func(ms int) []row { return []row{newRow(ours, []figure{{p50: time.Duration(ms) * time.Millisecond}})} }
	busy := usual(signing, 4<<10)
	busy.sessions = 64
	return report{
		cells: []measured{
			{usual(verifying, 4<<10), []row{cpu(ours, 0.4), cpu(noJournalName, 0.38), cpu("opendkim", 2), cpu("opendkim+opendmarc", 4), cpu("rspamd", 2.5),
				cpu(rulesName, 3.2), cpu(dkimpyName, 12), cpu(bareName, 0.05)}},
			{crowded(), []row{newRow(ours, []figure{{cpu: 6, peak: 36 << 20}, {cpu: 9, peak: 39 << 20}, {cpu: 8, peak: 38 << 20}}),
				newRow(noJournalName, []figure{{cpu: 5, peak: 31 << 20}, {cpu: 6, peak: 31 << 20}, {cpu: 5, peak: 31 << 20}})}},
			{usual(signing, 4<<10), []row{cpu(ours, 1.5), cpu("opendkim", 3), cpu(bareName, 1.3)}},
			{usual(signing, 10<<20), []row{cpu(ours, 30), cpu("opendkim", 90), cpu("rspamd", 60), cpu(noJournalName, 29), cpu(bareName, 7)}},
			{busy, []row{newRow(ours, []figure{{peak: 41 << 20}})}},
			{alone(0, true), waits(2)}, {alone(slowDNS, true), waits(30)},
			{alone(0, false), waits(2)}, {alone(slowDNS, false), waits(5)},
		},
		idle: []idleCost{{ours, 10 << 10, 31 << 10}},
		postfix: []row{newRow(noMilter, []figure{{messages: 200, elapsed: time.Second}}),
			newRow(ours, []figure{{messages: 150, elapsed: time.Second, cpu: time.Millisecond}})},
	}
}

// Each target uses its own numbers. A target counts as not met if it was not measured.
func TestTargets(t *testing.T) {
	r := someReport()
	want := []struct {
		part, met string
		got       float64
	}{
		{"of rspamd", "**not met**", 0.4 / 2.5},
		{"own rules", "met", 0.4 / 3.2},
		{"OpenDMARC", "**not met**", 0.1},
		{"8 sessions: processor time divided by that without the journal", "met", 0.4 / 0.38},
		{"64 sessions: processor time divided by that without the journal", "**not met**", 1.5},
		{"8 sessions: additional peak memory with the journal", "met", 0},
		{"64 sessions: additional peak memory with the journal", "**not met**", 7},
		{"that of OpenDKIM", "met", 0.5},
		{"rsa.SignPKCS1v15", "**not met**", 0.2},
		{"sign 10 MiB", "**not met**", 0.5}, // the best other server is rspamd
		{"verify 10 MiB", "not measured", math.NaN()},
		{"Postfix", "met", 0.75},
		{"peak memory", "**not met**", 41},
		{"new domains", "met", 28},
		{"known domains", "**not met**", 3},
		{"idle", "**not met**", 31},
	}
	list := r.targets()
	if len(list) != len(want) {
		t.Fatalf("%d targets, want %d", len(list), len(want))
	}
	for i, w := range want {
		got := list[i]
		if !strings.Contains(got.what, w.part) || got.met() != w.met || !(math.Abs(got.got.mid-w.got) < 1e-9) && !math.IsNaN(w.got) {
			t.Errorf("%s: %s %v, want %s %v", got.what, got.met(), got.got.mid, w.met, w.got)
		}
	}
}

// Text written by hand is kept exactly once.
func TestKept(t *testing.T) {
	r := someReport()
	const text = "\n## Where the time goes\n\nHalf of it in RSA.\n"
	first := r.page(facts{date: "today"}, kept(""))
	changed := strings.Replace(first, keptFirst, text, 1)
	if changed == first {
		t.Fatalf("the page has no marks for it:\n%s", first)
	}
	again := r.page(facts{date: "tomorrow"}, kept(changed))
	if strings.Count(again, text) != 1 || strings.Count(again, keptBegin) != 1 || !strings.Contains(again, "on tomorrow") {
		t.Errorf("the text written by hand was not kept:\n%s", again)
	}
	for _, line := range []string{"|  | opendkim | 1.0 | 2.000 | 0.00 | 0.00 | 0.0 | 0.20 |", "| 4 KiB, 8 sessions of 1 | signpost | 1.0 | 0.400 |", "|  | bare cryptography | | 0.050 | | | | 8.00 |", "| signpost | 150.0 | 0.75 | 1.000 |",
		"|  | signpost without journal | 0.0 | 0.000 | 0.00 | 0.00 | 31.0 | 1.50 (1.20 to 1.60) |",
		"| verify 4 KiB, 64 sessions: additional peak memory with the journal | at most 6 MiB | 7.00 (5.00 to 8.00) MiB | **not met** |"} {
		if !strings.Contains(again, line) {
			t.Errorf("the page lacks %q:\n%s", line, again)
		}
	}
}

// The picture is valid XML, and the lengths of its bars are proportional to the times.
func TestPicture(t *testing.T) {
	r := someReport()
	text := r.picture()
	d := xml.NewDecoder(strings.NewReader(text))
	widths := map[string]string{}
	label := ""
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		switch token := token.(type) {
		case xml.CharData:
			if s := strings.TrimSpace(string(token)); s != "" {
				label = s
			}
		case xml.StartElement:
			for _, a := range token.Attr {
				if token.Name.Local == "rect" && a.Name.Local == "width" && widths[label] == "" {
					widths[label] = a.Value // of the first panel
				}
			}
		}
	}
	if widths["opendkim+opendmarc"] != "165.0" || widths["opendkim"] != "82.5" || widths[ours] != "16.5" || widths[dkimpyName] != "" || widths[noJournalName] != "" {
		t.Errorf("bars %v", widths)
	}
}

// Each result is the median of the rounds, except that the peak memory is their maximum.
func TestMedian(t *testing.T) {
	f := median([]figure{
		{messages: 10, elapsed: time.Second, cpu: 3, p50: 1, p99: 9, peak: 1},
		{messages: 30, elapsed: time.Second, cpu: 1, p50: 3, p99: 8, peak: 3},
		{messages: 20, elapsed: time.Second, cpu: 2, p50: 2, p99: 7, peak: 2},
	})
	if f.perSecond() != 20 || f.cpu != 2 || f.p50 != 2 || f.p99 != 8 || f.peak != 3 {
		t.Errorf("%+v", f)
	}
}
