package keys

import (
	"testing"
	"time"
)

// Merge never takes a key back in its life cycle. All hosts come to the same result.
func TestMerge(t *testing.T) {
	x, y := newExchange(t), newExchange(t)
	begin := x.m.Created
	later := begin.Add(time.Hour)
	stages := map[string]func(m *Metadata){
		"generated":   func(m *Metadata) {},
		"published":   func(m *Metadata) { m.Published = &begin },
		"verified":    func(m *Metadata) { m.Published, m.Seen = &begin, &begin },
		"active":      func(m *Metadata) { m.Published, m.Seen, m.Activated = &begin, &begin, &begin },
		"requested":   func(m *Metadata) { m.Published, m.Activated, m.Requested = &begin, &begin, &later },
		"retiring":    func(m *Metadata) { m.Published, m.Activated, m.Retired = &begin, &begin, &later },
		"compromised": func(m *Metadata) { m.Published, m.Retired, m.Compromised = &begin, &later, true },
		"revoked":     func(m *Metadata) { m.Published, m.Retired, m.Revoked = &begin, &later, &later },
		"removed":     func(m *Metadata) { m.Published, m.Revoked, m.Removed = &begin, &later, &later },
	}
	make := func(x *exchange, stage string, created time.Time) *Files {
		t.Helper()
		switch stage {
		case "none":
			return nil
		case "deleted":
			f, err := NewFiles(exDomain, exSelector, x.file(x.from).Metadata, nil, true)
			if err != nil {
				t.Fatal(err)
			}
			return f
		case "unmanaged":
			f, err := NewFiles(exDomain, exSelector, nil, x.file(x.from).PEM, false)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		m := *x.m
		m.Created = created
		stages[stage](&m)
		pem := x.file(x.from).PEM
		if s := m.State(); s == Revoked || s == Removed {
			pem = nil
		}
		f, err := FilesFrom(&m, pem)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, c := range []struct {
		local, other string
		another      bool          // other is another key pair
		age          time.Duration // how much later it was created
		want         string        // "local", "other" or "both"
	}{
		{"none", "active", false, 0, "other"},
		{"generated", "published", false, 0, "other"},
		{"published", "generated", false, 0, "local"},
		{"verified", "published", false, 0, "other"}, // a check found another record
		{"published", "verified", false, 0, "other"},
		{"active", "verified", false, 0, "local"},
		{"active", "retiring", false, 0, "other"},
		{"retiring", "active", false, 0, "local"},
		{"revoked", "retiring", false, 0, "local"},
		{"removed", "revoked", false, 0, "local"},
		{"revoked", "removed", false, 0, "other"},
		{"active", "deleted", false, 0, "other"},
		{"deleted", "active", false, 0, "local"},
		{"compromised", "retiring", false, 0, "both"},
		{"retiring", "compromised", false, 0, "other"},
		{"compromised", "revoked", false, 0, "both"},
		{"requested", "active", false, 0, "both"},
		{"active", "requested", false, 0, "other"},
		{"unmanaged", "retiring", false, 0, "other"},
		{"retiring", "unmanaged", false, 0, "local"},
		// Another key at the same selector.
		{"generated", "generated", true, time.Minute, "other"},
		{"active", "published", true, time.Minute, "local"},
		{"published", "active", true, -time.Minute, "other"},
		{"active", "retiring", true, time.Minute, "local"},
		{"active", "active", true, -time.Minute, "other"},
		{"removed", "generated", true, time.Minute, "other"}, // in a ring
		{"generated", "removed", true, -time.Minute, "local"},
		{"removed", "active", true, -time.Minute, "local"}, // an old key
		{"deleted", "generated", true, time.Minute, "other"},
		{"deleted", "active", true, -time.Minute, "local"},
	} {
		local, from := make(x, c.local, begin), x
		if c.another {
			from = y
		}
		other := make(from, c.other, begin.Add(c.age))
		got, err := Merge(local, other)
		if err != nil {
			t.Errorf("%s, %s: %v", c.local, c.other, err)
			continue
		}
		result := "both"
		switch got {
		case local:
			result = "local"
		case other:
			result = "other"
		}
		if result != c.want {
			t.Errorf("local %s, other %s (another key: %v): %s, want %s", c.local, c.other, c.another, result, c.want)
		}
		if c.want == "both" {
			m, err := got.Parsed()
			if err != nil || m.State() != other.metadata.State() || m.Compromised != (c.local == "compromised") || (m.Requested != nil) != (c.local == "requested") {
				t.Errorf("local %s, other %s: %+v, %v", c.local, c.other, m, err)
			}
		}
		// The other host merges what this host writes, and comes to the same result.
		if again, err := Merge(other, got); err != nil || again.Hash() != got.Hash() {
			t.Errorf("local %s, other %s: the hosts differ: %v", c.local, c.other, err)
		}
	}
}

// The lists of removed selectors are joined: the later time stays, and a removal is known from its time.
func TestMergeRemoved(t *testing.T) {
	x := newExchange(t)
	if err := x.from.writeMetadata(&Metadata{Domain: exDomain, Selector: "s2", Algorithm: "ed25519", Publish: "manual"}); err != nil {
		t.Fatal(err)
	}
	before, err := x.from.RemovedFile(exDomain)
	if at, parseErr := ParseRemoved(before); err != nil || parseErr != nil || !at.IsZero() {
		t.Fatal(at, err, parseErr)
	}
	if err := x.from.Remove(exDomain); err != nil {
		t.Fatal(err)
	}
	data, err := x.from.RemovedFile(exDomain)
	if at, parseErr := ParseRemoved(data); err != nil || parseErr != nil || at.IsZero() {
		t.Fatal(at, err, parseErr)
	}
	if err := x.to.MergeRemoved(exDomain, []byte(`{"s1":"2020-01-01T00:00:00Z","s9":"2020-01-01T00:00:00Z"}`)); err != nil {
		t.Fatal(err)
	}
	if err := x.to.MergeRemoved(exDomain, data); err != nil {
		t.Fatal(err)
	}
	past, err := x.to.past(exDomain)
	if err != nil || past["s9"].Year() != 2020 || past["s1"].Year() == 2020 || len(past) != 3 {
		t.Errorf("%v, %v", past, err)
	}
	if all, err := x.to.WithPast(exDomain, nil); err != nil || len(all) != 2 {
		t.Errorf("the selectors are %v, %v", all, err)
	}
	if err := x.to.MergeRemoved(exDomain, []byte("{")); err == nil {
		t.Error("a damaged list was accepted")
	}
	if domains, err := x.to.RemovedFiles(); err != nil || len(domains) != 1 {
		t.Errorf("%v, %v", domains, err)
	}
}
