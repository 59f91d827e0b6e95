package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster"
	"signpost/internal/cluster/control"
	"signpost/keys"
)

// A host that joins with old keys gets the present ones. Its active keys that the cluster does not know sign only if their records are in DNS.
func testJoin(t *testing.T, s *site) {
	a := s.joined("a")
	a.create("a.example", "s1")
	a.activate("a.example", "s1")
	b := s.host("b")
	if err := os.CopyFS(b.store.Dir, os.DirFS(a.store.Dir)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"s1.pem", "s1.json"} {
		if err := os.Chmod(b.store.Dir+"/a.example/"+name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.revoke("a.example", "s1")
	sync2(a)
	for _, domain := range []string{"inzone.example", "gone.example"} {
		b.create(domain, "s1")
		b.activate(domain, "s1")
	}
	stopped(t, b.Sync(t.Context()), cluster.NotJoined)
	unknown := errors.New("the name servers do not answer")
	answer := unknown
	b.Verify = func(_ context.Context, domain, selector string) (bool, error) {
		if domain == "a.example" {
			t.Error("a key that the cluster knows was checked")
		}
		return domain == "inzone.example", answer
	}
	if _, err := b.Join(t.Context()); !errors.Is(err, unknown) {
		t.Errorf("without DNS: %v", err)
	}
	sync2(a)
	a.expect("unchecked", "inzone.example", "s1", "none")
	answer = nil
	j, err := b.Join(t.Context())
	if err != nil || !slices.Equal(j.Inactive, []string{"gone.example/s1"}) || !slices.Equal(j.Hosts, []string{"a", "b"}) {
		t.Errorf("%+v, %v", j, err)
	}
	sync2(a, b)
	for _, h := range []*host{a, b} {
		h.expect("old key", "a.example", "s1", "revoked")
		h.expect("in DNS", "inzone.example", "s1", "active pem")
		h.expect("not in DNS", "gone.example", "s1", "published pem")
	}
}

// Activation waits until each host has the key, and withdrawal until each host has read that the key no longer signs. Neither a deleted row
// nor a forged one shortens the wait; only leave does.
func testMembers(t *testing.T, s *site) {
	a, b, c := s.joined("a"), s.joined("b"), s.joined("c")
	sync2(a)
	a.create("a.example", "s1")
	sync2(a)
	expect := func(what string, purpose control.Purpose, want ...string) {
		t.Helper()
		behind, err := a.Missing(t.Context(), "a.example", "s1", purpose)
		var names []string
		for _, h := range behind {
			names = append(names, h.Name)
			if h.Needs == 0 || h.Version >= h.Needs {
				t.Errorf("%s: %+v", what, h)
			}
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%s: behind %q, %v; want %q", what, names, err, want)
		}
	}
	expect("new key", control.Activate, "b", "c")
	sync2(b)
	expect("b has it", control.Activate, "c")
	s.sql("DELETE FROM sp_host WHERE name = 'c'")
	expect("deleted row", control.Activate, "c")
	s.sql("UPDATE sp_host SET version = 1000000 WHERE name = 'b'")
	expect("forged row", control.Activate, "b", "c")
	if log := a.log.take(); strings.Count(log, "cluster row refused") != 1 || !strings.Contains(log, "table=sp_host key=b") {
		t.Errorf("log %s", log)
	}
	sync2(b, c)
	expect("all have it", control.Activate)
	a.activate("a.example", "s1")
	sync2(a, b, c)
	a.retire("a.example", "s1")
	expect("retired", control.Withdraw, "b", "c")
	expect("retired", control.Activate)
	sync2(b)
	// A later change of the key does not start the wait again.
	a.edit("a.example", "s1", func(m *keys.Metadata, _ *time.Time) { m.Finding = "x" })
	sync2(a)
	expect("later change", control.Withdraw, "c")
	status := a.reported()
	i := slices.IndexFunc(status.Hosts, func(h control.Host) bool { return h.Name == "c" })
	if i < 0 || status.Hosts[i].Lag == 0 || status.Hosts[i].Program != "signpost 0.3.0" || status.Hosts[i].Seen.IsZero() || len(status.Hosts) != 3 {
		t.Errorf("status %+v", status)
	}
	if err := a.Leave(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	expect("c left", control.Withdraw)
	stopped(t, a.Leave(t.Context(), "c"), cluster.NotJoined)
	stopped(t, c.Sync(t.Context()), cluster.Left)
	c.create("late.example", "s1")
	stopped(t, c.Sync(t.Context()), cluster.Left)
	sync2(b)
	b.expect("from a host that left", "late.example", "s1", "none")
	if _, err := c.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	sync2(c, b)
	b.expect("joined again", "late.example", "s1", "generated pem")
	// The clock of a host does not change the order, and its difference is reported.
	b.ahead = -3 * time.Hour
	b.create("b.example", "s1")
	sync2(b, a)
	if i := slices.IndexFunc(a.reported().Hosts, func(h control.Host) bool { return h.Name == "b" }); i < 0 || a.reported().Hosts[i].ClockMS > -10_700_000 {
		t.Errorf("%+v", a.reported().Hosts)
	}
	a.expect("slow clock", "b.example", "s1", "generated pem")
	if data, err := json.Marshal(a.reported()); err != nil || !json.Valid(data) {
		t.Error(err)
	}
}

// Two hosts cannot use one name.
func testNames(t *testing.T, s *site) {
	a := s.joined("a")
	other := s.joined("a")
	stopped(t, errors.Join(a.Sync(t.Context()), other.Sync(t.Context()), a.Sync(t.Context())), cluster.NameTaken)
	b := s.joined("b")
	b.name = "c"
	s.start(b, s.server.URL(s.database))
	stopped(t, b.Sync(t.Context()), cluster.NotJoined)
}

// After an operator copies a second site key to all hosts, rekey seals all rows again. Until each host has the key, nothing changes. Then
// the old key can be removed.
func testRekey(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.create("a.example", "s1")
	a.activate("a.example", "s1")
	sync2(a, b)
	old, next := readFile(t, s.keyFile), cluster.NewSiteKey()
	both := s.keyFile + ".both"
	if err := os.WriteFile(both, []byte(old+next), 0o600); err != nil {
		t.Fatal(err)
	}
	a.KeyFile = both
	sync2(a)
	if r, err := a.Rekey(t.Context()); err != nil || !slices.Equal(r.Waiting, []string{"b"}) || r.Rows != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	a.create("b.example", "s1")
	sync2(a, b)
	b.expect("sealed with the key that b has", "b.example", "s1", "generated pem")
	b.KeyFile = both
	sync2(b)
	r, err := a.Rekey(t.Context())
	if err != nil || len(r.Waiting) != 0 || r.Rows == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	sync2(b, a)
	if got := s.sql("SELECT COUNT(*) FROM sp_key WHERE key_id <> '%s'", r.KeyID) + s.sql("SELECT COUNT(*) FROM sp_rule WHERE key_id <> '%s'", r.KeyID); got != "00" {
		t.Errorf("rows with the old key: %s", got)
	}
	s.setKeys(next)
	a.KeyFile, b.KeyFile = s.keyFile, s.keyFile
	b.retire("a.example", "s1")
	sync2(b, a, b)
	a.expect("without the old key", "a.example", "s1", "retiring pem")
	c := s.joined("c")
	same("new host", a, c, "a.example", "s1")
	if log := a.log.take() + b.log.take() + c.log.take(); strings.Contains(log, "refused") {
		t.Error(log)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The rules of a file reach the file of the other host. What the file had before the merge is passed as the base.
func testRules(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	files := map[string]map[cluster.RuleID]string{"a": {}, "b": {}}
	broken := errors.New("rules.toml is not valid")
	var failure error
	for _, h := range []*host{a, b} {
		h.Merge = func(base, database map[cluster.RuleID]string) (map[cluster.RuleID]string, error) {
			if failure != nil {
				return nil, failure
			}
			file := files[h.name]
			for _, all := range []map[cluster.RuleID]string{base, database} {
				for id := range all {
					if database[id] != base[id] {
						if file[id] = database[id]; file[id] == "" {
							delete(file, id)
						}
					}
				}
			}
			return file, nil
		}
	}
	x, y := cluster.RuleID{Kind: "deny", Name: "x.example"}, cluster.RuleID{Kind: "allow", Name: "192.0.2.0/24 from y/z"}
	files["a"][x], files["b"][y] = "domain = \"x.example\"\n", "# comment ü\n"
	sync2(a, b, a)
	if !reflect.DeepEqual(files["a"], files["b"]) || len(files["a"]) != 2 {
		t.Errorf("%v", files)
	}
	files["b"][x] = "domain = \"x.example\" # edited\n"
	failure = broken
	if err := b.Sync(t.Context()); !errors.Is(err, broken) {
		t.Errorf("a file that is not valid: %v", err)
	}
	b.create("b.example", "s1")
	_ = b.Sync(t.Context())
	failure = nil
	sync2(a)
	a.expect("keys do not wait for the file", "b.example", "s1", "generated pem")
	sync2(b, a)
	if files["a"][x] != files["b"][x] || !strings.Contains(files["a"][x], "edited") {
		t.Errorf("%v", files)
	}
	delete(files["a"], x)
	sync2(a, b)
	if _, ok := files["b"][x]; ok || len(files["b"]) != 1 {
		t.Errorf("%v", files)
	}
	files["b"][x] = "again\n"
	sync2(b, a)
	if files["a"][x] != "again\n" {
		t.Errorf("%v", files)
	}
}
