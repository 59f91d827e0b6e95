package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

func TestCompromisedWhileLocked(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for a lock")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root takes a lock over")
	}
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(3)
	leaked := h.signing("example.org")
	unlock, err := h.store().TryLock("example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	h.must("revoke", "example.org", leaked, "--compromised")
	if now := h.signing("example.org"); now == leaked {
		t.Errorf("%s still signs", leaked)
	}
}

func TestCompromised(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(3)
	leaked := h.signing("example.org")
	if out, code := h.run("revoke", "example.org", leaked); code != 2 || !strings.Contains(out, "--compromised") {
		t.Errorf("%d %s", code, out)
	}
	h.must("revoke", "example.org", leaked, "--compromised")
	if txt, err := h.txt(keys.RecordName("example.org", leaked)); err != nil || len(txt) != 1 || !strings.HasSuffix(txt[0], "p=") {
		t.Errorf("DNS has %q %v", txt, err)
	}
	if got := h.signing("example.org"); got == "" || got == leaked {
		t.Errorf("%q signs", got)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "state", "keys", "example.org", leaked+".pem")); err == nil {
		t.Error("its private key is still there")
	}
	// The key is revoked immediately. No standby has been visible for long enough, so mail is deferred.
	second := h.signing("example.org")
	if out := h.must("revoke", "example.org", second, "--compromised"); !strings.Contains(out, "no standby key: sign.on_missing_key applies") {
		t.Error(out)
	}
	if got := h.signing("example.org"); got != "" {
		t.Errorf("%q signs unseen", got)
	}
	h.must("rotate")
	h.now = h.now.Add(121 * time.Minute)
	h.must("rotate")
	third := h.signing("example.org")
	if third == "" {
		t.Fatal(h.must("status"))
	}
	if _, err := os.Stat(filepath.Join(h.dir, "state", "hosted", "example.org")); err != nil {
		t.Error(err)
	}
	if out := h.must("revoke", "example.org", third, "--compromised", "--sign-nothing"); !strings.Contains(out, "mail is sent unsigned until") {
		t.Error(out)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "state", "hosted", "example.org")); err == nil {
		t.Error("mail is deferred in spite of --sign-nothing")
	}
}

func TestCompromisedPublisherFails(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(3)
	leaked := h.signing("example.org")
	h.dns.Fail(errors.New("the provider is away"))
	out, code := h.run("revoke", "example.org", leaked, "--compromised")
	if code != 1 || !strings.Contains(out, "the provider is away") {
		t.Errorf("%d %s", code, out)
	}
	if got := h.signing("example.org"); got == "" || got == leaked {
		t.Errorf("%q signs", got)
	}
	h.dns.Fail(nil)
	h.must("rotate")
	if txt, err := h.txt(keys.RecordName("example.org", leaked)); err != nil || len(txt) != 1 || !strings.HasSuffix(txt[0], "p=") {
		t.Errorf("DNS has %q %v", txt, err)
	}
}

func TestCompromisedBesideStuckKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone + "taken._domainkey IN TXT \"v=DKIM1; p=\"\n"}, rfc2136)
	h.must("add", "example.org")
	h.days(3)
	leaked := h.signing("example.org")
	if out, code := h.run("add", "example.org", "--selector", "taken"); code != 1 || !strings.Contains(out, "already has another TXT record") {
		t.Errorf("%d %s", code, out)
	}
	out, code := h.run("revoke", "example.org", leaked, "--compromised")
	if code != 1 || !strings.Contains(out, "taken._domainkey.example.org already has another TXT record") {
		t.Errorf("%d %s", code, out)
	}
	if got := h.signing("example.org"); got == "" || got == leaked {
		t.Errorf("%q signs: %s", got, out)
	}
	if txt, err := h.txt(keys.RecordName("example.org", leaked)); err != nil || len(txt) != 1 || !strings.HasSuffix(txt[0], "p=") {
		t.Errorf("DNS has %q %v for the leaked key", txt, err)
	}
}
