package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/testmta"
	"signpost/keys"
)

// After an import from OpenDKIM, each message is signed for the same domain with the same selector as by opendkim.
func TestImportedOpenDKIM(t *testing.T) {
	w := newWorld(t, setup{keys: "none", mta: testmta.Options{Domains: []string{"example.net"}}})
	dir := t.TempDir()
	zone, records := "", map[string]string{}
	for _, k := range []struct{ domain, selector, file string }{
		{"example.org", "mail", "one.pem"}, {"example.net", "2024", "two.pem"}, {"example.com", "all", "three.pem"}, {"example.edu", "all", "three.pem"},
	} {
		path := filepath.Join(dir, k.file)
		zone += fmt.Sprintf("%[1]s. SOA ns1.example.org. hostmaster 1 3600 600 86400 60\n%[1]s. NS ns1.example.org.\n", k.domain)
		name := keys.RecordName(k.domain, k.selector)
		if _, err := os.Stat(path); err != nil {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			writeKey(t, path, key)
			if records[k.file], err = dkim.FormatKeyRecord(key.Public()); err != nil {
				t.Fatal(err)
			}
		}
		records[name] = records[k.file]
		zone += keys.ZoneText(k.domain, k.selector, records[k.file], 0)
	}
	if err := w.dns.SetZone(zone + "ns1.example.org. A 127.0.0.1\n"); err != nil {
		t.Fatal(err)
	}
	tables := map[string]string{
		"KeyTable":     "one example.org:mail:%DIR%/one.pem\ntwo\texample.net:2024:%DIR%/two.pem   # since then\n\nwild %:all:%DIR%/three.pem\n",
		"SigningTable": "# who signs\n*@example.org one\n*@example.net\ttwo\n*@*.example.net two\n*@example.com wild\n*@example.edu wild\n",
	}
	for name, text := range tables {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "%DIR%", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	table := func(name string) string { return filepath.Join(dir, name) }
	w.dkimkey("import", "opendkim", table("KeyTable"), "refile:"+table("SigningTable"), "--unsafe-activate") // no test waits for caches
	w.until("the daemon has all keys", func() bool { return strings.Count(w.daemon.log.String(), "state=active") == 4 })

	theirs, err := testmta.Start(t.Context(), testmta.Options{Domains: []string{"example.net"},
		Milters: startOpenDKIM(t, fmt.Sprintf("KeyTable %s\nSigningTable refile:%s\nMode s\nSubDomains no\n", table("KeyTable"), table("SigningTable")))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := theirs.Stop(); err != nil {
			t.Error(err)
		}
	})
	opendkim := &world{MTA: theirs, t: t}
	signed := 0
	for i, from := range []string{"ann@example.org", "Ann <ANN@Example.ORG>", "ben@example.net", "cia@host.example.net", "dan@a.b.example.net",
		"eva@example.com", "flo@example.edu", "gil@elsewhere.example", "hal@notexample.org"} {
		args := []string{"--from", "ann@example.org", "--h-From", from, "--body", "text\n\n\n"}
		w.swaks(w.SMTP, args...)
		opendkim.swaks(opendkim.SMTP, args...)
		ours, want := signers(t, w.mail(i+1), records), signers(t, opendkim.mail(i+1), records)
		if ours != want {
			t.Errorf("%s: signed by %q, by opendkim %q", from, ours, want)
		}
		if want != "" {
			signed++
		}
	}
	if signed != 7 {
		t.Errorf("opendkim signed %d of the messages", signed)
	}
}

// signers verifies the signatures of a message and returns "domain/selector" for each.
func signers(t *testing.T, mail string, records map[string]string) string {
	t.Helper()
	var all []string
	for _, s := range verify(mail, func(name string) string { return records[name] }) {
		if s.Status != dkim.Pass {
			t.Errorf("the signature of %s: %s %s\n%s", s.Domain, s.Status, s.Cause, head(mail))
		}
		all = append(all, s.Domain+"/"+s.Selector)
	}
	return strings.Join(all, " ")
}

// After an import from rspamd, each message is signed for the same domain with the same selector as by rspamd. The keys are those of
// rspamadm dkim_keygen.
func TestImportedRspamd(t *testing.T) {
	needRoot(t)
	w := newWorld(t, setup{keys: "none", mta: testmta.Options{Domains: []string{"example.net"}}})
	dir := t.TempDir()
	zone, records := "ns1.example.org. A 127.0.0.1\n", map[string]string{}
	for _, k := range []struct{ domain, selector, algorithm string }{{"example.org", "dkim", "rsa"}, {"example.net", "2024", "rsa"}, {"example.com", "ed", "ed25519"}} {
		file := filepath.Join(dir, k.domain+"."+k.selector+".key")
		out, err := exec.Command("rspamadm", "dkim_keygen", "-t", k.algorithm, "-b", "2048", "-k", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		record := ""
		for _, part := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(string(out), -1) {
			record += part[1]
		}
		records[keys.RecordName(k.domain, k.selector)] = record
		zone += fmt.Sprintf("%[1]s. SOA ns1.example.org. hostmaster 1 3600 600 86400 60\n%[1]s. NS ns1.example.org.\n", k.domain) + keys.ZoneText(k.domain, k.selector, record, 0)
	}
	if err := w.dns.SetZone(zone); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("dkim_signing { path = %q; selector = \"dkim\"; selector_map = %q; use_domain = \"header\"; domain { example.com { selector = \"ed\"; } } allow_hdrfrom_mismatch = true; }",
		filepath.Join(dir, "$domain.$selector.key"), filepath.Join(dir, "map"))
	for name, text := range map[string]string{"conf": conf, "map": "example.net 2024\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dump, err := exec.Command("rspamadm", "configdump", "-c", filepath.Join(dir, "conf"), "--json", "dkim_signing").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dump"), dump, 0o600); err != nil {
		t.Fatal(err)
	}
	w.dkimkey("import", "rspamd", filepath.Join(dir, "dump"), "--unsafe-activate") // no test waits for caches
	w.until("the daemon has all keys", func() bool { return strings.Count(w.daemon.log.String(), "state=active") == 3 })

	theirs, err := testmta.Start(t.Context(), testmta.Options{Domains: []string{"example.net"}, Milters: startRspamd(t, "", `["127.0.0.0/8"]`, conf, "dkim_signing")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := theirs.Stop(); err != nil {
			t.Error(err)
		}
	})
	rspamd := &world{MTA: theirs, t: t}
	signed := 0
	for i, from := range []string{"ann@example.org", "ben@example.net", "cia@host.example.org", "eva@example.com", "gil@elsewhere.example"} {
		args := []string{"--from", "ann@example.org", "--h-From", from, "--body", "text\n\n\n"}
		w.swaks(w.SMTP, args...)
		rspamd.swaks(rspamd.SMTP, args...)
		ours, want := signers(t, w.mail(i+1), records), signers(t, rspamd.mail(i+1), records)
		if ours != want {
			t.Errorf("%s: signed by %q, by rspamd %q", from, ours, want)
		}
		if want != "" {
			signed++
		}
	}
	if signed != 4 {
		t.Errorf("rspamd signed %d of the messages", signed)
	}
}
