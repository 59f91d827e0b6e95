package main

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/dkim"
	"signpost/keys"
)

// ticking makes the clock advance a little each time it is read, as a real clock does.
func (h *house) ticking() {
	h.env.now = func() time.Time {
		h.now = h.now.Add(time.Microsecond)
		return h.now
	}
}

// foreign writes an RSA key as another program would. It returns the path of the key file, and the key's record.
func (h *house) foreign(name string) (file, record string) {
	h.Helper()
	key, err := h.env.newRSA(2048)
	if err != nil {
		h.Fatal(err)
	}
	h.write(name, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})), 0o600)
	if record, err = dkim.FormatKeyRecord(key.Public()); err != nil {
		h.Fatal(err)
	}
	return filepath.Join(h.dir, name), record
}

// show adds the TXT record of a key to the zone. Record "" removes it.
func (h *house) show(domain, selector, record string) {
	h.Helper()
	h.showFor(domain, selector, record, 5*time.Minute)
}

// showFor is like show, with a TTL.
func (h *house) showFor(domain, selector, record string, ttl time.Duration) {
	h.Helper()
	var texts []string
	if record != "" {
		texts = []string{record}
	}
	h.dns.Set(keys.RecordName(domain, selector), ttl, texts...)
}

func (h *house) hosts(domain string) bool {
	_, err := os.Stat(filepath.Join(h.dir, "state", "hosted", domain))
	return err == nil
}

// rotates runs rotate n times at intervals of step. Exit code 1 (action needed) is allowed.
func (h *house) rotates(n int, step time.Duration) (out string) {
	h.Helper()
	for range n {
		said, code := h.run("rotate")
		if code > 1 {
			h.Fatal(code, said)
		}
		out += said
		h.now = h.now.Add(step)
	}
	return out
}

// An imported key signs, and its domain becomes hosted, only after its record has been visible for a while. In that time, older answers
// expire from caches.
func TestImportWaits(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	file, record := h.foreign("mail.private")
	h.show("example.org", "mail", record)
	out := h.must("import", file, "--domain", "example.org", "--selector", "mail")
	if !strings.Contains(out, `key mail: its record is visible at all name servers; it signs from 2026-11-24 05:15: run "dkimkey rotate example.org --wait"`) {
		t.Error(out)
	}
	h.now = h.now.Add(59 * time.Minute)
	h.must("rotate")
	if got := h.signing("example.org"); got != "" || h.hosts("example.org") {
		t.Errorf("%q signs before the hour is over, hosted %v", got, h.hosts("example.org"))
	}
	h.now = h.now.Add(2 * time.Minute)
	h.must("rotate")
	if got := h.signing("example.org"); got != "mail" || !h.hosts("example.org") {
		t.Errorf("%q signs, hosted %v", got, h.hosts("example.org"))
	}
	// The key then rotates like any other.
	h.days(95)
	if got := h.signing("example.org"); got == "mail" || got == "" || h.state("example.org")["mail"] != keys.Retiring {
		t.Errorf("%q signs: %v", got, h.state("example.org"))
	}
}

// An imported key does not sign if its record is missing or belongs to another key. In that case, rotate reminds the operator, but
// never publishes the record. The previous key continues to sign.
func TestImportUnseen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, wrong, says string }{
		{"missing", "", "no TXT record"},
		{"of another key", "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB", "the record belongs to another key"},
	} {
		for _, beside := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
				if beside {
					h.must("add", "example.org")
					h.days(3)
				}
				before := ""
				if beside {
					before = h.signing("example.org")
				}
				file, record := h.foreign("mail.private")
				h.show("example.org", "mail", c.wrong)
				out, code := h.run("import", file, "--domain", "example.org", "--selector", "mail")
				if code != 1 || !strings.Contains(out, "key mail: its record is not visible in DNS: ") || !strings.Contains(out, c.says) || !strings.Contains(out, "the key does not sign until it is") {
					t.Errorf("%d %s", code, out)
				}
				said := h.rotates(5, 24*time.Hour)
				if got := h.signing("example.org"); got != before || h.state("example.org")["mail"] != keys.Published {
					t.Errorf("%q signs, before %q: %v", got, before, h.state("example.org"))
				}
				if strings.Count(said, "key mail: its record is still not in DNS") < 3 || !strings.Contains(said, "rotate does not publish the records of imported keys") || !strings.Contains(said, "mail._domainkey.example.org. 3600 IN TXT (") {
					t.Errorf("the operator is not reminded: %s", said)
				}
				if txt, err := h.txt("mail._domainkey.example.org"); err != nil || strings.Join(txt, "") != c.wrong {
					t.Errorf("rotate changed the record: %q %v", txt, err)
				}
				h.show("example.org", "mail", record)
				h.rotates(2, 3*time.Hour)
				if want := map[bool]string{false: "mail", true: before}[beside]; h.signing("example.org") != want {
					t.Errorf("with its record in DNS %q signs, want %q", h.signing("example.org"), want)
				}
				if !beside {
					return
				}
				if out := h.must("status"); !strings.Contains(out, "its successor takes over on") {
					t.Error(out)
				}
				h.must("rotate", "example.org", "--now")
				if h.signing("example.org") != "mail" {
					t.Errorf("%q signs after rotate --now: %s", h.signing("example.org"), h.must("status"))
				}
			})
		}
	}
}

// The record at the selector of an imported key may belong to another key. Such a record is kept when the imported key is revoked and
// removed. If the record belongs to the imported key, the record is emptied.
func TestImportRevoked(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(3)
	file, record := h.foreign("mail.private")
	_, other := h.foreign("other.private")
	h.show("example.org", "other", other)
	for _, selector := range []string{"other", "mail"} {
		if out, code := h.run("import", file, "--domain", "example.org", "--selector", selector); code != 1 {
			t.Error(out)
		}
	}
	h.show("example.org", "mail", record)
	for _, selector := range []string{"other", "mail"} {
		h.must("revoke", "example.org", selector, "--compromised")
	}
	if txt, err := h.txt("mail._domainkey.example.org"); err != nil || len(txt) != 1 || !strings.HasSuffix(txt[0], "p=") {
		t.Errorf("the record of the leaked key: %q %v", txt, err)
	}
	out := h.rotates(40, 24*time.Hour)
	if !strings.Contains(out, "kept the record at selector other") || strings.Contains(out, "removed the record of key other\n") || !strings.Contains(out, "removed the record of key mail\n") {
		t.Error(out)
	}
	if got := h.state("example.org"); got["other"] != keys.Removed || got["mail"] != keys.Removed {
		t.Error(got)
	}
	if txt, err := h.txt("other._domainkey.example.org"); err != nil || strings.Join(txt, "") != other {
		t.Errorf("the record of another key is now %q %v", txt, err)
	}
	if txt, err := h.txt("mail._domainkey.example.org"); err != nil || len(txt) != 0 {
		t.Errorf("its own record is left: %q %v", txt, err)
	}
}

// With --unsafe-activate, an imported key signs immediately. The previous key is not retired until the record of the imported key is
// found. If the imported key is revoked, the previous key signs again.
func TestImportUnsafe(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(3)
	good := h.signing("example.org")
	file, record := h.foreign("mail.private")
	out, code := h.run("import", file, "--domain", "example.org", "--selector", "mail", "--unsafe-activate")
	if code != 1 || !strings.Contains(out, "its record has not been checked in DNS") || !strings.Contains(out, "the key signs anyway (--unsafe-activate)") {
		t.Errorf("%d %s", code, out)
	}
	said := h.rotates(20, 24*time.Hour)
	if got := h.state("example.org"); h.signing("example.org") != "mail" || got[good] != keys.Active || strings.Count(said, "key mail: its record is still not in DNS") < 10 {
		t.Errorf("%q signs: %v\n%s", h.signing("example.org"), got, said)
	}
	h.show("example.org", "mail", record)
	if out := h.must("rotate"); !strings.Contains(out, "the record of key mail is visible in DNS\n") || !strings.Contains(out, "retired key "+good) {
		t.Error(out)
	}
	// The record was found. If the record disappears again, rotate does nothing, because the daemon handles this case.
	h.show("example.org", "mail", "")
	h.now = h.now.Add(24 * time.Hour)
	h.rotates(1, time.Hour)
	if got := h.state("example.org"); got["mail"] != keys.Active || got[good] != keys.Retiring {
		t.Error(got)
	}
}

// A key that an older version imported without a check continues to sign, and no other key of the domain is retired or revoked.
func TestImportedByOlderVersion(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(3)
	good := h.signing("example.org")
	file, _ := h.foreign("mail.private")
	h.run("import", file, "--domain", "example.org", "--selector", "typo", "--unsafe-activate")
	metadata := filepath.Join(h.dir, "state/keys/example.org", good+".json")
	text, err := os.ReadFile(metadata)
	if err != nil {
		t.Fatal(err)
	}
	retired := strings.Replace(string(text), "\n}", ",\n  \"retired\": \""+h.now.Format(time.RFC3339)+"\"\n}", 1)
	if err := os.WriteFile(metadata, []byte(retired), 0o600); err != nil {
		t.Fatal(err)
	}
	h.rotates(30, 24*time.Hour)
	if got := h.state("example.org"); got[good] != keys.Retiring {
		t.Errorf("the last record that others can verify is not kept: %v", got)
	}
}

// If OpenDKIM's tables contain two keys for a domain, Signpost signs with the first key, as OpenDKIM does. This does not depend on
// publish.method or the order of import. If publish.method is manual, the second key never takes over automatically.
func TestImportTwoOfOpenDKIM(t *testing.T) {
	t.Parallel()
	for name, publish := range map[string]string{"rfc2136": rfc2136, "manual": ""} {
		for _, first := range []string{"a", "z"} {
			t.Run(name+" "+first, func(t *testing.T) {
				t.Parallel()
				h := newHouse(t, map[string]string{"example.org.": exampleZone}, publish)
				h.ticking()
				one, record := h.foreign("one.private")
				h.show("example.org", first, record)
				two, record := h.foreign("two.private")
				h.show("example.org", "m", record)
				h.write("KeyTable", "one example.org:"+first+":"+one+"\ntwo example.org:m:"+two+"\n", 0o600)
				h.write("SigningTable", "*@example.org one\n*@example.org two\n", 0o600)
				out := h.must("import", "opendkim", filepath.Join(h.dir, "KeyTable"), filepath.Join(h.dir, "SigningTable"))
				if !strings.Contains(out, "key "+first+": its record is visible at all name servers; it signs from 2026-11-24 05:15: ") || !strings.Contains(out, "key m: its record is visible at all name servers; it is a standby") {
					t.Error(out)
				}
				h.days(80)
				if got := h.signing("example.org"); got != first || h.state("example.org")["m"] != keys.Verified {
					t.Errorf("%q signs: %v", got, h.state("example.org"))
				}
				h.must("rotate", "example.org", "--now")
				if got := h.signing("example.org"); got != "m" {
					t.Errorf("%q signs after rotate --now", got)
				}
			})
		}
	}
}

// The record of an imported key is wrong at first and has a long TTL. After the correction, the key waits until caches have
// expired.
func TestImportCorrected(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	file, record := h.foreign("mail")
	_, wrong := h.foreign("other")
	h.showFor("example.org", "mail", wrong, 24*time.Hour)
	h.run("import", file, "--domain", "example.org", "--selector", "mail")
	h.show("example.org", "mail", record)
	out := h.rotates(12, 2*time.Hour)
	if got := h.signing("example.org"); got != "" {
		t.Errorf("%q signs while caches have the wrong record: %s", got, out)
	}
	h.rotates(1, time.Hour)
	if got := h.signing("example.org"); got != "mail" {
		t.Errorf("%q signs after a day: %s", got, h.must("status"))
	}
}

// import may be interrupted before any of its operations. After the next rotate, the import is complete or can be repeated.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	for step := 1; ; step++ {
		h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
		file, record := h.foreign("mail")
		h.show("example.org", "mail", record)
		args := []string{"import", file, "--domain", "example.org", "--selector", "mail"}
		if !h.interrupted(step, args...) {
			if step < 3 {
				t.Errorf("import has only %d operations", step-1)
			}
			return
		}
		h.must("rotate")
		if h.state("example.org")["mail"] == "" {
			h.must(args...)
		}
		h.rotates(2, 2*time.Hour)
		if got := h.signing("example.org"); got != "mail" {
			t.Errorf("step %d: %q signs: %s", step, got, h.must("status"))
		}
	}
}

// A key of mailcow signs after its record, in the form in which mailcow shows it, has been visible for long enough. A receiver verifies the
// signature with that record. The key of a domain whose record belongs to another key does not sign.
func TestImportMailcow(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone, "example.net.": strings.ReplaceAll(exampleZone, "example.org", "example.net")}, rfc2136)
	private, record := map[string]string{}, map[string]string{}
	for _, name := range []string{"dkim.example.org", "a.b.example.net"} {
		key, err := h.env.newRSA(2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		public, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		private[name] = strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
		record[name] = "v=DKIM1;k=rsa;t=s;s=email;p=" + base64.StdEncoding.EncodeToString(public)
	}
	text, err := json.Marshal(private)
	if err != nil {
		t.Fatal(err)
	}
	h.write("keys.json", string(text), 0o600)
	h.write("selectors.json", `{"example.org":"dkim","example.net":"a.b"}`, 0o600)
	h.show("example.org", "dkim", record["dkim.example.org"])
	h.show("example.net", "a.b", record["dkim.example.org"])
	args := []string{"import", "mailcow", filepath.Join(h.dir, "selectors.json"), filepath.Join(h.dir, "keys.json")}
	dry, dryCode := h.run(append(args, "--dry-run")...)
	out, code := h.run(args...)
	for _, said := range []string{dry, out} {
		if !strings.Contains(said, "example.org: key dkim: its record is visible at all name servers") || !strings.Contains(said, "example.net: key a.b: its record is not visible in DNS: ") || !strings.Contains(said, "the record belongs to another key") {
			t.Error(said)
		}
	}
	if code != 1 || dryCode != 1 {
		t.Errorf("exit codes %d and %d with --dry-run, want 1", code, dryCode)
	}
	h.rotates(30, time.Hour)
	if org, net := h.signing("example.org"), h.signing("example.net"); org != "dkim" || net != "" || h.hosts("example.net") {
		t.Fatalf("%q and %q sign", org, net)
	}
	set, err := h.store().Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	fields := []dkim.Field{{Name: "From", Value: " ann@example.org"}}
	s, err := dkim.NewSigner(fields, set.Signing("example.org"), time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	signatures, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	mail := signatures[0].Wire() + fields[0].Wire() + "\r\n"
	results, err := msgauth.VerifyWithOptions(strings.NewReader(mail), &msgauth.VerifyOptions{LookupTXT: h.txt})
	if err != nil || len(results) != 1 || results[0].Err != nil {
		t.Errorf("%v %+v", err, results)
	}
}
