package lookup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signpost/internal/testsql"
)

// database is a database mail with a user postfix, who may only read.
type database struct {
	*testsql.Server
	t    *testing.T
	kind string // the type of Postfix's table: "mysql" or "pgsql"
	dir  string // of the .cf files
}

// newDatabase creates the database. It skips the test if Postfix's package for the server is not installed.
func newDatabase(t *testing.T, kind string, start func(testing.TB, ...string) *testsql.Server) *database {
	t.Helper()
	if types, err := exec.Command("/usr/sbin/postconf", "-m").Output(); err == nil && !strings.Contains("\n"+string(types), "\n"+kind+"\n") {
		t.Skip("postfix-" + kind + " is not installed")
	}
	db := &database{start(t), t, kind, t.TempDir()}
	db.Run("", "CREATE DATABASE mail")
	if kind == "mysql" {
		db.run("CREATE USER postfix IDENTIFIED BY 'secret'; GRANT SELECT ON mail.* TO postfix")
	} else {
		db.run("CREATE USER postfix PASSWORD 'secret'; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO postfix")
	}
	return db
}

// run runs an SQL statement and returns its output, a line for each row.
func (db *database) run(sql string) string {
	db.t.Helper()
	return db.Run("mail", sql)
}

// table writes a .cf file, as in mysql_table(5) or pgsql_table(5), and returns the table.
func (db *database) table(name, password, query string) string {
	db.t.Helper()
	file := filepath.Join(db.dir, name+".cf")
	text := fmt.Sprintf("hosts = inet:%s\nuser = postfix\npassword = %s\ndbname = mail\nquery = %s\n", db.Addr(), password, query)
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		db.t.Fatal(err)
	}
	return db.kind + ":" + file
}

// Domains in MariaDB are found through Debian's postfix-mysql.
func TestMariaDB(t *testing.T) {
	db := newDatabase(t, "mysql", testsql.MariaDB)
	db.run("CREATE TABLE domain (name VARCHAR(255), value LONGTEXT)")
	db.run("INSERT INTO domain VALUES ('umlaut.example',CONVERT(_utf8'Zürich' USING latin1))")
	testDatabase(t, db, faults{charset: "Zürich", slow: "SLEEP(30) = 0", readOnly: "SET GLOBAL read_only = 1"})
	testPresets(t, db)
}

// Domains in PostgreSQL are found through Debian's postfix-pgsql, which scripts/matrix installs.
func TestPostgreSQL(t *testing.T) {
	db := newDatabase(t, "pgsql", testsql.PostgreSQL)
	db.run("CREATE TABLE domain (name VARCHAR(255), value TEXT)")
	db.run("INSERT INTO domain VALUES ('umlaut.example','Zürich')")
	testDatabase(t, db, faults{charset: "Zürich", otherCharset: "Z\xfcrich", slow: "pg_sleep(30) IS NOT NULL",
		readOnly: "ALTER DATABASE mail SET default_transaction_read_only = on",
		writable: "BEGIN; SET TRANSACTION READ WRITE; ALTER DATABASE mail RESET default_transaction_read_only; COMMIT"})
	testPresets(t, db)
}

// faults are the SQL texts that differ between servers.
type faults struct {
	charset, otherCharset string // a value that is stored in another character set than it is read in, in UTF-8 and in ISO 8859-1
	slow                  string // a condition that is true after half a minute
	readOnly              string
	writable              string // makes the database writable again; empty: a restart is sufficient
}

// testDatabase looks up domains. With each fault of the database, known answers are returned in time, and the lookup of another key is an
// error.
func testDatabase(t *testing.T, db *database, f faults) {
	db.run("INSERT INTO domain VALUES ('a.example','1'), ('null.example',NULL), ('long.example',REPEAT('x',1000000)), ('percent%s','1'), ('quote''\"','1')")
	const byName = "SELECT value FROM domain WHERE name = '%s'"
	domains := db.table("domains", "secret", byName)
	config := t.TempDir()
	if err := os.WriteFile(filepath.Join(config, "main.cf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Int64        // of the clock, in nanoseconds; a lookup may continue after its caller has stopped waiting
	const limit = 5 * time.Second // more than the default, because a busy machine needs seconds to start postmap for the first time
	cache := NewCache(Postmap{ConfigDir: config}, CacheOptions{Timeout: limit, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	expect := func(what, table, key string, want Answer, wantErr Kind, most time.Duration) {
		t.Helper()
		begin := time.Now()
		got, err := cache.Lookup(t.Context(), table, key)
		if got != want || kindOf(err) != wantErr {
			t.Errorf("%s: %q: %.50v, error %v; want %v, %q", what, key, got, err, want, wantErr)
		}
		if took := time.Since(begin); took > most {
			t.Errorf("%s: %q took %v, want at most %v", what, key, took, most)
		}
	}
	yes, no := Answer{"1", true}, Answer{}
	const inTime = limit + killDelay + time.Second
	expect("normal", domains, "a.example", yes, "", inTime)
	expect("normal", domains, "b.example", no, "", inTime)
	expect("NULL", domains, "null.example", no, "", inTime)
	expect("1 MB", domains, "long.example", no, Permanent, inTime)
	expect("%", domains, "percent%s", yes, "", inTime)
	expect("quotes", domains, "quote'\"", yes, "", inTime)
	expect("injection", domains, "x' OR 'a'='a", no, "", inTime)
	if got, err := cache.Lookup(t.Context(), domains, "umlaut.example"); err != nil || got.Value != f.charset && got.Value != f.otherCharset {
		t.Errorf("another charset: %q, %v", got.Value, err)
	}

	again := func(what string, kind Kind) {
		t.Helper()
		ahead.Add(int64(2 * time.Minute))
		expect(what, domains, "a.example", yes, "", oldWait+time.Second)
		expect(what, domains, "b.example", no, "", oldWait+time.Second)
		expect(what, domains, what+".example", no, kind, inTime)
	}
	db.table("domains", "wrong", byName)
	again("password", Temporary)
	db.table("domains", "secret", "SELECT value FROM domain WHERE name = '%s' AND "+f.slow)
	db.run("INSERT INTO domain VALUES ('slow.example','1')")
	again("slow", Timeout)
	db.table("domains", "secret", "SELECT value FROM gone WHERE name = '%s'")
	again("gone", Temporary)
	db.table("domains", "secret", byName)
	db.run(f.readOnly)
	again("readonly", "")
	db.Stop()
	again("stopped", Temporary)
	db.Start()
	if f.writable != "" {
		db.run(f.writable)
	}
	db.run("INSERT INTO domain VALUES ('c.example','1')")
	ahead.Add(int64(2 * time.Minute))
	expect("back", domains, "c.example", yes, "", inTime)
}

// testPresets runs the queries of docs/tables.md with the tables of each panel. Each query prints the active domains and alias domains, and
// nothing else.
func testPresets(t *testing.T, db *database) {
	page, err := os.ReadFile("../../docs/tables.md")
	if err != nil {
		t.Fatal(err)
	}
	query := func(panel string) string {
		_, after, found := strings.Cut(string(page), "\n| "+panel+" | `")
		text, _, complete := strings.Cut(after, "`")
		if !found || !complete {
			t.Fatalf("docs/tables.md has no query for %s", panel)
		}
		return text
	}
	flag, yes, no := "TINYINT(1)", "1", "0"
	if db.kind == "pgsql" {
		flag, yes, no = "BOOLEAN", "true", "false"
	}
	const aliases = "CREATE TABLE alias_domain (alias_domain VARCHAR(255), target_domain VARCHAR(255), active FLAG); INSERT INTO alias_domain VALUES ('alias.example', 'a.example', YES), ('old.example', 'a.example', NO)"
	const domains = "CREATE TABLE domain (domain VARCHAR(255), active FLAG); INSERT INTO domain VALUES ('a.example', YES), ('off.example', NO)"
	for _, panel := range []struct {
		name, tables string
		want         []string
		boolean      string // the condition with PostgreSQL
	}{
		{"postfixadmin", domains + ", ('ALL', YES); " + aliases, []string{"a.example", "alias.example"}, "active"},
		{"mailcow", domains + "; " + aliases, []string{"a.example", "alias.example"}, ""},
		{"modoboa", "CREATE TABLE admin_domain (id INTEGER, name VARCHAR(100), enabled FLAG); INSERT INTO admin_domain VALUES (1, 'a.example', YES), (2, 'off.example', NO);" +
			"CREATE TABLE admin_domainalias (name VARCHAR(254), enabled FLAG, target_id INTEGER); INSERT INTO admin_domainalias VALUES ('alias.example', YES, 1), ('old.example', NO, 1)",
			[]string{"a.example", "alias.example"}, "enabled"},
		{"ViMbAdmin", domains, []string{"a.example"}, ""},
		{"ISPmail (workaround.org)", "CREATE TABLE virtual_domains (id INTEGER, name VARCHAR(50)); INSERT INTO virtual_domains VALUES (1, 'a.example'), (2, 'b.example')", []string{"a.example", "b.example"}, ""},
	} {
		if db.kind == "pgsql" && panel.boolean == "" {
			continue // the panel has MariaDB only
		}
		sql := query(panel.name)
		if db.kind == "pgsql" {
			if row := "\n| " + panel.name + " with PostgreSQL | the same, with `" + panel.boolean + "` instead of `" + panel.boolean + " = 1` |"; !strings.Contains(string(page), row) {
				t.Fatalf("docs/tables.md does not have the line%s", row)
			}
			sql = strings.ReplaceAll(sql, panel.boolean+" = 1", panel.boolean)
		}
		db.run("DROP TABLE IF EXISTS domain")
		db.run("DROP TABLE IF EXISTS alias_domain")
		for statement := range strings.SplitSeq(strings.NewReplacer("FLAG", flag, "YES", yes, "NO)", no+")", "NO,", no+",").Replace(panel.tables), ";") {
			db.run(statement)
		}
		got := strings.Fields(db.run(sql))
		slices.Sort(got)
		if !slices.Equal(got, panel.want) {
			t.Errorf("%s: %q prints %q, want %q", panel.name, sql, got, panel.want)
		}
	}
}
