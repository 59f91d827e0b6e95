package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"signpost/internal/testbind"
	"signpost/internal/testmta"
	"signpost/internal/testsql"
)

// The virtual domains and the logins are in MariaDB. A domain is added by SQL, the line of cron is run, and the mail of the domain leaves signed.
// A login that forges the From address of a colleague is rejected. While the database is down, mail of a known domain is still signed.
func TestDomainsInMariaDB(t *testing.T) {
	needRoot(t)
	db := testsql.MariaDB(t)
	dir, err := os.MkdirTemp("", "signpost-mariadb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	db.Run("", "CREATE DATABASE mail; CREATE USER postfix IDENTIFIED BY 'secret'; GRANT SELECT ON mail.* TO postfix")
	db.Run("mail", "CREATE TABLE domain (domain VARCHAR(255), active TINYINT(1)); CREATE TABLE login (address VARCHAR(255), login VARCHAR(255))")
	db.Run("mail", "INSERT INTO domain VALUES ('example.org', 1), ('example.net', 1)")
	table := func(name, query string) string {
		file := filepath.Join(dir, name+".cf")
		text := fmt.Sprintf("hosts = inet:%s\nuser = postfix\npassword = secret\ndbname = mail\nquery = %s\n", db.Addr(), query)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return "mysql:" + file
	}
	domains := table("domains", "SELECT domain FROM domain WHERE domain = '%s' AND active = 1")
	logins := table("logins", "SELECT login FROM login WHERE address = '%s'")
	// The DNS server of the world has the address 127.0.0.1. named(8) listens only at addresses of the interfaces.
	server, err := testbind.StartKnot(t.Context(), "127.0.0.2", map[string]string{"new.example.": "$ORIGIN new.example.\n$TTL 3600\n@ IN SOA ns1 hostmaster 1 3600 600 86400 300\n@ IN NS ns1\nns1 IN A 127.0.0.2\n"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	secret := filepath.Join(dir, "tsig")
	if err := os.WriteFile(secret, []byte(testbind.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	publish := fmt.Sprintf("[keys]\nalgorithms = [\"ed25519\"]\nresolver = %q\n[publish.domain.\"new.example\"]\nmethod = \"rfc2136\"\nserver = %[1]q\ntsig_name = \"signpost\"\ntsig_algorithm = \"hmac-sha256\"\ntsig_secret_file = %q\n",
		server.Addr(), secret)
	w := newWorld(t, setup{config: publish + fmt.Sprintf("[domains]\ntables = [%q]\nserver = \"unix:%s/socket\"\n[sign]\nlogin_maps = [%q]\nlogin_unlisted = \"reject\"\n", domains, dir, logins),
		mta: testmta.Options{MainCF: map[string]string{"virtual_mailbox_domains": domains}}})
	w.serveTables()
	w.until("the table server answers", func() bool {
		_, err := os.Stat(filepath.Join(dir, "socket"))
		return err == nil
	})

	db.Run("mail", "INSERT INTO domain VALUES ('new.example', 1); INSERT INTO login VALUES ('ann@new.example', 'ann'), ('bob@new.example', 'bob')")
	w.swaks(w.SMTP, append(client("ann"), letter("ann@new.example")...)...)
	w.unsigned(w.mail(1))
	w.logged("action=accept code=listed_no_key", "header_from=new.example", domains)

	// docs/tables.md, "Keys for all domains of the database".
	cron := fmt.Sprintf("mariadb --no-defaults --socket=%s -uroot -N -e \"SELECT domain FROM domain WHERE active = 1\" mail | %s -c %s add --missing --retire-missing --from-file -",
		db.Socket, filepath.Join(programs, "plain", "dkimkey"), w.config)
	if out, err := exec.Command("sh", "-c", cron).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.dkimkey("rotate", "new.example") // finds the record
	files, err := filepath.Glob(filepath.Join(w.dir, "state", "keys", "new.example", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the metadata of the key: %q, %v", files, err)
	}
	// The key must wait for an hour, because caches may have an older answer. The test moves the time at which the record was found.
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	seen := regexp.MustCompile(`"seen": "[^"]*"`)
	if !seen.Match(text) {
		t.Fatalf("the record was not found:\n%s", text)
	}
	text = seen.ReplaceAll(text, []byte(`"seen": "`+time.Now().Add(-2*time.Hour).UTC().Format(time.RFC3339)+`"`))
	if err := os.WriteFile(files[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	w.dkimkey("rotate", "new.example")
	selector := strings.TrimSuffix(filepath.Base(files[0]), ".json")
	record, err := server.TXT(selector + "._domainkey.new.example.")
	if err != nil || w.records()[selector+"._domainkey.new.example"] != strings.Join(record, "") {
		t.Errorf("the name server has the record %q, error %v", record, err)
	}
	w.logged("key read", "domain=new.example", "state=active")
	w.swaks(w.SMTP, append(client("ann"), letter("ann@new.example")...)...)
	w.signed(w.mail(2), "new.example")

	w.refused(w.swaks(w.SMTP, append(client("ann"), letter("bob@new.example")...)...), "553 5.7.1 <bob@new.example>: From address rejected")
	w.logged("action=reject code=login_mismatch role=sign", "header_from=new.example", "login=ann")

	db.Stop()
	w.refused(w.swaks(w.SMTP, append(client("ann"), letter("bob@new.example")...)...), "553 5.7.1")
}
