package testsql

import "testing"

// After a failover, the standby has what the server confirmed, and the proxy leads to it.
func TestStandby(t *testing.T) {
	s := PostgreSQL(t)
	db := s.Database()
	s.Run(db, "CREATE TABLE t (n int)")
	b := s.Standby()
	s.Run(db, "INSERT INTO t VALUES (7)")
	s.Stop()
	b.Promote()
	b.Run(db, "INSERT INTO t VALUES (8)")
	if got := b.Run(db, "SELECT sum(n) FROM t"); got != "15" {
		t.Errorf("sum %s, want 15", got)
	}
}
