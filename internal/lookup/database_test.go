package lookup

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// database is a database server in a private directory, without a TCP port. It has a database mail with a user postfix.
type database struct {
	t      *testing.T
	kind   string // the type of Postfix's table: "mysql" or "pgsql"
	dir    string
	as     *syscall.SysProcAttr // the user of the server
	serve  []string             // the command of the server
	ask    []string             // the command that runs an SQL statement, which is its last argument
	hosts  string               // of the .cf file
	server *exec.Cmd
}

func newDatabase(t *testing.T, kind string) *database {
	t.Helper()
	dir, err := os.MkdirTemp("", "database")
	if err != nil {
		t.Fatal(err)
	}
	db := &database{t: t, kind: kind, dir: dir, as: &syscall.SysProcAttr{}}
	t.Cleanup(func() {
		db.stop()
		os.RemoveAll(dir)
	})
	return db
}

func startMariaDB(t *testing.T) *database {
	t.Helper()
	db := newDatabase(t, "mysql")
	socket := filepath.Join(db.dir, "s")
	db.hosts = "unix:" + socket
	db.serve = []string{"mariadbd", "--no-defaults", "--datadir=" + db.dir + "/data", "--socket=" + socket, "--skip-networking", "--user=root",
		"--pid-file=" + db.dir + "/pid", "--innodb-buffer-pool-size=8M", "--innodb-flush-log-at-trx-commit=0"}
	db.ask = []string{"mariadb", "--no-defaults", "--socket=" + socket, "-uroot", "-Ne"}
	db.must("mariadb-install-db", "--no-defaults", "--datadir="+db.dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root")
	db.start()
	db.run("CREATE DATABASE mail; CREATE USER postfix@localhost IDENTIFIED BY 'secret'; GRANT SELECT ON mail.* TO postfix@localhost")
	db.ask = append(db.ask[:len(db.ask)-1:len(db.ask)-1], "mail", "-Ne")
	return db
}

// startPostgreSQL skips the test if PostgreSQL or Postfix's package for it is not installed: scripts/matrix installs them.
func startPostgreSQL(t *testing.T) *database {
	t.Helper()
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(programs) == 0 {
		t.Skip("PostgreSQL is not installed")
	}
	if types, err := exec.Command("/usr/sbin/postconf", "-m").Output(); err != nil || !strings.Contains("\n"+string(types), "\npgsql\n") {
		t.Skip("postfix-pgsql is not installed")
	}
	db := newDatabase(t, "pgsql")
	bin := programs[len(programs)-1]
	// The server does not start as root.
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if uidErr != nil || gidErr != nil || os.Chown(db.dir, uid, gid) != nil || os.Chmod(db.dir, 0o755) != nil {
		t.Fatal("the directory of the server cannot be given to user postgres")
	}
	db.as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	db.hosts = "unix:" + db.dir
	db.serve = []string{bin + "/postgres", "-D", db.dir + "/data", "-k", db.dir, "-c", "listen_addresses=", "-c", "fsync=off"}
	db.ask = []string{"psql", "-X", "-v", "ON_ERROR_STOP=1", "-h", db.dir, "-U", "postgres", "-Atc"}
	db.must(bin+"/initdb", "-D", db.dir+"/data", "-E", "UTF8", "--locale=C", "--auth=trust", "-U", "postgres")
	hba := "local all postgres trust\nlocal all all scram-sha-256\n"
	if err := os.WriteFile(db.dir+"/data/pg_hba.conf", []byte(hba), 0o644); err != nil {
		t.Fatal(err)
	}
	db.start()
	db.run("CREATE DATABASE mail")
	db.ask = append(db.ask[:len(db.ask)-1:len(db.ask)-1], "-d", "mail", "-Atc")
	db.run("CREATE USER postfix PASSWORD 'secret'; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO postfix")
	return db
}

func (db *database) command(argv ...string) *exec.Cmd {
	c := exec.Command(argv[0], argv[1:]...)
	c.SysProcAttr, c.Dir = db.as, db.dir
	return c
}

// must runs a command of the server's user and returns its output.
func (db *database) must(argv ...string) string {
	db.t.Helper()
	out, err := db.command(argv...).CombinedOutput()
	if err != nil {
		db.t.Fatalf("%s: %v\n%s", argv, err, out)
	}
	return string(out)
}

func (db *database) start() {
	db.t.Helper()
	db.server = db.command(db.serve...)
	log := &bytes.Buffer{}
	db.server.Stderr = log
	if err := db.server.Start(); err != nil {
		db.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if db.command(append(db.ask[:len(db.ask):len(db.ask)], "SELECT 1")...).Run() == nil {
			return
		}
		if time.Now().After(deadline) {
			db.t.Fatalf("the server does not answer:\n%s", log)
		}
	}
}

func (db *database) stop() {
	if db.server == nil {
		return
	}
	if db.kind == "pgsql" { // its processes stop with it
		_ = db.server.Process.Signal(syscall.SIGQUIT)
	} else {
		_ = db.server.Process.Kill()
	}
	_ = db.server.Wait()
	db.server = nil
}

// run runs an SQL statement and returns its output, a line for each row.
func (db *database) run(sql string) string {
	db.t.Helper()
	return db.must(append(db.ask[:len(db.ask):len(db.ask)], sql)...)
}

// table writes a .cf file, as in mysql_table(5) or pgsql_table(5), and returns the table.
func (db *database) table(name, password, query string) string {
	db.t.Helper()
	file := filepath.Join(db.dir, name+".cf")
	text := fmt.Sprintf("hosts = %s\nuser = postfix\npassword = %s\ndbname = mail\nquery = %s\n", db.hosts, password, query)
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		db.t.Fatal(err)
	}
	return db.kind + ":" + file
}
