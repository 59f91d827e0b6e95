package cluster_test

import (
	"strings"
	"testing"

	"signpost/internal/cluster"
)

// Init creates the tables once. A second run changes nothing, and a host that has joined continues.
func testInit(t *testing.T, s *site) {
	a := s.host("a")
	_, err := a.Join(t.Context())
	if err == nil {
		t.Fatal("a host joined a database without tables")
	}
	if !s.init() {
		t.Error("the first run found a cluster")
	}
	if _, err := a.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := s.sql("SELECT site, schema_version, version FROM sp_site")
	if s.init() {
		t.Error("the second run created a cluster")
	}
	if after := s.sql("SELECT site, schema_version, version FROM sp_site"); after != before {
		t.Errorf("the second run changed %q to %q", before, after)
	}
	sync2(a)
	for _, table := range cluster.Tables() {
		s.sql("SELECT * FROM %s", table.Name)
	}
}

// The tables of an earlier version are migrated, and their rows stay. Until then, a host changes nothing and names the command. Hosts also
// work with tables of a later version, because migrations only add.
func testOlderSchema(t *testing.T, s *site) {
	a := s.host("a")
	blob, memo := "BYTEA", "TEXT"
	if s.server.Name == "MariaDB" {
		blob, memo = "MEDIUMBLOB", "MEDIUMTEXT"
	}
	// Version 1, with a cluster that has a counter of 41.
	s.sql(`CREATE TABLE sp_site (id SMALLINT NOT NULL PRIMARY KEY, site VARCHAR(32) NOT NULL, schema_version INTEGER NOT NULL, version BIGINT NOT NULL);
CREATE TABLE sp_key (domain VARCHAR(255) NOT NULL, selector VARCHAR(63) NOT NULL, version BIGINT NOT NULL, key_id VARCHAR(8) NOT NULL, sealed %s NOT NULL, PRIMARY KEY (domain, selector));
CREATE TABLE sp_rule (kind VARCHAR(16) NOT NULL, name VARCHAR(255) NOT NULL, version BIGINT NOT NULL, key_id VARCHAR(8) NOT NULL, body %s NOT NULL, mac VARCHAR(64) NOT NULL, PRIMARY KEY (kind, name));
CREATE TABLE sp_host (name VARCHAR(64) NOT NULL PRIMARY KEY, version BIGINT NOT NULL, key_ids VARCHAR(255) NOT NULL, program VARCHAR(40) NOT NULL, clock BIGINT NOT NULL, seen BIGINT NOT NULL, seq BIGINT NOT NULL, mac VARCHAR(64) NOT NULL);
INSERT INTO sp_site (id, site, schema_version, version) VALUES (1, 'abc', 1, 41)`, blob, memo)
	_, err := a.Join(t.Context())
	stopped(t, err, cluster.NotInitialized)
	if s.init() {
		t.Error("a new cluster was created")
	}
	if got := s.sql("SELECT site FROM sp_site WHERE schema_version > 1 AND version = 41"); got != "abc" {
		t.Errorf("site %q", got)
	}
	if _, err := a.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.sql("ALTER TABLE sp_key ADD COLUMN later INTEGER; ALTER TABLE sp_host ADD COLUMN later INTEGER; UPDATE sp_site SET schema_version = 99")
	b := s.joined("b")
	a.create("a.example", "s1")
	sync2(a, b)
	b.expect("later schema", "a.example", "s1", "generated pem")
	if strings.Contains(a.log.take()+b.log.take(), "refused") {
		t.Error("a row was refused")
	}
}
