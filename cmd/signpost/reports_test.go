package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/durable"
	"signpost/internal/report"
)

const reportsConfig = "[reports.send]\norg_name = \"Example\"\nfrom = \"dmarc@reports.example.org\"\n"

// reportArchive is an archive with settings for reports.
func reportArchive(t *testing.T, enabled bool, more string) *archive {
	t.Helper()
	a := newArchive(t)
	put(t, a.file, fmt.Sprintf("state_dir = %q\n%s\n%senabled = %v\n", a.dir, more, reportsConfig, enabled))
	return a
}

// frozen adds a report to two destinations.
func (a *archive) frozen() (id string) {
	a.t.Helper()
	conf, err := config.Load(a.file)
	if err != nil {
		a.t.Fatal(err)
	}
	s, err := openReports(a.t.Context(), conf, true, time.Now)
	if err != nil {
		a.t.Fatal(err)
	}
	defer s.Close()
	r := &report.Report{Day: report.Day(time.Now()).AddDate(0, 0, -1), Policy: report.Policy{Domain: "example.com", P: "none", SP: "none", NP: "none", FO: "0"}, Messages: 7}
	file, err := r.File(sender(conf))
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := s.Freeze(a.t.Context(), file.Frozen(r, sender(conf), time.Now()), []report.Destination{{Address: "one@example.com", Organization: "example.com", MAC: strings.Repeat("a", 32)}, {Address: "two@example.com", Organization: "example.com", MAC: strings.Repeat("b", 32)}}); err != nil {
		a.t.Fatal(err)
	}
	return file.ID
}

// suppressed moves a delivery to StageSuppressed.
func (a *archive) suppressed(id, destination string) {
	a.t.Helper()
	conf, err := config.Load(a.file)
	if err != nil {
		a.t.Fatal(err)
	}
	s, err := openReports(a.t.Context(), conf, false, time.Now)
	if err != nil {
		a.t.Fatal(err)
	}
	defer s.Close()
	if err := s.Move(a.t.Context(), id, destination, report.StageSuppressed, ""); err != nil {
		a.t.Fatal(err)
	}
}

// Without a report, with sending disabled and in observe mode, the commands state why nothing is sent or listed.
func TestReportsIdle(t *testing.T) {
	for _, c := range []struct {
		name, more string
		enabled    bool
		args, want string
		code       int
	}{
		{"no report", "", false, "", "no report was made yet", 1},
		{"disabled", "", false, "send", "reports.send.enabled is false: nothing is sent", 0},
		{"observe mode", "mode = \"observe\"", true, "send", "mode is observe: nothing is sent", 0},
		{"no journal", "", true, "send --date 2026-11-02", "there is no journal here yet", 1},
		{"wrong date", "", true, "send --date tomorrow", "--date \"tomorrow\" is not a date", 2},
		{"a date in the future", "", true, "send --date " + time.Now().AddDate(0, 0, 2).Format(time.DateOnly), "is in the future", 2},
		{"wrong state", "", true, "--state x", "--state must be frozen, ", 2},
		{"to without dry-run", "", true, "send --to x", "--to requires --dry-run", 2},
		{"dry-run without a domain", "", true, "send --dry-run", "--dry-run requires --domain", 2},
		{"not an address", "", true, "suppress example.com", "is not an address", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := reportArchive(t, c.enabled, c.more)
			code, _, stderr := a.run(append([]string{"reports"}, strings.Fields(c.args)...)...)
			if code != c.code || !strings.Contains(stderr, c.want) {
				t.Errorf("%d %s", code, stderr)
			}
		})
	}
}

// check-config names what reports.send.enabled requires.
func TestReportsConfiguration(t *testing.T) {
	for text, want := range map[string]string{
		"[reports.send]\nenabled = true\n":                                   "requires reports.send.from",
		"[reports.send]\nenabled = true\nfrom = \"d@reports.example.org\"\n": "requires reports.send.org_name",
		reportsConfig + "enabled = true\n[journal]\nkeep = \"47h\"\n":        "requires journal.keep = \"48h\" or more",
		reportsConfig + "enabled = true\n[journal]\nenabled = false\n":       "requires the journal",
		"[reports.send]\nfrom = \"Ann <d@reports.example.org>\"\n":           "is not an email address",
		"[reports.send]\nper_day = 0\n":                                      "out of range",
		"[reports.send]\nper_day = \"5\"\n":                                  "must be a number without quotes",
		reportsConfig + "enabled = true\n[reports]\nsmtp = \"\"\n":           "requires reports.smtp",
	} {
		a := newArchive(t)
		put(t, a.file, fmt.Sprintf("state_dir = %q\n%s", a.dir, text))
		if code, _, stderr := a.run("check-config"); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%q: %d %s", text, code, stderr)
		}
	}
}

func TestReportsList(t *testing.T) {
	a := reportArchive(t, true, "")
	id := a.frozen()
	has := func(want []string, args ...string) {
		t.Helper()
		code, out, stderr := a.run(append([]string{"reports"}, args...)...)
		if code != 0 || stderr != "" {
			t.Errorf("%q: %d %s", args, code, stderr)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%q: no %q in\n%s", args, w, out)
			}
		}
	}
	has([]string{"example.com", "one@example.com", "two@example.com", "frozen", id, " 7 "})
	has([]string{`"stage": "frozen"`, `"policy_domain": "example.com"`}, "--json")
	has([]string{"one@example.com: frozen", "<feedback", "<domain>example.com</domain>"}, "show", id)
	has([]string{`"destination": "two@example.com"`}, "show", id, "--json")
	has([]string{"suppressed until"}, "suppress", "One@example.com")
	has([]string{"one@example.com", "by hand"}, "--state", "suppressed")
	has([]string{`"destination": "one@example.com"`}, "--state", "suppressed", "--json")
	has([]string{"not suppressed"}, "retry", "one@example.com")
	has([]string{"[]"}, "--state", "suppressed", "--json")
	has([]string{`"destination": "two@example.com"`, `"until": "`}, "suppress", "Two@example.com", "--json")
	has([]string{`"destination": "two@example.com"`}, "retry", "Two@example.com", "--json")
	a.suppressed(id, "one@example.com")
	has([]string{`"report": "` + id + `"`, `"destinations": 1`}, "retry", id, "--json")
	if code, out, _ := a.run("reports", "--state", "accepted"); code != 0 || out != "" {
		t.Errorf("%d %s", code, out)
	}
	for _, args := range [][]string{{"show", "x"}, {"retry", "x"}} {
		if code, _, stderr := a.run(append([]string{"reports"}, args...)...); code != 1 || !strings.Contains(stderr, "no such report") {
			t.Errorf("%q: %d %s", args, code, stderr)
		}
	}
}

// --dry-run writes the message about yesterday's mail, and changes nothing.
func TestReportsDryRun(t *testing.T) {
	a := reportArchive(t, false, "")
	a.keep(caseReports(t, "forged")...)
	tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	to := filepath.Join(a.dir, "report.eml")
	if code, _, stderr := a.run("reports", "send", "--dry-run", "--domain", "Example.com", "--date", tomorrow, "--to", to); code != 0 {
		t.Fatal(stderr)
	}
	text, err := os.ReadFile(to)
	if err != nil || !strings.Contains(string(text), "Subject: Report Domain: example.com Submitter: reports.example.org") {
		t.Errorf("%v %s", err, text)
	}
	if code, out, _ := a.run("reports", "send", "--dry-run", "--domain", "example.com", "--date", tomorrow); code != 0 || out != string(text) {
		t.Errorf("%d %s", code, out)
	}
	if code, _, stderr := a.run("reports", "send", "--dry-run", "--domain", "other.example", "--date", tomorrow); code != 1 || !strings.Contains(stderr, "no report: the journal has no mail of other.example") {
		t.Errorf("%d %s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(a.dir, "reports")); err == nil {
		t.Error("--dry-run created the directory of reports")
	}
}

// Two runs do not overlap: the second one ends without an error.
func TestReportsLock(t *testing.T) {
	a := reportArchive(t, true, "")
	dir := filepath.Join(a.dir, "reports")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := durable.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	lock, err := durable.TryLock(root, filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := a.run("reports", "send"); code != 0 || !strings.Contains(stderr, "another run sends the reports") {
		t.Errorf("%d %s", code, stderr)
	}
	lock.Unlock()
	if code, _, stderr := a.run("reports", "send", "--date", "2026-11-02"); code != 1 || !strings.Contains(stderr, "no journal") {
		t.Errorf("%d %s", code, stderr)
	}
}
