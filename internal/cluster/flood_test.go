package cluster_test

import (
	"fmt"
	"strings"
	"testing"

	"signpost/internal/cluster"
)

// Someone who writes many rows to the database stops the synchronization, but fills neither the log nor the state. After the rows are deleted,
// the hosts continue.
func testFlood(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.create("a.example", "s1")
	sync2(a, b)
	var forged []string
	for i := range 1500 {
		forged = append(forged, fmt.Sprintf("('x%d.example', 's1', %d, 'ffffffff', '')", i, 1000+i))
	}
	for _, table := range []string{"sp_key", "sp_rule"} {
		insert := "INSERT INTO sp_key (domain, selector, version, key_id, sealed) VALUES " + strings.Join(forged, ", ")
		if table == "sp_rule" {
			insert = "INSERT INTO sp_rule (name, kind, version, key_id, body, mac) VALUES " + strings.ReplaceAll(strings.Join(forged, ", "), "'')", "'', '')")
		}
		s.sql("%s", insert)
		b.log.take()
		for range 3 {
			stopped(t, b.Sync(t.Context()), cluster.TooMany)
		}
		if n := strings.Count(b.log.take(), "cluster row refused"); n == 0 || n > 1001 {
			t.Errorf("%s: the log has %d lines", table, n)
		}
		if n := len(b.reported().Refused); n > 1000 {
			t.Errorf("%s: the state has %d rows", table, n)
		}
		s.sql("DELETE FROM %s WHERE key_id = 'ffffffff'", table)
		for range 11 {
			sync2(b)
		}
		if r := b.reported().Refused; len(r) != 0 {
			t.Errorf("%s: still refused %+v", table, r)
		}
	}
	a.activate("a.example", "s1")
	sync2(a, b)
	b.expect("afterwards", "a.example", "s1", "active pem")

	// A row of an unknown host is reported until it is deleted.
	s.sql("INSERT INTO sp_host (name, version, key_ids, program, clock, seen, seq, mac) VALUES ('mallory', 1, '', '', 1, 1, 1, '')")
	s.start(b, s.server.URL(s.database))
	sync2(b)
	if r := b.reported().Refused; len(r) != 1 {
		t.Errorf("forged host: refused %+v", r)
	}
	s.sql("DELETE FROM sp_host WHERE name = 'mallory'")
	s.start(b, s.server.URL(s.database))
	sync2(b)
	if r := b.reported().Refused; len(r) != 0 {
		t.Errorf("forged host: still refused %+v", r)
	}
}

// If someone deletes the row of a successor before a host has read it, that host continues to sign with the present key.
func testLostSuccessor(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.create("a.example", "s1")
	a.activate("a.example", "s1")
	sync2(a, b)
	a.create("a.example", "s2")
	sync2(a)
	s.sql("DELETE FROM sp_key WHERE selector = 's2'")
	a.activate("a.example", "s2")
	a.retire("a.example", "s1")
	sync2(a, b, a, b)
	b.expect("row deleted", "a.example", "s1", "active pem")
	if err := a.AcceptRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
	sync2(a, b)
	b.expect("row written again", "a.example", "s1", "retiring pem")
	b.expect("row written again", "a.example", "s2", "active pem")
}
