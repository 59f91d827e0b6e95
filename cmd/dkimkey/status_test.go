package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

// status runs status with text and with JSON output. Both have the same exit code and standard error.
func (h *house) status() (table, actions string, all []keyStatus, code int) {
	h.Helper()
	var out, errs, jsonOut, jsonErrs bytes.Buffer
	code = h.env.execute(h.Context(), []string{"-c", h.config, "status"}, &out, &errs)
	if again := h.env.execute(h.Context(), []string{"-c", h.config, "status", "--json"}, &jsonOut, &jsonErrs); again != code || jsonErrs.String() != errs.String() {
		h.Errorf("--json: exit code %d, not %d\n%s\nnot\n%s", again, code, &jsonErrs, &errs)
	}
	if err := json.Unmarshal(jsonOut.Bytes(), &all); err != nil {
		h.Fatal(err)
	}
	if both := out.String() + jsonOut.String(); strings.Contains(both, "0001-01-01") || strings.Contains(out.String(), "  0") || strings.Contains(both, `"bits": 0`) {
		h.Errorf("a zero time or an algorithm without a name:\n%s", both)
	}
	if (code == 1) != (errs.Len() > 0) || code > 1 {
		h.Errorf("exit code %d with %q", code, &errs)
	}
	return out.String(), errs.String(), all, code
}

// placed writes files to the keys directory.
func (h *house) placed(files map[string]string) {
	h.Helper()
	for name, text := range files {
		path := filepath.Join(h.dir, "state/keys", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			h.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			h.Fatal(err)
		}
	}
}

// In every state of a rotation, the exit code is 0 and standard error is empty if no action is needed.
func TestStatusQuiet(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("rotates for 160 days")
	}
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	seen := map[keys.State]bool{}
	for range 160 {
		h.days(1)
		table, actions, all, code := h.status()
		if code != 0 {
			t.Fatalf("%s%s", table, actions)
		}
		for _, k := range all {
			seen[k.State] = true
		}
	}
	if !seen[keys.Retiring] || !seen[keys.Revoked] || !seen[keys.Removed] {
		t.Errorf("the test does not see a whole rotation: %v", seen)
	}
}

// A retiring key keeps its record while no key signs, and status reports it.
func TestStatusRetiringAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	for !strings.Contains(h.must("status"), " retiring ") {
		h.days(1)
	}
	for range 2 { // at the second revocation, no other key may sign yet
		h.must("revoke", "example.org", h.signing("example.org"), "--compromised")
	}
	table, actions, all, code := h.status()
	if code != 1 || !regexp.MustCompile(`retiring .* its record stays until another key signs\n`).MatchString(table) ||
		!strings.Contains(actions, "example.org: no active key for a hosted domain: sign.on_missing_key applies to its mail; dkimkey rotate example.org --wait\n") {
		t.Errorf("%d %s%s", code, table, actions)
	}
	if last := all[len(all)-1]; last.Domain != "example.org" || last.Selector != "" || !strings.HasPrefix(last.ActionNeeded, "no active key for a hosted domain") {
		t.Errorf("%+v", last)
	}
}

// Action is needed for a compromised key whose record cannot be emptied.
func TestStatusCompromised(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(3)
	leaked := h.signing("example.org")
	h.dns.Fail(errors.New("NOTAUTH"))
	h.run("revoke", "example.org", leaked, "--compromised")
	table, actions, _, code := h.status()
	if code != 1 || !strings.Contains(table, "compromised; rotate revokes its record immediately") ||
		!strings.Contains(actions, "example.org: key "+leaked+": compromised, but its record is still in DNS: run dkimkey rotate example.org\n") {
		t.Errorf("%d %s%s", code, table, actions)
	}
}

// Unusable files are reported with a remedy. A key that never signed is not active.
func TestStatusUnusable(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org", "--selector", "lost")
	h.must("add", "example.org", "--selector", "torn")
	if err := os.Remove(filepath.Join(h.dir, "state/keys/example.org/lost.pem")); err != nil {
		t.Fatal(err)
	}
	h.placed(map[string]string{"example.org/torn.json": "{", "a.example/hand.pem": "no key", "a.example/two words.pem": "no key",
		"b.example/mail.private": "any", "b.example/mail.txt": "any", "mail.private": "any"})
	table, actions, all, code := h.status()
	dir := filepath.Join(h.dir, "state/keys")
	for _, want := range []string{
		"a.example: key hand: cannot be used: " + dir + "/a.example/hand.pem: ",
		"a.example: key two words: cannot be used: ",
		"b.example: key mail: " + dir + "/b.example/mail.private: this is OpenDKIM's file name; rename it to mail.pem with mode 0600, or run dkimkey import " + dir + "/b.example/mail.private --domain b.example --selector mail\n",
		"example.org: key torn: cannot be used: ",
		dir + "/mail.private: key file is outside of a domain's directory and is not used; move it to " + dir + "/DOMAIN/SELECTOR.pem\n",
	} {
		if strings.Count(actions, want) != 1 {
			t.Errorf("no %q in\n%s", want, actions)
		}
	}
	if code != 1 || strings.Contains(table, " active ") {
		t.Errorf("%d\n%s", code, table)
	}
	for _, k := range all {
		if (k.Error == "") != (k.ActionNeeded == "") || k.Error != "" && k.State != keys.Unusable {
			t.Errorf("%+v", k)
		}
	}
	// rotate creates no key if the domain has a file that must be renamed.
	h.run("rotate")
	if files, err := filepath.Glob(filepath.Join(dir, "b.example/*.pem")); err != nil || len(files) > 0 {
		t.Errorf("%v %v", files, err)
	}
}

// A key is shown as unsafe until its record is found.
func TestStatusUnsafe(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org", "--selector", "s", "--unsafe-activate")
	table, actions, all, code := h.status()
	if code != 1 || !strings.Contains(table, " active (unsafe) ") || !all[0].Unsafe ||
		!strings.Contains(actions, "example.org: key s: signs, but its record was never found in DNS: publish it (dkimkey show example.org s), then run dkimkey rotate example.org\n") {
		t.Errorf("%d %s%s", code, table, actions)
	}
	path := filepath.Join(h.dir, "state/keys/example.org/s.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(`{`), []byte(`{"seen": "2026-11-24T05:00:00Z",`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if table, actions, all, code := h.status(); code != 0 || strings.Contains(table, "unsafe") || !all[0].Unsafe {
		t.Errorf("%d %s%s", code, table, actions)
	}
}

// Action is needed if a record is not published or emptied in time, or if rotate does not run.
func TestStatusOverdue(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org", "--selector", "s")
	expect := func(want string) {
		t.Helper()
		if table, actions, _, _ := h.status(); want == "" && actions != "" || !strings.Contains(actions, want) {
			t.Errorf("want %q: %s%s", want, table, actions)
		}
	}
	h.now = h.now.Add(7 * day)
	expect("")
	h.now = h.now.Add(time.Minute)
	expect("example.org: key s: waiting for its record since 2026-11-24: dkimkey show example.org s prints the record to publish; see dkimkey check example.org\n")
	h.run("rotate")
	expect("(last check: ")
	set, err := h.store().Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	record := set.Of("example.org")[0].Metadata.Record
	h.show("example.org", "s", record)
	h.must("rotate")
	h.now = h.now.Add(2 * day)
	expect("")
	h.now = h.now.Add(day)
	expect("example.org: key s: not activated, although it may sign since 2026-12-01 05:16: run dkimkey rotate daily")
	h.must("rotate")
	expect("")
	h.run("revoke", "example.org", "s", "--compromised")
	expect("example.org: key s: revoked, but its record is not confirmed to be empty: replace it with \"v=DKIM1; k=rsa; p=\", then run dkimkey rotate example.org\n")
	h.show("example.org", "s", "v=DKIM1; k=rsa; p=")
	h.run("rotate")
	if _, actions, _, _ := h.status(); strings.Contains(actions, "key s:") {
		t.Error(actions)
	}
}

// status accepts domains as arguments. An unknown domain is an error.
func TestStatusOfDomain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org")
	h.must("add", "example.net", "--unsafe-activate")
	h.placed(map[string]string{"mail.private": "any"})
	if out := h.must("status", "Example.org"); !strings.Contains(out, "\nexample.org ") || strings.Contains(out, "example.net") {
		t.Error(out)
	}
	if out, code := h.run("status", "example.org", "example.net"); code != 1 || !strings.Contains(out, "\nexample.org ") || !strings.Contains(out, "\nexample.net: key ") {
		t.Errorf("%d %s", code, out)
	}
	if out, code := h.run("status", "example.com"); code != 1 || out != "dkimkey: status: example.com: no such domain\nhint: dkimkey status shows all domains with keys\n" {
		t.Errorf("%d %s", code, out)
	}
}

// The text about an unusable key consists of the error and the advice, whatever words the error contains.
func TestUnusable(t *testing.T) {
	t.Parallel()
	torn := errors.New("mail.pem: unexpected end; correct the file")
	for _, c := range []struct {
		key                  keys.Key
		advice, next, action string
	}{
		{keys.Key{Err: torn}, "move it", "cannot be used: mail.pem: unexpected end; correct the file", "cannot be used: mail.pem: unexpected end; correct the file; move it"},
		{keys.Key{Err: fs.ErrPermission}, "", "cannot be used: permission denied", "cannot be used: permission denied"},
		{keys.Key{Err: torn, Foreign: true}, "", "cannot be used: mail.pem: unexpected end; correct the file", "mail.pem: unexpected end; correct the file"},
	} {
		if next, action := unusable(keys.Status{Key: &c.key, Action: c.advice}); next != c.next || action != c.action {
			t.Errorf("%q, %q", next, action)
		}
	}
}
