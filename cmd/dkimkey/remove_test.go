package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// remove reports which key signs the mail of a domain after its removal. It applies the same rules as the daemon.
func TestRemove(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sign, want string }{
		{"", "b.example.org: no longer hosted; its mail is now signed with the key of example.org (d=example.org)\n"},
		{"domains = [\"example.org\"]\n", "its mail is now signed with the key of example.org"},
		{"subdomains = false\n", "b.example.org: no longer hosted; its mail is sent unsigned, because b.example.org is below a hosted domain (sign.subdomains = false)\n"},
		{"domains = [\"b.example.org\"]\n", "b.example.org: no longer hosted; its mail is sent unsigned, because b.example.org is not in sign.domains\n"},
	} {
		h := newHouse(t, map[string]string{"example.org.": exampleZone}, "[sign]\n"+c.sign)
		h.must("add", "example.org", "--unsafe-activate")
		h.must("add", "b.example.org", "--unsafe-activate", "--selector", "s")
		out := h.must("remove", "b.example.org", "--yes")
		if !strings.Contains(out, c.want) || !strings.Contains(out, "b.example.org: key s deleted; keep its record s._domainkey.b.example.org in DNS") {
			t.Errorf("[sign] %s: %s", c.sign, out)
		}
		if out := h.must("remove", "example.org", "--yes"); !strings.Contains(out, "example.org: no longer hosted; its mail is sent unsigned, because ") {
			t.Errorf("[sign] %s: %s", c.sign, out)
		}
	}
}

// The parent domain has no active key, so the mail of the removed domain is deferred as well.
func TestRemoveBelowMissingKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org", "--unsafe-activate")
	h.must("add", "b.example.org", "--unsafe-activate")
	h.run("revoke", "example.org", h.signing("example.org"), "--compromised")
	if out := h.must("remove", "b.example.org", "--yes"); !strings.Contains(out, "must now be signed by example.org, which has no active key: sign.on_missing_key applies") {
		t.Error(out)
	}
}

// An unknown domain is an error, and the other domains are removed.
func TestRemoveUnknown(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org", "--unsafe-activate")
	h.must("add", "example.net", "--unsafe-activate")
	if out, code := h.run("remove", "example.com", "--yes"); code != 1 || !strings.Contains(out, "dkimkey: remove: example.com: no such domain\nhint: dkimkey status shows all domains with keys\n") || strings.Contains(out, "hosted") {
		t.Errorf("%d %s", code, out)
	}
	out, code := h.run("remove", "example.org", "example.com", "example.net", "--yes")
	if code != 1 || !strings.Contains(out, "example.com: no such domain") || strings.Count(out, "no longer hosted") != 2 {
		t.Errorf("%d %s", code, out)
	}
	if left, err := os.ReadDir(filepath.Join(h.dir, "state/hosted")); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
	if out, code := h.run("remove", "--yes"); code != 2 || !strings.Contains(out, "dkimkey: remove: DOMAIN... required\n") {
		t.Errorf("%d %s", code, out)
	}
}

// A file that dkimkey did not write is kept. The domain is no longer hosted.
func TestRemoveKeepsOtherFiles(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org", "--unsafe-activate")
	h.placed(map[string]string{"example.org/mail.private": "any"})
	if err := os.Mkdir(filepath.Join(h.dir, "state/keys/example.org/z.pem"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out := h.must("remove", "example.org", "--yes"); !strings.Contains(out, "state/keys/example.org is kept, because it contains other files") || strings.Contains(out, "key mail") || strings.Contains(out, "key z") {
		t.Error(out)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "state/hosted/example.org")); err == nil {
		t.Error("the domain is still hosted")
	}
	if _, err := os.Stat(filepath.Join(h.dir, "state/keys/example.org/mail.private")); err != nil {
		t.Error(err)
	}
	// A domain whose directory has only a key file of OpenDKIM can be removed too.
	h.must("remove", "example.org", "--yes")
}

// status and remove report a directory or file whose name is in upper case, and print a remedy. remove deletes the file. File names cannot
// add line breaks to the output.
func TestRemoveMisnamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.placed(map[string]string{"A.example.org/m.pem": "any", "b.example.org/Mail.pem": "any", "b.example.org/x\ny.pem": "any"})
	keysDir := filepath.Join(h.dir, "state/keys")
	out, code := h.run("status")
	for _, want := range []string{
		"a.example.org: cannot be used: " + keysDir + "/A.example.org: rename it to lower case: a.example.org; ",
		"b.example.org: key Mail: cannot be used: " + keysDir + "/b.example.org/Mail.pem: rename it to lower case: mail.pem; ",
	} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("%d %s", code, out)
		}
	}
	if out, code := h.run("remove", "a.example.org", "--yes"); code != 1 || !strings.Contains(out, "a.example.org: "+keysDir+"/A.example.org: rename it to lower case: a.example.org\n") {
		t.Errorf("%d %s", code, out)
	}
	if out := h.must("remove", "b.example.org", "--yes"); !strings.Contains(out, "b.example.org: key Mail deleted;") || !strings.Contains(out, "b.example.org: key x?y deleted;") {
		t.Error(out)
	}
	if _, err := os.Stat(filepath.Join(keysDir, "b.example.org")); err == nil {
		t.Error("its directory is still there")
	}
}

// Domain arguments may have a final dot, as in a zone file, and selectors are case-insensitive.
func TestNamesAsInZoneFiles(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org", "--selector", "mail")
	for _, args := range [][]string{{"show", "Example.org.", "MAIL"}, {"status", "example.org."}, {"check", "example.org."}, {"rotate", "example.org.", "--dry-run"}} {
		if out, code := h.run(args...); code != 0 {
			t.Errorf("%q: %d %s", args, code, out)
		}
	}
	if out, code := h.run("revoke", "example.org.", "Mail", "--compromised"); code > 1 || strings.Contains(out, "has no key") {
		t.Errorf("%d %s", code, out)
	}
	if out, code := h.run("show", "example.org..", "mail"); code != 2 || !strings.Contains(out, "not a domain name") {
		t.Errorf("%d %s", code, out)
	}
	h.must("remove", "example.org.", "--yes")
}
