// Package testsql runs a private PostgreSQL or MariaDB on loopback, for tests.
package testsql

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"signpost/internal/testport"
)

// host is the address of the servers.
const host = "127.0.0.1"

// Server is a database server with its data in a private directory.
type Server struct {
	Name   string // PostgreSQL or MariaDB
	Socket string // the path of the unix socket of MariaDB; the directory of the socket of PostgreSQL

	t       testing.TB
	dir     string
	bin     string // the directory of the programs of PostgreSQL
	port    int
	argv    []string
	client  func(database, sql string) *exec.Cmd // as the administrator
	scheme  string
	account *syscall.Credential // nil: that of the test
	process *exec.Cmd
	log     *bytes.Buffer
	count   int // of databases
}

// MariaDB starts MariaDB, with additional arguments. It skips the test if MariaDB is not installed, or with -short.
func MariaDB(t testing.TB, args ...string) *Server {
	t.Helper()
	s := prepare(t, "MariaDB", "mysql", find("mariadbd", "/usr/sbin/mariadbd", "/usr/local/libexec/mariadbd"))
	data := filepath.Join(s.dir, "data")
	install := []string{"mariadb-install-db", "--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db", "--tmpdir=" + s.dir}
	s.Socket = filepath.Join(s.dir, "s")
	s.argv = append(s.argv, "--no-defaults", "--datadir="+data, "--tmpdir="+s.dir, "--socket="+s.Socket, "--bind-address="+host, "--port="+strconv.Itoa(s.port),
		"--pid-file="+s.dir+"/pid", "--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=2", "--skip-name-resolve")
	s.argv = append(s.argv, args...)
	if os.Geteuid() == 0 {
		install, s.argv = append(install, "--user=root"), append(s.argv, "--user=root")
	}
	s.client = func(database, sql string) *exec.Cmd {
		return exec.Command("mariadb", "--no-defaults", "--socket="+s.Socket, "-uroot", "-N", "-B", "-e", sql, database)
	}
	s.run(install)
	s.Start()
	s.Run("", "CREATE USER signpost IDENTIFIED BY 'secret'; GRANT ALL ON `db%`.* TO signpost")
	return s
}

// PostgreSQL starts PostgreSQL, with additional arguments. It skips the test if PostgreSQL is not installed, or with -short.
func PostgreSQL(t testing.TB, args ...string) *Server {
	t.Helper()
	s := postgreSQL(t, args...)
	data := filepath.Join(s.dir, "data")
	s.run([]string{filepath.Join(s.bin, "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"})
	hba := "local all,replication postgres trust\nlocal all all scram-sha-256\nhost all all " + host + "/32 scram-sha-256\n" // the administrator needs no password
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Start()
	s.Run("", "CREATE ROLE signpost LOGIN SUPERUSER PASSWORD 'secret'")
	return s
}

// postgreSQL returns a server that has no data yet.
func postgreSQL(t testing.TB, args ...string) *Server {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	s := prepare(t, "PostgreSQL", "postgres", find("postgres", append(found, "/usr/local/bin/postgres")...))
	bin, err := filepath.EvalSymlinks(s.argv[0])
	if err != nil {
		t.Fatal(err)
	}
	s.bin = filepath.Dir(bin)
	if os.Geteuid() == 0 { // PostgreSQL refuses to run as root
		s.account = unprivileged(t)
		if err := os.Chown(s.dir, int(s.account.Uid), int(s.account.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	s.Socket = s.dir
	s.argv = append(s.argv, "-D", filepath.Join(s.dir, "data"), "-c", "listen_addresses="+host, "-p", strconv.Itoa(s.port), "-k", s.dir, "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "log_min_messages=warning")
	s.argv = append(s.argv, args...)
	s.client = func(database, sql string) *exec.Cmd {
		if database == "" {
			database = "postgres"
		}
		return exec.Command(filepath.Join(s.bin, "psql"), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-h", s.dir, "-p", strconv.Itoa(s.port), "-U", "postgres", "-d", database, "-c", sql)
	}
	return s
}

// find returns the program in PATH, or else the first of the files that exists, or "".
func find(name string, files ...string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, file := range files {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return ""
}

func unprivileged(t testing.TB) *syscall.Credential {
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.ParseUint(u.Uid, 10, 32)
			gid, _ := strconv.ParseUint(u.Gid, 10, 32)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
	return nil
}

func prepare(t testing.TB, name, scheme, program string) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts " + name)
	}
	if program == "" {
		t.Skip(name + " is not installed")
	}
	port, release, err := testport.Take(host)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "testsql") // a short path, because of the socket
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Name: name, t: t, dir: dir, port: port, argv: []string{program}, scheme: scheme}
	t.Cleanup(func() {
		s.Stop()
		release()
		os.RemoveAll(dir)
	})
	return s
}

func (s *Server) command(argv []string) *exec.Cmd {
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir = s.dir
	if s.account != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	}
	return c
}

func (s *Server) run(argv []string) {
	s.t.Helper()
	if out, err := s.command(argv).CombinedOutput(); err != nil {
		s.t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

// Start starts the server after Stop, and returns when it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.log = &bytes.Buffer{}
	s.process = s.command(s.argv)
	s.process.Stdout, s.process.Stderr = s.log, s.log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if s.client("", "SELECT 1").Run() == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Stop()
			s.t.Fatalf("%s does not answer:\n%s", s.Name, s.log)
		}
	}
}

// Stop stops the server at once, without a shutdown of the database. It waits until the server no longer accepts connections.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	signal := syscall.SIGKILL
	if s.scheme == "postgres" {
		signal = syscall.SIGQUIT // its other processes end too; the data is recovered at the next start
	}
	_ = s.process.Process.Signal(signal)
	timer := time.AfterFunc(20*time.Second, func() { _ = s.process.Process.Kill() })
	_ = s.process.Wait()
	timer.Stop()
	s.process = nil
}

// Running reports whether the server runs.
func (s *Server) Running() bool { return s.process != nil }

// Pause stops the server from answering: connections to it hang. Continue ends the pause.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Continue ends a pause.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}

// Run runs SQL as the administrator, and returns the output of the client. A database of "" is any database.
func (s *Server) Run(database, sql string) string {
	s.t.Helper()
	out, err := s.client(database, sql).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %s: %v\n%s", s.Name, sql, err, out)
	}
	return string(bytes.TrimSpace(out))
}

// Database creates a database and returns its name.
func (s *Server) Database() string {
	s.t.Helper()
	s.count++
	name := fmt.Sprintf("db%d", s.count)
	s.Run("", "CREATE DATABASE "+name)
	return name
}

// Addr returns the address and port of the server.
func (s *Server) Addr() string { return net.JoinHostPort(host, strconv.Itoa(s.port)) }

// URL returns the URL of a database for a user with all rights.
func (s *Server) URL(database string) string { return s.urlAt(s.port, database) }

func (s *Server) urlAt(port int, database string) string {
	u := fmt.Sprintf("%s://signpost:secret@%s:%d/%s", s.scheme, host, port, database)
	if s.scheme == "postgres" {
		u += "?sslmode=disable"
	}
	return u
}
