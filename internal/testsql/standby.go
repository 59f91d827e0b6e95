package testsql

import (
	"path/filepath"
	"strconv"
	"time"
)

// Standby starts a standby of a PostgreSQL. From then on, the server confirms a transaction only when the standby has it.
func (s *Server) Standby() *Server {
	s.t.Helper()
	if s.scheme != "postgres" {
		s.t.Fatal("only a PostgreSQL can have a standby")
	}
	b := postgreSQL(s.t)
	s.run([]string{filepath.Join(b.bin, "pg_basebackup"), "-h", s.dir, "-p", strconv.Itoa(s.port), "-U", "postgres", "-D", filepath.Join(b.dir, "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync"})
	b.Start()
	s.Run("", "ALTER SYSTEM SET synchronous_standby_names = '*'")
	s.Run("", "SELECT pg_reload_conf()")
	s.until("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", "1")
	return b
}

// Promote makes a standby a server of its own. It returns when the server accepts writes.
func (s *Server) Promote() {
	s.t.Helper()
	s.Run("", "SELECT pg_promote()")
	s.until("SELECT pg_is_in_recovery()", "f")
	s.Run("", "ALTER SYSTEM RESET synchronous_standby_names")
	s.Run("", "SELECT pg_reload_conf()")
}

// until waits until a statement has a result.
func (s *Server) until(sql, want string) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); s.Run("", sql) != want; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %s is never %s", s.Name, sql, want)
		}
	}
}

// Switch forwards new connections to another server, and closes all present ones.
func (p *Proxy) Switch(to *Server) {
	p.mu.Lock()
	p.server = to
	p.mu.Unlock()
	p.Cut()
}
