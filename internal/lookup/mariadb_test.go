package lookup

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"signpost/internal/testsql"
)

// mariaDB is a server and the tables that use it.
type mariaDB struct {
	*testsql.Server
	dir string
	t   *testing.T
}

// table writes a .cf file, as in mysql_table(5), and returns the table.
func (db *mariaDB) table(name, password, query string) string {
	db.t.Helper()
	file := filepath.Join(db.dir, name+".cf")
	text := "hosts = unix:" + db.Socket + "\nuser = postfix\npassword = " + password + "\ndbname = mail\nquery = " + query + "\n"
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		db.t.Fatal(err)
	}
	return "mysql:" + file
}

// Domains in MariaDB are found through Debian's postfix-mysql. With each fault of the database, known answers are returned in time, and the
// lookup of another key is an error.
func TestMariaDB(t *testing.T) {
	db := &mariaDB{testsql.MariaDB(t), t.TempDir(), t}
	run := func(sql string) { db.Run("", sql) }
	run("CREATE DATABASE mail; CREATE TABLE mail.domain (name VARCHAR(255), value LONGTEXT); CREATE USER postfix@localhost IDENTIFIED BY 'secret'; GRANT SELECT ON mail.* TO postfix@localhost;" +
		"INSERT INTO mail.domain VALUES ('a.example','1'), ('null.example',NULL), ('long.example',REPEAT('x',1000000)), ('percent%s','1'), ('quote\\'\"','1'), ('umlaut.example',CONVERT(_utf8'Zürich' USING latin1))")
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
	expect("another charset", domains, "umlaut.example", Answer{"Zürich", true}, "", inTime)

	again := func(what string, kind Kind) {
		t.Helper()
		ahead.Add(int64(2 * time.Minute))
		expect(what, domains, "a.example", yes, "", oldWait+time.Second)
		expect(what, domains, "b.example", no, "", oldWait+time.Second)
		expect(what, domains, what+".example", no, kind, inTime)
	}
	db.table("domains", "wrong", byName)
	again("password", Temporary)
	db.table("domains", "secret", "SELECT value FROM domain WHERE name = '%s' AND SLEEP(30) = 0")
	run("INSERT INTO mail.domain VALUES ('slow.example','1')")
	again("slow", Timeout)
	db.table("domains", "secret", "SELECT value FROM gone WHERE name = '%s'")
	again("gone", Temporary)
	db.table("domains", "secret", byName)
	run("SET GLOBAL read_only = 1")
	again("readonly", "")
	db.Stop()
	again("stopped", Temporary)
	db.Start()
	run("INSERT INTO mail.domain VALUES ('c.example','1')")
	ahead.Add(int64(2 * time.Minute))
	expect("back", domains, "c.example", yes, "", inTime)
}
