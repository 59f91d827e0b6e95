package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"signpost/internal/filter"
	"signpost/policy"
)

// shownAfter is what docs/operations.md shows that a command prints: the block behind it, without its indentation.
func shownAfter(t *testing.T, command string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n    "+command+"\n\n")
	if !found {
		t.Fatalf("docs/operations.md does not show %q", command)
	}
	var block strings.Builder
	for line := range strings.Lines(after) {
		inside, indented := strings.CutPrefix(line, "    ")
		if !indented && strings.TrimSpace(line) != "" {
			break
		}
		block.WriteString(strings.TrimLeft(inside, "\n"))
		if !indented {
			block.WriteString("\n")
		}
	}
	shown, _, _ := strings.Cut(block.String(), "\nsignpost ") // the next command
	return strings.TrimSpace(shown)
}

// What docs/operations.md shows of what-if is what it prints.
func TestWhatIfExample(t *testing.T) {
	conf := stateIn(t)
	conf.DMARC.Reject = policy.RejectAlways
	at := time.Date(2026, 11, 25, 18, 20, 45, 0, time.UTC)
	var all []filter.Report
	for n := range 12 {
		var report filter.Report
		parts := map[string]string{
			"dns":     "example.com. TXT \"v=spf1 ip4:192.0.2.25 -all\"\n_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\n",
			"session": "client 192.0.2.25\nhelo mail.example.com\nfrom ann@example.com\n",
			"message": "From: ann@example.com\r\n\r\ntext\r\n",
		}
		if n%4 == 3 { // by a list that does not sign
			parts["session"] = "client 203.0.113.9\nhelo lists.example\nfrom ann@example.com\n"
			parts["message"] = "List-Id: <friends.lists.example>\r\n" + parts["message"]
		}
		runCase(t, parts, "", func(f *filter.Filter) { wrap(f, func(r filter.Report) { report = r }) })
		report.Evidence.QueueID = fmt.Sprintf("4fXyAb1Cd2z%d", n)
		all = append(all, report)
	}
	keepReports(t, conf, at, all...)
	var out bytes.Buffer
	if err := whatIf(t.Context(), conf, "/etc/signpost/new.toml", whatIfOptions{}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(out.String()), shownAfter(t, "signpost what-if --config /etc/signpost/new.toml --since 14d"); got != want {
		t.Errorf("it prints\n%s\nand docs/operations.md shows\n%s", got, want)
	}
}

// The same of forwarders, but for the days.
func TestForwardersExample(t *testing.T) {
	conf := stateIn(t)
	conf.DMARC.ForwardersFile = filepath.Join(t.TempDir(), "forwarders.toml")
	keepMails(t, conf, twoMonths())
	out, err := propose(t, conf, forwardersOptions{})
	if err != nil {
		t.Fatal(err)
	}
	day := regexp.MustCompile(`\d{4}-\d\d-\d\d`)
	want := day.ReplaceAllString(shownAfter(t, "signpost forwarders"), "DAY")
	if got := day.ReplaceAllString(out, "DAY"); !strings.Contains(got, want+"\n") || !strings.Contains(want, "expires = DAY") {
		t.Errorf("it prints\n%s\nand docs/operations.md shows\n%s", got, want)
	}
}
