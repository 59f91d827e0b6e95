package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
)

// rotate --wait ends when the key signs, and prints the reason for the wait once.
func TestRotateWaits(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	begun := h.now
	out := h.must("rotate", "--wait")
	if h.signing("example.org") == "" {
		t.Error("nothing signs:", out)
	}
	// The TTL is an hour, and the wait is twice the TTL.
	if waited := h.now.Sub(begun); waited < 2*time.Hour || waited > 2*time.Hour+waitInterval {
		t.Errorf("it waited %v", waited)
	}
	if strings.Count(out, "waiting until 2026-11-24 06:15 for caches to expire") != 1 || strings.Count(out, "waiting") != 1 || !strings.Contains(out, "activated key ") {
		t.Error(out)
	}
}

// The daemon's user writes metadata files, and anyone can write DNS records. Control characters in them are not printed to the
// terminal of root.
func TestNoControls(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org")
	files, err := filepath.Glob(filepath.Join(h.dir, "state/keys/example.org/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no metadata", err)
	}
	selector := ""
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var metadata map[string]any
		if err := json.Unmarshal(text, &metadata); err != nil {
			t.Fatal(err)
		}
		const hostile = "\x1b]0;x\a\x1b[2J\u009b31m\u202e\r"
		for _, name := range []string{"record", "algorithm", "publish", "finding", "imported"} {
			old, _ := metadata[name].(string)
			metadata[name] = old + hostile
		}
		selector = metadata["selector"].(string)
		if text, err = json.Marshal(metadata); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shown := 0
	for _, args := range [][]string{{"show", "example.org", selector}, {"show", "example.org", selector, "--json"}, {"status"}, {"status", "--json"}, {"check"}, {"check", "--json"}, {"rotate"}} {
		out, _ := h.run(args...)
		shown += strings.Count(out, "?")
		if strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) {
			t.Errorf("%v: %q", args, out)
		}
	}
	if shown == 0 {
		t.Error("no command shows the text: this tests nothing")
	}
}

// With --json, standard output is valid JSON.
func TestJSON(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	key := filepath.Join(h.dir, "mine.pem")
	if out, err := exec.Command("openssl", "genpkey", "-algorithm", "ed25519", "-out", key).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	play := func(want string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		h.env.execute(t.Context(), append(append([]string{"-c", h.config}, args...), "--json"), &out, &errs)
		var v any
		if err := json.Unmarshal(out.Bytes(), &v); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q: %v, want %s in\n%s%s", args, err, want, out.String(), errs.String())
		}
	}
	play(`"state": "generated"`, "add", "example.org")
	play(`"action": "check"`, "rotate", "--dry-run")
	play("[]", "rotate")
	h.now = h.now.Add(3 * time.Hour)
	play(`"what": "activated key sp20261124"`, "rotate")
	play(`"signs": true`, "status")
	play(`"finding": "visible at all 1 name servers"`, "check")
	play(`"zone_text": "sp20261124._domainkey.example.org. 3600 IN TXT`, "show", "example.org", "sp20261124")
	play(`"what": "imported key s1 (ed25519, 256 bits)"`, "import", key, "--domain", "example.org", "--selector", "s1")
	play(`"needs_person": true`, "import", key, "--domain", "example.org", "--selector", "s2")
	play(`"what": "revoked key sp20261124"`, "revoke", "example.org", "sp20261124", "--compromised")
}

// If publish.method is manual, revoke prints the steps for the operator in order.
func TestCompromisedManual(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org", "--unsafe-activate")
	leaked := h.signing("example.org")
	show := func(selector, text string) {
		t.Helper()
		h.show("example.org", selector, text)
	}
	set, err := h.store().Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	record := set.Of("example.org")[0].Metadata.Record
	show(leaked, record)
	out, code := h.run("revoke", "example.org", leaked, "--compromised")
	first := strings.Index(out, "1. replace the TXT record at "+leaked+"._domainkey.example.org with \"v=DKIM1; k=rsa; p=\"")
	second := strings.Index(out, "2. add the record of key sp20261124b to DNS")
	if code != 1 || first < 0 || second < first || !strings.Contains(out, "3. run dkimkey rotate example.org --wait") || strings.Contains(out, "revoked key "+leaked) {
		t.Errorf("%d %s", code, out)
	}
	// Each run repeats the line until the record is replaced.
	for range 2 {
		h.now = h.now.Add(24 * time.Hour)
		if out, code := h.run("rotate"); code != 1 || !strings.Contains(out, "key "+leaked+": ns1.example.org 127.0.0.1 still has its record") {
			t.Errorf("%d %s", code, out)
		}
	}
	show(leaked, "v=DKIM1; k=rsa; p=")
	if out := h.must("rotate"); out != "" {
		t.Error(out)
	}
}
