package cluster_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster"
	"signpost/keys"
)

// A private key that was revoked does not come back: neither with a row that another host writes, nor if the domain is removed.
func testRevoked(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.create("a.example", "s1")
	a.activate("a.example", "s1")
	sync2(a, b)
	files, err := a.store.FilesOf("a.example")
	if err != nil {
		t.Fatal(err)
	}
	a.revoke("a.example", "s1")
	sync2(a, b)
	if _, _, err := a.store.RemoveDomain(t.Context(), "a.example"); err != nil {
		t.Fatal(err)
	}
	sync2(a, b)
	b.expect("removed", "a.example", "s1", "none")
	// Host a is installed again from an old backup. First the database still has the row of the removal, then it does not.
	for _, lost := range []bool{false, true} {
		if lost {
			s.sql("DELETE FROM sp_key")
		}
		a = s.host("a")
		unlock := a.lock("a.example")
		if err := a.store.Put(files["s1"]); err != nil {
			t.Fatal(err)
		}
		unlock()
		if _, err := a.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.log.take()
		sync2(a, b, b)
		b.expect("old backup", "a.example", "s1", "none")
		if got := strings.Count(b.log.take(), "reason=revoked"); (got == 1) != lost {
			t.Errorf("row lost: %v, refused %d times", lost, got)
		}
	}
}

// Someone who can write to the database, but does not have the site key, cannot change what the hosts do. Each attempt is refused with one
// line of the log, however often the hosts read it.
func testAttacker(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	for _, domain := range []string{"a.example", "b.example"} {
		a.create(domain, "s1")
		a.activate(domain, "s1")
	}
	sync2(a, b)
	s.sql("CREATE TABLE old_key AS SELECT * FROM sp_key; CREATE TABLE old_rule AS SELECT * FROM sp_rule")
	a.revoke("a.example", "s1")
	sync2(a, b)
	s.sql("CREATE TABLE good_key AS SELECT * FROM sp_key; CREATE TABLE good_rule AS SELECT * FROM sp_rule; CREATE TABLE good_lease AS SELECT * FROM sp_lease")
	const bump = "UPDATE sp_site SET version = version + 1; "
	for _, c := range []struct{ name, sql, want string }{
		{"adds a rule", "INSERT INTO sp_rule (kind, name, version, key_id, body, mac) SELECT 'deny', 'gmail.com', (SELECT version FROM sp_site), key_id, 'x', mac FROM good_rule WHERE kind = 'host' AND name = 'a'", "table=sp_rule key=deny/gmail.com"},
		{"changes a rule", "UPDATE sp_rule SET body = '', version = (SELECT version FROM sp_site) WHERE kind = 'hosted' AND name = 'b.example'", "table=sp_rule key=hosted/b.example"},
		{"removes a host", "UPDATE sp_rule SET body = '{\"joined\":1,\"left\":2}', version = (SELECT version FROM sp_site) WHERE kind = 'host' AND name = 'b'", "table=sp_rule key=host/b"},
		{"swaps a key", "UPDATE sp_key SET sealed = (SELECT sealed FROM old_key WHERE domain = 'a.example'), version = (SELECT version FROM sp_site) WHERE domain = 'b.example'", "table=sp_key key=b.example/s1"},
		{"replays a revoked key", "UPDATE sp_key SET sealed = (SELECT sealed FROM old_key WHERE domain = 'a.example'), version = (SELECT version FROM sp_site) WHERE domain = 'a.example'", "table=sp_key key=a.example/s1"},
		{"truncates a key", "UPDATE sp_key SET sealed = SUBSTRING(sealed FROM 1 FOR 40), version = (SELECT version FROM sp_site) WHERE domain = 'b.example'", "table=sp_key key=b.example/s1"},
		{"adds a key", "INSERT INTO sp_key (domain, selector, version, key_id, sealed) SELECT '../x', 's1', (SELECT version FROM sp_site), key_id, sealed FROM old_key WHERE domain = 'b.example'", "table=sp_key key=../x/s1"},
		{"a site key that no host has", "UPDATE sp_key SET key_id = 'ffffffff', version = (SELECT version FROM sp_site) WHERE domain = 'b.example'", "reason=unknown_site_key"},
		{"a version far ahead", "UPDATE sp_key SET version = 9000000000000000000 WHERE domain = 'b.example'", "table=sp_key key=b.example/s1"},
		{"takes the lease", "UPDATE sp_lease SET holder = 'mallory', epoch = epoch + 1", "table=sp_lease"},
	} {
		a.log.take()
		b.log.take()
		s.sql("%s", bump+c.sql)
		for range 3 {
			sync2(b)
		}
		log := b.log.take()
		if strings.Count(log, "cluster row refused") != 1 || !strings.Contains(log, c.want) {
			t.Errorf("%s: want one line with %q, the log is\n%s", c.name, c.want, log)
		}
		if r := b.reported().Refused; len(r) != 1 {
			t.Errorf("%s: refused %+v", c.name, r)
		}
		for domain, want := range map[string]string{"a.example": "revoked", "b.example": "active pem"} {
			b.expect(c.name, domain, "s1", want)
		}
		if !b.hosted("b.example") {
			t.Errorf("%s: b.example is no longer hosted", c.name)
		}
		s.sql("DELETE FROM sp_key; INSERT INTO sp_key SELECT * FROM good_key; DELETE FROM sp_rule; INSERT INTO sp_rule SELECT * FROM good_rule; DELETE FROM sp_lease; INSERT INTO sp_lease SELECT * FROM good_lease")
		sync2(b)
		if r := b.reported().Refused; len(r) != 0 {
			t.Errorf("%s: still refused %+v", c.name, r)
		}
	}
	// An older row in its own place verifies. A host that has read a newer one refuses it when it next reads the row.
	s.sql("DELETE FROM sp_key WHERE domain = 'b.example'; INSERT INTO sp_key SELECT * FROM old_key WHERE domain = 'b.example'")
	s.sql("DELETE FROM sp_key WHERE domain = 'a.example'; INSERT INTO sp_key SELECT * FROM old_key WHERE domain = 'a.example'")
	b.edit("a.example", "s1", func(m *keys.Metadata, now *time.Time) { m.Removed = now })
	b.log.take()
	sync2(b, b)
	if log := b.log.take(); strings.Count(log, "reason=older") != 1 {
		t.Errorf("log %s", log)
	}
	b.expect("older row", "a.example", "s1", "removed")
}

// Rows that an attacker changed block their keys and rules, until accept-restore replaces them by what the hosts have, also those of retired
// keys. It deletes a rule that no host has.
func testRepair(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.create("a.example", "s0")
	a.activate("a.example", "s0")
	a.retire("a.example", "s0")
	a.create("a.example", "s1")
	a.activate("a.example", "s1")
	sync2(a, b)
	s.sql("UPDATE sp_site SET version = version + 1")
	s.sql("UPDATE sp_key SET version = (SELECT version FROM sp_site), key_id = key_id WHERE domain = 'a.example'")
	s.sql("UPDATE sp_rule SET body = '{}' WHERE kind = 'host' AND name = 'b'")
	s.sql("INSERT INTO sp_rule (kind, name, version, key_id, body, mac) SELECT 'deny', 'gmail.com', (SELECT version FROM sp_site), key_id, 'x', mac FROM sp_rule WHERE kind = 'host' AND name = 'a'")
	a.edit("a.example", "s1", func(m *keys.Metadata, now *time.Time) { m.Retired = now })
	sync2(a, b)
	b.expect("before", "a.example", "s1", "active pem")
	if l, err := a.Lease(t.Context()); err != nil || !l.Mine {
		t.Fatalf("a does not lead: %+v, %v", l, err)
	}
	s.sql("UPDATE sp_lease SET epoch = epoch + 1")
	if err := b.AcceptRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l, err := b.Lease(t.Context()); err != nil || l.Mine { // a does not know yet that the lease was reset
		t.Errorf("b leads beside a: %+v, %v", l, err)
	}
	sync2(a, b)
	for _, h := range []*host{a, b} {
		h.expect("after", "a.example", "s1", "retiring pem")
		if r := h.reported(); len(r.Refused) != 0 || len(r.Hosts) != 2 {
			t.Errorf("%s: refused %+v, hosts %+v", h.name, r.Refused, r.Hosts)
		}
	}
	if c := s.joined("c"); len(c.reported().Refused) != 0 {
		t.Errorf("a new host: refused %+v", c.reported().Refused)
	}
}

// While the database cannot be used, Sync returns an error in time and changes nothing. Afterwards, all changes are exchanged.
func testFaults(t *testing.T, s *site) {
	if s.server.Name == "MariaDB" {
		defer s.server.Run("", "SET GLOBAL read_only = 0")
	}
	proxy := s.server.Proxy(t)
	a := s.hostAt("a", proxy.URL(s.database))
	if _, err := a.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := s.joined("b")
	a.create("a.example", "s0")
	sync2(a, b)
	for i, c := range []struct {
		name       string
		begin, end func()
		ok         bool
	}{
		{"slow", func() { proxy.Delay(30 * time.Millisecond) }, func() { proxy.Delay(0) }, true},
		{"too slow", func() { proxy.Delay(6 * time.Second) }, func() { proxy.Delay(0); proxy.Cut() }, false},
		{"black hole", func() { proxy.BlackHole(true) }, func() { proxy.BlackHole(false); proxy.Cut() }, false},
		{"black hole for new connections", func() { proxy.BlackHole(true); proxy.Cut() }, func() { proxy.BlackHole(false); proxy.Cut() }, false},
		{"read-only", func() { s.readOnly(true); proxy.Cut(); _ = a.Sync(t.Context()) }, func() { s.readOnly(false); proxy.Cut() }, false},
		{"stopped", s.server.Stop, s.server.Start, false},
	} {
		selector := string(rune('a' + i))
		a.create("a.example", selector)
		before, status := readFile(t, a.store.State+"/cluster/state.json"), a.reported()
		c.begin()
		began := time.Now()
		err := a.Sync(t.Context())
		took := time.Since(began)
		if down := (*cluster.Unreachable)(nil); c.ok != (err == nil) || !c.ok && !errors.As(err, &down) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: the error is not one line without the password: %v", c.name, err)
		}
		if took > 12*time.Second {
			t.Errorf("%s: Sync took %v", c.name, took)
		}
		if now := a.reported(); !c.ok && (now.Database.Reachable || now.Error == "" || !now.Database.Since.After(status.Database.Since)) {
			t.Errorf("%s: status %+v", c.name, now)
		}
		if after := readFile(t, a.store.State+"/cluster/state.json"); !c.ok && after != before {
			t.Errorf("%s: the state was changed", c.name)
		}
		a.expect(c.name, "a.example", selector, "generated pem")
		c.end()
		for deadline := time.Now().Add(20 * time.Second); a.Sync(t.Context()) != nil || b.Sync(t.Context()) != nil; {
			if time.Now().After(deadline) {
				t.Fatalf("%s: no synchronization afterwards: %v, %v", c.name, a.Sync(t.Context()), b.Sync(t.Context()))
			}
		}
		sync2(b)
		b.expect("after: "+c.name, "a.example", selector, "generated pem")
		if now := a.reported(); !now.Database.Reachable || now.Error != "" {
			t.Errorf("after: %s: status %+v", c.name, now)
		}
	}
}

func (s *site) readOnly(on bool) {
	value := map[bool]string{true: "1", false: "0"}[on]
	if s.server.Name == "MariaDB" {
		s.server.Run("", "SET GLOBAL read_only = "+value)
		return
	}
	s.server.Run("", "ALTER DATABASE "+s.database+" SET default_transaction_read_only = "+map[string]string{"1": "on", "0": "off"}[value])
}

// If the database is restored from an old dump, each host stops with a line that names the command. accept-restore writes what the dump lacks.
// What was revoked since the dump stays revoked. A host that was away during all of this gets the same state.
func testRestore(t *testing.T, s *site) {
	a, b, c := s.joined("a"), s.joined("b"), s.joined("c")
	a.create("a.example", "s1")
	a.activate("a.example", "s1")
	sync2(a, b, c)
	tables := cluster.Tables()
	for _, table := range tables {
		s.sql("CREATE TABLE dump_%s AS SELECT * FROM %s", table.Name, table.Name)
	}
	a.revoke("a.example", "s1")
	b.create("b.example", "s1")
	sync2(a, b, a)
	c.create("c.example", "s1")
	sync2(c)
	for _, table := range tables {
		s.sql("DELETE FROM %s; INSERT INTO %s SELECT * FROM dump_%s", table.Name, table.Name, table.Name)
	}
	for range 2 {
		stopped(t, a.Sync(t.Context()), cluster.Restored)
	}
	a.expect("stopped", "a.example", "s1", "revoked")
	if err := a.AcceptRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Many changes follow, so that the counter is higher than the version of b when b returns.
	for i := range 20 {
		a.edit("a.example", "s1", func(m *keys.Metadata, _ *time.Time) { m.Finding = strings.Repeat("x", i) })
		sync2(a)
	}
	sync2(b, c, a, b, c)
	for _, h := range []*host{a, b, c} {
		h.expect("restored", "a.example", "s1", "revoked")
		h.expect("restored", "b.example", "s1", "generated pem")
		h.expect("restored", "c.example", "s1", "generated pem")
	}
	d := s.joined("d")
	d.expect("new host", "a.example", "s1", "revoked")
	d.expect("new host", "c.example", "s1", "generated pem")
	if log := a.log.take() + b.log.take() + c.log.take() + d.log.take(); strings.Contains(log, "refused") {
		t.Error(log)
	}
	if leaders := a.leads() || b.leads() || c.leads(); !leaders {
		t.Error("no host holds the lease")
	}
}
