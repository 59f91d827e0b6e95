package summary

import (
	"bytes"
	"encoding/csv"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/report/received"
	"signpost/internal/report/status"
	"signpost/internal/testreports"
)

var update = flag.Bool("update", false, "write the expected texts")

var now = time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)

func filled(t *testing.T, evil string) (*received.Store, received.Filter) {
	t.Helper()
	s, err := received.Open(t.Context(), filepath.Join(t.TempDir(), "reports", "received.db"), true, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	testreports.Fill(t, s, now, evil)
	return s, received.Filter{Domain: "example.org", Since: now.Truncate(24*time.Hour).AddDate(0, 0, -30), Until: now}
}

func about(t *testing.T, evil string) received.About {
	t.Helper()
	s, f := filled(t, evil)
	a, err := s.About(t.Context(), f, received.Site{Own: testreports.Own(), Known: testreports.Known()}, 100)
	if err != nil {
		t.Fatal(err)
	}
	a.Alarms = testreports.Alarms(now, evil)
	a.Most[1].Name = "mail.example.org" + evil
	return a
}

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || string(want) != got {
		t.Errorf("%v\n%s: got\n%s\nwant\n%s", err, file, got, want)
	}
}

// The texts of the command. go test ./internal/report/summary -update writes them.
func TestTexts(t *testing.T) {
	s, f := filled(t, "")
	var b bytes.Buffer
	write := func(name string, f func() error) {
		t.Helper()
		b.Reset()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.String())
	}
	write("about.txt", func() error { return WriteAbout(&b, about(t, "")) })
	f.Domain = ""
	all, err := s.Domains(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	o := NewOverview(all, map[string]bool{"example.org": true, "example.net": true, "example.com": true})
	o.Alarms = testreports.Alarms(now, "")
	write("overview.txt", func() error { return WriteOverview(&b, o, f.Since.Format(time.DateOnly)) })
	write("sources.csv", func() error { return WriteCSV(&b, about(t, "").Most[:4]) })
	for _, id := range []string{"1", "tls-1"} {
		found, err := s.Find(t.Context(), id)
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		write("report-"+id+".txt", func() error { return WriteReport(&b, found[0]) })
	}
}

// Without a report in the period, the texts state how to see earlier ones.
func TestNoReports(t *testing.T) {
	var domain, all bytes.Buffer
	if err := errors.Join(WriteAbout(&domain, received.About{Domain: "example.org"}), WriteOverview(&all, Overview{Foreign: 1}, "2026-11-01")); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{domain.String(), all.String()} {
		if !strings.Contains(text, "--since 400d") || strings.Contains(text, "cost of") {
			t.Error(text)
		}
	}
}

// Texts of reporters and of DNS neither control a terminal nor add a line.
func TestHostileTexts(t *testing.T) {
	lines := func(evil string) (n int) {
		var b bytes.Buffer
		if err := WriteAbout(&b, about(t, evil)); err != nil {
			t.Fatal(err)
		}
		s, _ := filled(t, evil)
		found, err := s.Find(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found {
			if err := WriteReport(&b, r); err != nil {
				t.Fatal(err)
			}
		}
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return r != '\n' && (r < ' ' || r == 0x7f || r == 0x202e || r == 0x85) }); i >= 0 {
			t.Errorf("%q", b.String()[i:min(i+40, b.Len())])
		}
		return strings.Count(b.String(), "\n")
	}
	if evil, harmless := lines("\x1b[2J\r\n\u202e\u0085x"), lines("abcdefghijk"); evil > harmless {
		t.Errorf("%d lines, want %d", evil, harmless)
	}
}

// A spreadsheet that opens the CSV reads no cell as a formula.
func TestFormulas(t *testing.T) {
	for _, evil := range []string{"=cmd|'/c calc'!A1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "＝1", "a,\"b\n=1"} {
		var b bytes.Buffer
		source := received.Source{Address: netip.MustParseAddr("192.0.2.1"), Name: evil, Owner: received.Other, HeaderFroms: []string{evil}, Reporters: []string{evil}}
		if err := WriteCSV(&b, []received.Source{source}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(rows) != 2 {
			t.Fatal(rows, err)
		}
		for _, cell := range rows[1] {
			if strings.IndexAny(cell, "=+-@\t\r") == 0 && cell != "-" || strings.HasPrefix(cell, "＝") {
				t.Errorf("%q", cell)
			}
		}
	}
}

// The verdict is cautious: own mail that fails comes first, and a short period is not enough.
func TestVerdict(t *testing.T) {
	for want, c := range map[string]received.Cost{
		"":           {},
		"Do not":     {Volume: received.Volume{Messages: 10}, Days: 40, Causes: []received.Failure{{Cause: received.KnownFails, Messages: 1}}},
		"not enough": {Volume: received.Volume{Messages: 10}, Days: 27, Causes: []received.Failure{{Cause: received.Unknown, Messages: 1}}},
		"begin with": {Volume: received.Volume{Messages: 10}, Days: 28, Causes: []received.Failure{{Cause: received.Relayed, Messages: 1}}},
	} {
		if got := Verdict(c); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := Cost(received.Cost{}); !strings.Contains(got, "no trusted reporter") {
		t.Error(got)
	}
}

// Each code and cause has its words.
func TestWords(t *testing.T) {
	for _, c := range status.Codes() {
		if Advice(c) == "" || !strings.Contains(status.Alarm{Code: c, Reporters: []string{"google.com"}}.String(), "google.com") {
			t.Error(c)
		}
	}
	for _, c := range received.Causes() {
		if Cause(c) == "" || Effect(c) == "" {
			t.Error(c)
		}
	}
	for want, n := range map[string][2]int64{"-": {0, 0}, "99.9 %": {9999, 10000}, "100.0 %": {5, 5}, "0.0 %": {1, 10000}, "33.3 %": {1, 3}} {
		if got := Percent(n[0], n[1]); got != want {
			t.Errorf("%v: %s", n, got)
		}
	}
}
