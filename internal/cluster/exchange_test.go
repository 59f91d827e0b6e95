package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"signpost/internal/cluster"
	"signpost/internal/cluster/control"
	"signpost/keys"
)

// Keys and hosted domains reach the other host, in both directions. Files that did not change cause no row.
func testBothWays(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.create("a.example", "s1")
	b.create("b.example", "s1")
	a.activate("a.example", "s1")
	a.unmanaged("c.example", "old")
	sync2(a, b, a)
	for _, domain := range []string{"a.example", "b.example"} {
		same("new key", a, b, domain, "s1")
	}
	b.expect("active", "a.example", "s1", "active pem")
	b.expect("unmanaged", "c.example", "old", "unmanaged pem")
	same("unmanaged", a, b, "c.example", "old")
	if !b.hosted("a.example") || b.hosted("b.example") {
		t.Error("hosted domains were not exchanged")
	}
	sync2(a, b)
	before := s.sql("SELECT version FROM sp_site")
	for range 3 {
		sync2(a, b)
	}
	if after := s.sql("SELECT version FROM sp_site"); after != before {
		t.Errorf("version %s became %s without a change", before, after)
	}
	if a.reported().Version != b.reported().Version || fmt.Sprint(a.reported().Version) != before {
		t.Errorf("versions %d and %d, database %s", a.reported().Version, b.reported().Version, before)
	}
	// A domain that a command has locked on this host is read later. The host does not count as up to date until then.
	unlock := b.lock("a.example")
	a.edit("a.example", "s1", func(m *keys.Metadata, _ *time.Time) { m.Finding = "locked" })
	sync2(a)
	a.create("d.example", "s1")
	sync2(a, b)
	b.expect("beside a locked domain", "d.example", "s1", "generated pem")
	if a.reported().Version == b.reported().Version {
		t.Error("a host with a locked domain is up to date")
	}
	unlock()
	sync2(b)
	same("unlocked", a, b, "a.example", "s1")
	if a.reported().Version != b.reported().Version {
		t.Errorf("versions %d and %d", a.reported().Version, b.reported().Version)
	}
	// A host that was off for long gets the present state, not each step.
	for i := range 20 {
		b.edit("b.example", "s1", func(m *keys.Metadata, _ *time.Time) { m.Finding = fmt.Sprint(i) })
		sync2(b)
	}
	sync2(a)
	same("many changes", a, b, "b.example", "s1")
}

// Each stage of a key reaches the other host. The private key of a revoked key is deleted there too.
func testLife(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.create("a.example", "s1")
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "generated pem"},
		{func() { a.activate("a.example", "s1") }, "active pem"},
		{func() { b.retire("a.example", "s1") }, "retiring pem"},
		{func() { a.revoke("a.example", "s1") }, "revoked"},
		{func() { b.edit("a.example", "s1", func(m *keys.Metadata, now *time.Time) { m.Removed = now }) }, "removed"},
		// In a ring, the selector gets a new key.
		{func() { a.create("a.example", "s1") }, "generated pem"},
	} {
		step.do()
		sync2(a)
		if step.want == "generated pem" { // each host needs the new key
			if behind, err := a.Missing(t.Context(), "a.example", "s1", control.Activate); err != nil || len(behind) != 1 {
				t.Errorf("behind %+v, %v", behind, err)
			}
		}
		sync2(b, a, b)
		a.expect("own", "a.example", "s1", step.want)
		b.expect("other", "a.example", "s1", step.want)
		same("stage", a, b, "a.example", "s1")
	}
}

// If two hosts change the same key at once, one row is written. Both hosts come to the same state, and no change overwrites a later stage.
func testConflict(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.create("a.example", "s1")
	sync2(a, b)
	a.activate("a.example", "s1")
	b.edit("a.example", "s1", func(m *keys.Metadata, now *time.Time) { m.Published = now })
	sync2(b, a, b, a)
	for _, h := range []*host{a, b} {
		h.expect("conflict", "a.example", "s1", "active pem")
	}
	same("conflict", a, b, "a.example", "s1")
	// Both created a key with the same selector. The first row wins, because neither signs.
	a.create("b.example", "s1")
	b.create("b.example", "s1")
	sync2(b, a, b)
	same("same selector", a, b, "b.example", "s1")
	// A key that signs is not replaced by one that does not sign yet.
	a.create("c.example", "s1")
	a.activate("c.example", "s1")
	b.create("c.example", "s1")
	sync2(b, a, b)
	b.expect("active key", "c.example", "s1", "active pem")
	same("active key", a, b, "c.example", "s1")
	// A compromised key stays compromised.
	a.activate("b.example", "s1")
	sync2(a, b)
	a.edit("b.example", "s1", func(m *keys.Metadata, now *time.Time) { m.Compromised, m.Retired = true, now })
	b.revoke("b.example", "s1")
	sync2(b, a, b, a)
	for _, h := range []*host{a, b} {
		files, err := h.store.FilesOf("b.example")
		if err != nil {
			t.Fatal(err)
		}
		if m, err := files["s1"].Parsed(); err != nil || !m.Compromised || m.State() != keys.Revoked {
			t.Errorf("host %s: %+v, %v", h.name, m, err)
		}
	}
}

// A host whose files were restored from a backup gets the present state, and does not bring the old state to the others.
func testNeverBackwards(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.create("a.example", "s1")
	a.activate("a.example", "s1")
	a.create("a.example", "s2")
	sync2(a, b)
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(b.store.Dir)); err != nil {
		t.Fatal(err)
	}
	a.activate("a.example", "s2")
	a.retire("a.example", "s1")
	sync2(a, b)
	a.revoke("a.example", "s1")
	sync2(a, b)
	if err := os.RemoveAll(b.store.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(b.store.Dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	if err := filepath.Walk(b.store.Dir, func(path string, fi os.FileInfo, err error) error {
		if err == nil && !fi.IsDir() {
			err = os.Chmod(path, 0o600)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	b.expect("backup", "a.example", "s1", "active pem")
	sync2(b)
	b.expect("at once", "a.example", "s1", "revoked")
	sync2(a, b)
	for _, h := range []*host{a, b} {
		h.expect("after the restore", "a.example", "s1", "revoked")
		h.expect("after the restore", "a.example", "s2", "active pem")
	}
}

// A domain is removed on all hosts only if it was removed by a command. Its records stay remembered, and it can be added again.
func testRemoval(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	for _, h := range []*host{a, b} {
		h.create(h.name+".example", "s1")
		h.activate(h.name+".example", "s1")
	}
	a.create("pending.example", "s1")
	sync2(a, b, a)
	for _, domain := range []string{"a.example", "pending.example"} {
		if _, _, err := b.store.RemoveDomain(t.Context(), domain); err != nil {
			t.Fatal(err)
		}
	}
	sync2(b, a, b)
	for _, h := range []*host{a, b} {
		h.expect("removed", "a.example", "s1", "none")
		h.expect("removed", "pending.example", "s1", "none")
		h.expect("other domain", "b.example", "s1", "active pem")
		if h.hosted("a.example") || !h.hosted("b.example") {
			t.Errorf("host %s: wrong hosted domains", h.name)
		}
		if _, err := os.Stat(filepath.Join(h.store.Dir, "a.example")); !os.IsNotExist(err) {
			t.Errorf("host %s: the directory of the domain: %v", h.name, err)
		}
		if _, err := h.store.Create(keys.Options{Domain: "a.example", Selector: "s1", Algorithm: "ed25519", Publish: "manual"}); err == nil {
			t.Errorf("host %s: the selector of a removed domain can be used again", h.name)
		}
		os.Remove(filepath.Join(h.store.Dir, "a.example"))
	}
	a.create("a.example", "s2")
	sync2(a, b, a)
	b.expect("added again", "a.example", "s2", "generated pem")
	b.expect("added again", "a.example", "s1", "none")
	// The last domains, too.
	for _, domain := range []string{"a.example", "b.example"} {
		if _, _, err := a.store.RemoveDomain(t.Context(), domain); err != nil {
			t.Fatal(err)
		}
	}
	sync2(a, b, a, b)
	b.expect("the last domain", "b.example", "s1", "none")
}

// Lost files are restored from the database, and are never taken for a removal. If all keys are missing, the host stops, because a file
// system may not be mounted.
func testLostFiles(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	for _, domain := range []string{"a.example", "b.example"} {
		a.create(domain, "s1")
		a.activate(domain, "s1")
	}
	sync2(a, b)
	for _, lost := range []string{"a.example/s1.pem", "a.example/s1.json", "a.example"} {
		if err := os.RemoveAll(filepath.Join(b.store.Dir, lost)); err != nil {
			t.Fatal(err)
		}
		sync2(b, a)
		b.expect(lost+" lost", "a.example", "s1", "active pem")
		same(lost+" lost", a, b, "a.example", "s1")
	}
	if err := os.RemoveAll(filepath.Join(b.store.State, "hosted")); err != nil {
		t.Fatal(err)
	}
	sync2(b, a)
	if !b.hosted("a.example") || !a.hosted("a.example") {
		t.Error("a domain is no longer hosted after the directory was lost")
	}
	moved := b.store.Dir + ".moved"
	for _, empty := range []bool{false, true} {
		if err := os.Rename(b.store.Dir, moved); err != nil {
			t.Fatal(err)
		}
		if empty {
			if err := os.Mkdir(b.store.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		stopped(t, b.Sync(t.Context()), cluster.NoKeys)
		if b.reported().Error == "" {
			t.Error("the status has no error")
		}
		sync2(a)
		a.expect("missing directory on b", "a.example", "s1", "active pem")
		if err := os.RemoveAll(b.store.Dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(moved, b.store.Dir); err != nil {
			t.Fatal(err)
		}
		sync2(b)
	}
	// The operator fetches all keys again.
	if err := os.RemoveAll(b.store.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	same("joined again", a, b, "b.example", "s1")
	// A file that cannot be used stays as it is, and the host does not count as up to date.
	bad := filepath.Join(b.store.Dir, "b.example", "s1.pem")
	if err := os.Chmod(bad, 0o644); err != nil {
		t.Fatal(err)
	}
	sync2(b, a)
	a.expect("bad mode on b", "b.example", "s1", "active pem")
	a.retire("b.example", "s1")
	sync2(a)
	a.create("later.example", "s1")
	sync2(a, b)
	if behind, err := a.Missing(t.Context(), "b.example", "s1", control.Withdraw); err != nil || len(behind) != 1 || behind[0].Name != "b" {
		t.Errorf("behind %+v, %v", behind, err)
	}
	if r := b.reported().Refused; len(r) != 1 || r[0].Reason != "local_files" {
		t.Errorf("refused %+v", r)
	}
	if err := os.Chmod(bad, 0o600); err != nil {
		t.Fatal(err)
	}
	sync2(b, b)
	b.expect("mode corrected", "b.example", "s1", "retiring pem")
	if behind, err := a.Missing(t.Context(), "b.example", "s1", control.Withdraw); err != nil || len(behind) != 0 {
		t.Errorf("behind %+v, %v", behind, err)
	}
}
