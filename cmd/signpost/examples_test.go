package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/filter"
	"signpost/policy"
)

// shownAfter returns the output that a page of docs shows for a command: the block after the command, without its indentation.
func shownAfter(t *testing.T, page, command string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n    "+command+"\n\n")
	if !found {
		t.Fatalf("docs/%s does not show %q", page, command)
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

// shows checks that the command printed the lines that a page shows, in the same order. "..." stands for omitted lines.
func shows(t *testing.T, page, command, printed string) {
	t.Helper()
	text, err := os.ReadFile("../../" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "    "+command+"\n")
	if !found {
		t.Fatalf("%s does not show %q", page, command)
	}
	left := "\n" + printed
	for line := range strings.Lines(after) {
		line, indented := strings.CutPrefix(line, "    ")
		if !indented {
			break
		}
		if line == "...\n" {
			continue
		}
		if _, left, found = strings.Cut(left, "\n"+line); !found {
			t.Fatalf("%s shows %q, and %s prints\n%s", page, line, command, printed)
		}
		left = "\n" + left
	}
}

// docs/journal.md shows the real output of verify. README.md shows the real output of log and explain.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"zone":   "stranger.example. 3600 IN TXT \"v=spf1 ip4:203.0.113.9 -all\"\n_dmarc.example.org. 3600 IN TXT \"v=DMARC1; p=reject\"\n",
		"mail":   "From: ann@example.org\r\nSubject: Pay\r\n\r\nnow\r\n",
		"config": fmt.Sprintf("state_dir = %q\n", dir),
	} {
		put(t, filepath.Join(dir, name), text)
	}
	cmd := exec.Command("signpost", "verify", filepath.Join(dir, "mail"), "-c", filepath.Join(dir, "config"), "--dns", filepath.Join(dir, "zone"),
		"--ip", "203.0.113.9", "--helo", "mail.stranger.example", "--from", "x@stranger.example")
	verified, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, verified)
	}
	shows(t, "docs/journal.md", "$ signpost verify mail.eml --ip 203.0.113.9 --helo mail.stranger.example --from x@stranger.example", string(verified))

	var record *decision.Record
	runCase(t, map[string]string{
		"dns":     "mailer.example. TXT \"v=spf1 ip4:192.0.2.0/28 -all\"\n_dmarc.example.org. TXT \"v=DMARC1; p=reject\"\n",
		"session": "client 192.0.2.10\nhelo mailer.example\nfrom x@mailer.example\n",
		"message": "From: ann@example.org\r\nMessage-ID: <2@mailer.example>\r\n\r\ntext\r\n",
	}, "", func(f *filter.Filter) { wrap(f, func(r *decision.Record) { record = r }) })
	record.QueueID = "QUEUEID"
	conf := stateIn(t)
	keepReports(t, conf, time.Date(2026, 11, 25, 18, 35, 45, 0, time.UTC), record)
	var out bytes.Buffer
	if err := explainID(t.Context(), conf, "2@mailer.example", false, &out); err != nil {
		t.Fatal(err)
	}
	shows(t, "README.md", "# signpost explain 2@mailer.example", out.String())
}

// docs/observe.md shows the real output of what-if.
func TestWhatIfExample(t *testing.T) {
	conf := stateIn(t)
	conf.DMARC.Reject = policy.RejectAlways
	at := time.Date(2026, 11, 25, 18, 20, 45, 0, time.UTC)
	var all []*decision.Record
	for n := range 12 {
		var record *decision.Record
		parts := map[string]string{
			"dns": "example.com. TXT \"v=spf1 ip4:192.0.2.25 -all\"\n_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\n" +
				"lists.example. TXT \"v=spf1 ip4:203.0.113.9 -all\"\n",
			"session": "client 192.0.2.25\nhelo mail.example.com\nfrom ann@example.com\n",
			"message": "From: ann@example.com\r\n\r\ntext\r\n",
		}
		if n%4 == 3 { // sent by a list that does not sign
			parts["session"] = "client 203.0.113.9\nhelo lists.example\nfrom friends-bounces@lists.example\n"
			parts["message"] = "List-Id: <friends.lists.example>\r\nList-Post: <mailto:friends@lists.example>\r\n" + parts["message"]
		}
		runCase(t, parts, "", func(f *filter.Filter) { wrap(f, func(r *decision.Record) { record = r }) })
		record.QueueID = fmt.Sprintf("4fXyAb1Cd2z%d", n)
		all = append(all, record)
	}
	keepReports(t, conf, at, all...)
	var out bytes.Buffer
	if err := whatIf(t.Context(), conf, "/root/new/signpost.toml", whatIfOptions{}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(out.String()), shownAfter(t, "observe.md", "signpost what-if --config /root/new/signpost.toml --since 14d"); got != want {
		t.Errorf("it prints\n%s\nand docs/observe.md shows\n%s", got, want)
	}
}

// docs/lists.md shows the real output of forwarders, except for the dates.
func TestForwardersExample(t *testing.T) {
	conf := stateIn(t)
	conf.DMARC.ForwardersFile = filepath.Join(t.TempDir(), "forwarders.toml")
	keepMails(t, conf, twoMonths())
	out, err := propose(t, conf, forwardersOptions{})
	if err != nil {
		t.Fatal(err)
	}
	day := regexp.MustCompile(`\d{4}-\d\d-\d\d`)
	want := day.ReplaceAllString(shownAfter(t, "lists.md", "signpost forwarders"), "DAY")
	if got := day.ReplaceAllString(out, "DAY"); !strings.Contains(got, want+"\n") || !strings.Contains(want, "expires = DAY") {
		t.Errorf("it prints\n%s\nand docs/lists.md shows\n%s", got, want)
	}
}

// docs/install.md shows the real output of check-config, for the files on that page and for the files of a new installation.
func TestShownCheckConfig(t *testing.T) {
	dir := t.TempDir()
	minimal, err := os.ReadFile("../../dist/minimal.toml")
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "signpost.toml"), string(minimal))
	put(t, filepath.Join(dir, "conf.d", "local.toml"), shownAfter(t, "install.md", "cat /etc/signpost/conf.d/local.toml"))
	var out bytes.Buffer
	if code := run(t.Context(), []string{"check-config", "-c", filepath.Join(dir, "signpost.toml")}, &out, &out); code != 0 {
		t.Fatal(code, out.String())
	}
	if got, want := strings.TrimSpace(strings.ReplaceAll(out.String(), dir, "/etc/signpost")), shownAfter(t, "install.md", "signpost check-config"); got != want {
		t.Errorf("check-config prints\n%s\ndocs/install.md shows\n%s", got, want)
	}
}
