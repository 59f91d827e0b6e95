package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
	w := newWorld(t, setup{config: fmt.Sprintf("[domains]\ntables = [%q]\nserver = \"unix:%s/socket\"\n[sign]\nlogin_maps = [%q]\nlogin_unlisted = \"reject\"\n", domains, dir, logins),
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

	// docs/tables.md, "Keys for all domains of the database". The key is activated without the wait for caches.
	cron := fmt.Sprintf("mariadb --no-defaults --socket=%s -uroot -N -e \"SELECT domain FROM domain WHERE active = 1\" mail | %s -c %s add --missing --retire-missing --from-file - --unsafe-activate",
		db.Socket, filepath.Join(programs, "plain", "dkimkey"), w.config)
	if out, err := exec.Command("sh", "-c", cron).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.logged("its record was never found in DNS", "domain=new.example")
	w.swaks(w.SMTP, append(client("ann"), letter("ann@new.example")...)...)
	w.signed(w.mail(2), "new.example")

	w.refused(w.swaks(w.SMTP, append(client("ann"), letter("bob@new.example")...)...), "553 5.7.1 <bob@new.example>: From address rejected")
	w.logged("action=reject code=login_mismatch role=sign", "header_from=new.example", "login=ann")

	db.Stop()
	w.refused(w.swaks(w.SMTP, append(client("ann"), letter("bob@new.example")...)...), "553 5.7.1")
}
