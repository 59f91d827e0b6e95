package main

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const receivedSamples = "../../internal/report/read/testdata/"

func receivedSample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(receivedSamples + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// reports import stores the reports of files, messages, an mbox and a Maildir once, as not verified, and states what it could not read.
func TestReportsImport(t *testing.T) {
	a := newArchive(t)
	box, maildir := filepath.Join(a.dir, "box"), filepath.Join(a.dir, "mail")
	other := "From: ann@example.com\nSubject: lunch\n\nhello\n"
	put(t, box, "From a b\n"+receivedSample(t, "fastmail.eml")+"\nFrom a b\n"+other+"\nFrom a b\nSubject: x\n\n<feedback>\n\nFrom a b\n"+receivedSample(t, "failure.eml"))
	for _, dir := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(maildir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(maildir, "new", "1.host"), receivedSample(t, "outlook.eml"))
	put(t, filepath.Join(maildir, "cur", "2.host:2,S"), receivedSample(t, "google-tls.eml"))
	put(t, filepath.Join(maildir, "cur", "3.host:2,S"), other)
	put(t, filepath.Join(maildir, "tmp", "4.host"), receivedSample(t, "yahoo.eml"))
	lunch := filepath.Join(a.dir, "lunch.eml")
	put(t, lunch, other)

	code, out, stderr := a.run("reports", "import", receivedSamples+"gmx.xml", receivedSamples+"seznam.xml.gz", receivedSamples+"google.eml", maildir)
	if code != 0 || stderr != "" || out != "imported: 5, stored before: 0, failure reports: 0, other messages: 1, not readable: 0\n" {
		t.Errorf("%d %s%s", code, out, stderr)
	}
	code, out, stderr = a.run("reports", "import", receivedSamples+"gmx.xml", box, lunch, filepath.Join(a.dir, "none"), filepath.Join(maildir, "tmp"))
	for _, want := range []string{
		"signpost: reports import: " + box + ": message 3: line 3: malformed: not well-formed XML\n",
		"signpost: reports import: " + lunch + ": not a report\n",
		"signpost: reports import: " + filepath.Join(a.dir, "none") + ": no such file or directory\n",
		"signpost: reports import: " + filepath.Join(maildir, "tmp") + ": not a Maildir: it has no directory new or cur\n",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in\n%s", want, stderr)
		}
	}
	if code != 1 || out != "imported: 1, stored before: 1, failure reports: 1, other messages: 1, not readable: 4\n" {
		t.Errorf("%d %s%s", code, out, stderr)
	}
	code, out, _ = a.run("reports", "import", "--json", box)
	for _, want := range []string{`"imported": 0`, `"duplicates": 1`, `"failure_reports": 1`, `"other_messages": 1`, `"message": 3`, `"cause": "malformed"`} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("%d, no %s in %s", code, want, out)
		}
	}

	db, err := sql.Open("sqlite", filepath.Join(a.dir, "reports", "received.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var reports, verified, messages int
	var reporters string
	if err := db.QueryRow("SELECT count(*), sum(verified), sum(messages), group_concat(reporter, ' ' ORDER BY reporter) FROM report").Scan(&reports, &verified, &messages, &reporters); err != nil {
		t.Fatal(err)
	}
	if reports != 6 || verified != 0 || messages != 123+1+46+7+3 || reporters != "fastmail.example google.example google.example microsoft.example seznam.example sicher.gmx.example" {
		t.Error(reports, verified, messages, reporters)
	}
}

// FILE - is standard input.
func TestReportsImportStandardInput(t *testing.T) {
	a := newArchive(t)
	c := newRoot()
	var out bytes.Buffer
	c.SetIn(strings.NewReader(receivedSample(t, "gateway.eml")))
	c.SetOut(&out)
	c.SetArgs([]string{"-c", a.file, "reports", "import", "-"})
	if err := c.ExecuteContext(t.Context()); err != nil || !strings.HasPrefix(out.String(), "imported: 1,") {
		t.Error(err, out.String())
	}
}
