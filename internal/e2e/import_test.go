package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"os"
	"path/filepath"
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
