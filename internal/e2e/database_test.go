package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"signpost/internal/testsql"
)

// database is a world whose domains and logins are in a database.
type database struct {
	*world
	*testsql.Server
	dir     string // of the .cf files, the socket and the answers
	table   func(name, password, query string) string
	sent    int
	unknown int // the number of domains without a known answer that were used
}

// tablesTimeout is domains.timeout, and slack is the time that swaks, Postfix and the daemon with the race detector take.
const (
	tablesTimeout = 2 * time.Second
	slack         = 3 * time.Second
)

// send sends a message of the login ann, and returns the transcript. No fault of the database delays mail for longer than domains.timeout.
func (d *database) send(author string) string {
	d.t.Helper()
	begin := time.Now()
	transcript := d.swaks(d.SMTP, append(client("ann"), letter(author)...)...)
	if took := time.Since(begin); took > tablesTimeout+slack {
		d.t.Errorf("%s: the message took %v", author, took)
	}
	return transcript
}

// delivered sends a message and returns it as it was delivered. If it was not accepted, the test has failed, and delivered returns "".
func (d *database) delivered(author string) string {
	d.t.Helper()
	transcript := d.send(author)
	if strings.Contains(transcript, "<** ") {
		d.t.Errorf("%s: not accepted:\n%s", author, transcript)
		return ""
	}
	d.sent++
	return d.mail(d.sent)
}

func (d *database) signed(author string) {
	d.t.Helper()
	if mail := d.delivered(author); mail != "" {
		d.world.signed(mail, "example.org")
	}
}

// accepted checks that mail of a domain without a key is sent unsigned, with a code.
func (d *database) accepted(author, code string) {
	d.t.Helper()
	before := d.lines("action=accept", "code="+code)
	if mail := d.delivered(author); mail != "" {
		d.unsigned(mail)
		d.until("the code "+code+" of "+author, func() bool { return d.lines("action=accept", "code="+code) > before })
	}
}

func (d *database) tempfail(author string) {
	d.t.Helper()
	d.refused(d.send(author), "451 4.3.5")
}

// next returns a name of which no answer is known.
func (d *database) next() string {
	d.unknown++
	return fmt.Sprintf("unknown-%d", d.unknown)
}

// known checks that answers from the time before a fault are used.
func (d *database) known() {
	d.t.Helper()
	d.signed("ann@example.org")
	d.refused(d.send("carl@example.org"), "553 5.7.1")
	d.accepted("ann@listed.example", "listed_no_key")
	d.accepted("ann@other.example", "not_hosted")
}

// restart restarts the daemon and the table server. All answers that they saved are an hour old afterwards.
func (d *database) restart(kill func()) (killed func()) {
	d.t.Helper()
	kill()
	d.stop()
	for _, file := range []string{filepath.Join(d.dir, "answers"), filepath.Join(d.world.dir, "answers"), filepath.Join(d.world.dir, "state", "tables", "answers")} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the table server was killed before it saved answers
		}
		old := strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)
		text = regexp.MustCompile(`(?m)^\d+ (true|false) `).ReplaceAll(text, []byte(old+" $1 "))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
	kill = d.serveTables()
	d.start("signpost")
	d.until("the table server answers", func() bool {
		_, err := os.Stat(filepath.Join(d.dir, "socket"))
		return err == nil
	})
	return kill
}

// Whatever happens to the database, no mail of a domain with a key leaves unsigned, and no mail is delayed for longer than domains.timeout.
// Known answers are used, old ones too. Only mail that depends on an unknown answer gets 451.
func TestDatabaseFaults(t *testing.T) {
	if os.Getenv("SIGNPOST_DATABASES") == "" {
		t.Skip("takes minutes: scripts/matrix sets SIGNPOST_DATABASES")
	}
	needRoot(t)
	for _, c := range []struct {
		kind                            string
		start                           func(testing.TB, ...string) *testsql.Server
		database, user, grant, readOnly string
		writable                        string
	}{
		{"mysql", testsql.MariaDB, "CREATE DATABASE mail CHARACTER SET latin1", "CREATE USER postfix IDENTIFIED BY 'secret'", "GRANT SELECT ON mail.* TO postfix",
			"SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"},
		{"pgsql", testsql.PostgreSQL, "CREATE DATABASE mail ENCODING 'LATIN1' TEMPLATE template0", "CREATE USER postfix PASSWORD 'secret'", "GRANT SELECT ON domain, login TO postfix",
			"ALTER DATABASE mail SET default_transaction_read_only = on", "BEGIN; SET TRANSACTION READ WRITE; ALTER DATABASE mail RESET default_transaction_read_only; COMMIT"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "signpost-database")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			db := c.start(t)
			d := &database{Server: db, dir: dir}
			db.Run("", c.database)
			db.Run("mail", "CREATE TABLE domain (name VARCHAR(100), value "+map[string]string{"mysql": "LONGTEXT", "pgsql": "TEXT"}[c.kind]+")")
			db.Run("mail", "CREATE TABLE login (address VARCHAR(100), login VARCHAR(100))")
			db.Run("mail", c.user)
			db.Run("mail", c.grant)
			db.Run("mail", "INSERT INTO domain VALUES ('listed.example', '1'), ('null.example', NULL), ('long.example', REPEAT('x', 1000000)), ('zürich.example', '1'), ('xn--bcher-kva.example', '1')")
			db.Run("mail", `INSERT INTO login VALUES ('ann@example.org', 'ann'), ('o''brien%s@example.org', 'ann'), ('carl@example.org', 'carl'), ('@listed.example', 'ann'), ('@xn--bcher-kva.example', 'ann'), ('@xn--zrich-kva.example', 'ann')`)
			d.table = func(name, password, query string) string {
				file := filepath.Join(dir, name+".cf")
				text := fmt.Sprintf("hosts = inet:%s\nuser = postfix\npassword = %s\ndbname = mail\nquery = %s\n", db.Addr(), password, query)
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return c.kind + ":" + file
			}
			const byName, byAddress = "SELECT value FROM domain WHERE name = '%s'", "SELECT login FROM login WHERE address = '%s'"
			domains, logins := d.table("domains", "secret", byName), d.table("logins", "secret", byAddress)
			d.world = newWorld(t, setup{alone: true, config: fmt.Sprintf("[domains]\ntables = [%q]\nserver = \"unix:%s/socket\"\n[sign]\nlogin_maps = [%q]\nlogin_unlisted = \"reject\"\n", domains, dir, logins)})
			kill := d.serveTables()
			d.until("the table server answers", func() bool {
				_, err := os.Stat(filepath.Join(dir, "socket"))
				return err == nil
			})

			run := func(name string, test func()) {
				t.Run(name, func(t *testing.T) {
					outer := d.t
					d.t = t
					defer func() { d.t = outer }()
					test()
				})
			}
			run("values and keys", func() {
				d.known()
				d.accepted("ann@null.example", "not_hosted") // for Postfix, NULL is no entry
				d.tempfail("ann@long.example")
				d.accepted("ann@xn--bcher-kva.example", "listed_no_key")
				d.accepted("ann@xn--zrich-kva.example", "listed_no_key")
				d.signed(`o'brien%s@example.org`)
				d.refused(d.send(`"x' OR 'a'='a"@example.org`), "553 5.7.1")
				d.refused(d.send(`"x\' OR 1=1 -- "@example.org`), "553 5.7.1")
				d.refused(d.send("-q@example.org"), "553 5.7.1")
			})
			for _, fault := range []struct {
				name      string
				begin     func()
				end       func()
				answering bool
			}{
				{"stopped", db.Stop, db.Start, false},
				{"slow", db.Pause, db.Continue, false},
				{"read-only", func() { db.Run("mail", c.readOnly) }, func() { db.Run("mail", c.writable) }, true},
				{"wrong password", func() { d.table("domains", "wrong", byName); d.table("logins", "wrong", byAddress) },
					func() { d.table("domains", "secret", byName); d.table("logins", "secret", byAddress) }, false},
				{"table gone", func() {
					db.Run("mail", "ALTER TABLE domain RENAME TO gone")
					db.Run("mail", "ALTER TABLE login RENAME TO gone2")
				},
					func() {
						db.Run("mail", "ALTER TABLE gone RENAME TO domain")
						db.Run("mail", "ALTER TABLE gone2 RENAME TO login")
					}, false},
			} {
				run(fault.name, func() {
					fault.begin()
					ended := false
					defer func() {
						if !ended {
							fault.end()
						}
					}()
					d.known()
					kill = d.restart(kill)
					d.known() // old answers
					name := d.next()
					if fault.answering {
						d.accepted("ann@"+name+".example", "not_hosted")
						d.refused(d.send(name+"@example.org"), "553 5.7.1")
					} else {
						d.tempfail("ann@" + name + ".example")
						d.tempfail(name + "@example.org")
					}
					fault.end()
					ended = true
					d.accepted("ann@"+d.next()+".example", "not_hosted")
					d.known()
				})
			}
		})
	}
}
