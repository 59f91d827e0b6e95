package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"signpost/internal/decision"
	"signpost/policy"
)

// signpost journal forget deletes the messages of one address, and no others. The command names the files that it does not search.
func TestForgetCommand(t *testing.T) {
	a := newArchive(t)
	var all []*decision.Record
	for i, login := range []string{"ann@example.org", "bob@example.org", "ann@example.org", "joann@example.org", "Carol"} {
		r := &decision.Record{Version: decision.Version, Code: policy.DMARCPass, Verdict: policy.Verdict{Action: policy.Accept}}
		r.QueueID, r.Login = fmt.Sprintf("4fXy%d", i), login
		all = append(all, r)
	}
	a.keep(all...)
	const note = "signpost: journal.addresses = \"omit\": the journal keeps no local part of an address; Message-IDs are kept as they are\n"
	for _, c := range []struct{ args, stdout, stderr string }{
		{"ann@example.org --dry-run", "2 messages would be deleted\n", note},
		{"<Ann@Example.org>", "2 messages deleted\n", note},
		{"ann@example.org", "0 messages deleted\n", note},
		{"carol", "1 message deleted\n", note},
	} {
		code, stdout, stderr := a.run(append([]string{"journal", "forget"}, strings.Fields(c.args)...)...)
		if code != 0 || stdout != c.stdout || stderr != c.stderr {
			t.Errorf("%s: exit code %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
	if _, stdout, _ := a.run("log"); len(queueIDs(stdout)) != 2 {
		t.Errorf("these are left:\n%s", stdout)
	}
	for _, wrong := range []string{"", "<>", "@example.org", "ann@", "ann smith@example.org"} {
		if code, _, stderr := a.run("journal", "forget", wrong); code != 2 || stderr != fmt.Sprintf("signpost: %q is not an address or a login\n", wrong) {
			t.Errorf("%q: exit code %d\n%s", wrong, code, stderr)
		}
	}
	if err := os.WriteFile(a.file, fmt.Appendf(nil, "state_dir = %q\n[journal]\naddresses = \"full\"\n", a.dir), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.journal()+".broken", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := a.run("journal", "forget", "ann@example.org"); code != 0 || stderr != "signpost: not searched: "+a.journal()+".broken: a damaged journal\nhint: delete this file\n" {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}
