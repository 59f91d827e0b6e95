package main

import (
	"database/sql"
	"strings"
	"testing"
)

// A damaged entry is omitted, with a message. All other entries are shown.
func TestUnreadEntry(t *testing.T) {
	a := newArchive(t)
	a.keep(caseReports(t, "forged", "legitimate", "list-id")...)
	db, err := sql.Open("sqlite", a.journal())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE message_1 SET entry = x'00' WHERE id = (SELECT id FROM message_1 ORDER BY id LIMIT 1 OFFSET 1)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	const why = "entries of the journal cannot be read and were omitted: 1"
	for _, c := range []struct{ args, want, not string }{
		{"log", " list-id ", " legitimate "},
		{"log --json", `"list-id"`, `"legitimate"`},
		{"explain list-id", "DMARC        fail", why},
		{"explain legitimate", "", "action"},
		{"what-if", "2 messages from", "3 messages"},
	} {
		code, out, stderr := a.run(strings.Fields(c.args)...)
		damaged := c.not != why
		if !strings.Contains(out, c.want) || strings.Contains(out, c.not) || strings.Contains(stderr, why) != damaged || (code != 0) != damaged {
			t.Errorf("%s: %d\n%s%s", c.args, code, out, stderr)
		}
	}
}
