package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/durable"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
	"signpost/internal/report/summary"
	"signpost/internal/testreports"
)

// receivedArchive is an archive with the reports of testreports, which hosts example.org and example.com.
func receivedArchive(t *testing.T, evil string) *archive {
	t.Helper()
	a := newArchive(t)
	put(t, a.file, fmt.Sprintf("state_dir = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\ntimeout = \"100ms\"\n[reports.receive]\nnetworks = [\"192.0.2.0/28\"]\nknown_sources = [\"203.0.113.0/24\"]\n", a.dir))
	for _, name := range []string{"example.org", "example.com"} {
		if err := os.MkdirAll(filepath.Join(a.dir, "hosted", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	conf, err := config.Load(a.file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := received.Open(t.Context(), conf.ReceivedFile(), true, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	testreports.Fill(t, s, time.Now(), evil)
	if err := os.Mkdir(filepath.Dir(conf.ReceivedStatus()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (status.Received{Alarms: testreports.Alarms(time.Now(), evil)}).Write(durable.Tree{conf.StateDir}, conf.ReceivedStatus(), conf.ReportsDir()); err != nil {
		t.Fatal(err)
	}
	return a
}

// Without reports, and with wrong arguments, the command states what is wrong.
func TestReceivedWrong(t *testing.T) {
	a := newArchive(t)
	put(t, a.file, fmt.Sprintf("state_dir = %q\n", a.dir))
	if code, _, stderr := a.run("reports", "received"); code != 1 || !strings.Contains(stderr, "no report was received yet") || !strings.Contains(stderr, "hint: signpost reports discover") {
		t.Errorf("%d %s", code, stderr)
	}
	a = receivedArchive(t, "")
	for args, want := range map[string]struct {
		text string
		code int
	}{
		"--csv": {"--csv requires DOMAIN", 2}, "example.org --report 1": {"only one of", 2}, "example.org --csv --json": {"only one of", 2},
		"--since x": {"is not a time", 2}, "exa_mple..org": {"domain name", 2}, "--report none": {"no such report", 1},
	} {
		if code, _, stderr := a.run(append([]string{"reports", "received"}, strings.Fields(args)...)...); code != want.code || !strings.Contains(stderr, want.text) {
			t.Errorf("%s: %d %s", args, code, stderr)
		}
	}
}

func TestReceived(t *testing.T) {
	a := receivedArchive(t, "")
	run := func(args ...string) string {
		t.Helper()
		code, out, stderr := a.run(append([]string{"reports", "received"}, args...)...)
		if code != 0 || stderr != "" {
			t.Errorf("%q: %d %s", args, code, stderr)
		}
		return out
	}
	for args, want := range map[string][]string{
		"":                                 {"example.org", "unknown_source", "silent.example", "not hosted here: 2"},
		"example.org --no-dns":             {"192.0.2.1", "own", "trusted", "unknown_source", "453 of 7263 messages", "this is your mail"},
		"Example.ORG. --no-dns --since 7d": {"google.com", "certificate-expired"},
		"example.com --no-dns":             {"messages: 0", "TLS sessions: 210", "no trusted reporter"},
		"--report tls-1":                   {"google.com about example.org", "certificate-expired"},
	} {
		out := run(strings.Fields(args)...)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%q: no %q in\n%s", args, w, out)
			}
		}
	}
	var about received.About
	if err := json.Unmarshal([]byte(run("example.org", "--json", "--no-dns")), &about); err != nil || about.Count != 38 || len(about.Most) != 38 || about.Cost.Failed != 453 || len(about.Alarms) != 4 || about.Most[1].Owner != received.Own {
		t.Errorf("%+v, %v", about, err)
	}
	var over summary.Overview
	if err := json.Unmarshal([]byte(run("--json")), &over); err != nil || len(over.Alarms) != 5 {
		t.Errorf("%+v, %v", over, err)
	}
	var found []received.Stored
	if err := json.Unmarshal([]byte(run("--report", "1", "--json")), &found); err != nil || len(found) != 1 || len(found[0].Rows) == 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if out := run("example.net", "--json", "--no-dns"); strings.Contains(out, "null") {
		t.Errorf("null in %s", out)
	}
	rows, err := csv.NewReader(strings.NewReader(run("example.org", "--csv", "--no-dns"))).ReadAll()
	if err != nil || len(rows) != 39 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// The names of sources are looked up in the time of reverseTime, also if no DNS server answers.
func TestReceivedWithoutDNS(t *testing.T) {
	a := receivedArchive(t, "")
	begun := time.Now()
	if code, out, stderr := a.run("reports", "received", "example.org"); code != 0 || !strings.Contains(out, "192.0.2.1") {
		t.Errorf("%d %s", code, stderr)
	}
	if took := time.Since(begun); took > reverseTime+10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// Texts from reports do not control the terminal.
func TestReceivedHostile(t *testing.T) {
	a := receivedArchive(t, "\x1b[2J\u202e")
	for _, args := range []string{"", "example.org --no-dns", "--report 1", "example.org --csv --no-dns", "example.org --json --no-dns", "--report 1 --json"} {
		code, out, stderr := a.run(append([]string{"reports", "received"}, strings.Fields(args)...)...)
		if code != 0 || strings.ContainsAny(out+stderr, "\x1b\u202e") {
			t.Errorf("%q: %d %q %s", args, code, out, stderr)
		}
	}
}
