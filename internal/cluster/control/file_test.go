package control_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster/control"
)

// A healthy cluster has no concern. Each fault is named, with the host and the time.
func TestConcerns(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	earlier := now.Add(-time.Hour)
	for _, c := range []struct {
		name   string
		change func(s *control.Status)
		want   string // in What of the first concern; "": none
		severe bool
	}{
		{"healthy", func(*control.Status) {}, "", false},
		{"stopped", func(s *control.Status) { s.At = earlier }, "signpost-cluster is not running: it last wrote its state at 2026-12-01T11:00:00Z", true},
		{"older database", func(s *control.Status) { s.Error = "the version went back" }, "the last synchronization failed: the version went back", true},
		{"refused", func(s *control.Status) {
			s.Refused = []control.Refused{{Table: "sp_rule", Name: "deny x", Reason: "bad MAC"}}
		}, "sp_rule deny x: bad MAC", true},
		{"refused and a missing host", func(s *control.Status) {
			s.Hosts[1].Missing = true
			s.Refused = []control.Refused{{Table: "sp_key", Name: "example.org s1", Reason: "bad seal"}}
		}, "sp_key example.org s1", true},
		{"short outage", func(s *control.Status) {
			s.Database = control.Database{Since: now.Add(-time.Minute)}
			s.Error, s.Leader = "connection refused", ""
		}, "", false},
		{"outage", func(s *control.Status) {
			s.Database = control.Database{Since: earlier}
			s.Error, s.Leader, s.Hosts[1].Missing = "connection refused", "", true
		}, "the database has not been reachable since 2026-12-01T11:00:00Z", false},
		{"no leader", func(s *control.Status) { s.Leader = "" }, "no host holds the lease", false},
		{"missing", func(s *control.Status) { s.Hosts[1].Missing, s.Hosts[1].Seen = true, earlier }, "host b has not synchronized since 2026-12-01T11:00:00Z", false},
		{"never seen", func(s *control.Status) { s.Hosts[1] = control.Host{Name: "b", Missing: true} }, "host b is registered, but has never synchronized", false},
		{"slow clock", func(s *control.Status) { s.Hosts[1].ClockMS = -90_000 }, "the clock of host b differs from that of the database by -90 s", false},
		{"lag", func(s *control.Status) { s.Hosts[1].Lag = 3 }, "", false}, // the host synchronizes, so it catches up
		{"late host", func(s *control.Status) { s.Reports = &control.Reports{Day: "2026-11-30", Late: []string{"b"}} }, "host b has not shipped all counts of 2026-11-30", false},
		{"no late host", func(s *control.Status) { s.Reports = &control.Reports{Day: "2026-11-30", Made: 5} }, "", false},
		{"messages wait", func(s *control.Status) { s.Messages = &control.Messages{Waiting: 3, Since: now.Add(-time.Minute)} }, "", false},
		{"messages wait for hours", func(s *control.Status) { s.Messages = &control.Messages{Waiting: 3, Since: earlier.Add(-time.Minute)} }, "3 messages of this host wait to be copied to the database, the oldest since 2026-12-01T10:59:00Z", false},
		{"messages lost", func(s *control.Status) { s.Messages = &control.Messages{Lost: 5, LostAt: earlier} }, "before the journal deleted them: 5;", false},
		{"messages lost long ago", func(s *control.Status) { s.Messages = &control.Messages{Lost: 5, LostAt: now.Add(-25 * time.Hour)} }, "", false},
		{"messages not copied", func(s *control.Status) {
			s.Messages = &control.Messages{Waiting: 1, Since: earlier, Error: "no right to insert"}
		}, "not copied to the database: no right to insert", false},
		{"site key", func(s *control.Status) { s.KeyIDs = append(s.KeyIDs, "new") }, "host a does not have the site key new", false},
	} {
		host := control.Host{Name: "a", Seen: now, Version: 7, KeyIDs: []string{"old"}}
		other := host
		other.Name = "b"
		s := control.Status{At: now, Host: "a", Version: 7, Database: control.Database{Version: 7, Reachable: true, Since: earlier}, Leader: "a",
			Hosts: []control.Host{host, other}, KeyIDs: []string{"old"}}
		c.change(&s)
		path := filepath.Join(t.TempDir(), control.StatusName)
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		read, err := control.ReadStatus(path)
		all := control.Concerns(read, err, now)
		if c.want == "" && len(all) > 0 || c.want != "" && (len(all) == 0 || !strings.Contains(all[0].What, c.want) || all[0].Severe != c.severe || all[0].Fix == "" || all[0].Why == "") {
			t.Errorf("%s: %+v, want %q", c.name, all, c.want)
		}
	}
}

// If there is no status, or it cannot be read, that is the concern.
func TestNoStatus(t *testing.T) {
	dir := t.TempDir()
	s, err := control.ReadStatus(filepath.Join(dir, "none"))
	if all := control.Concerns(s, err, time.Now()); len(all) != 1 || !all[0].Severe || !strings.Contains(all[0].What, "never run") {
		t.Errorf("%+v", all)
	}
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err = control.ReadStatus(broken)
	if all := control.Concerns(s, err, time.Now()); len(all) != 1 || !strings.Contains(all[0].What, "not a valid status file") {
		t.Errorf("%+v", all)
	}
}

// A thousand refused rows do not hide the other concerns: ten are named, and the others are counted.
func TestManyRefused(t *testing.T) {
	now := time.Now()
	s := control.Status{At: now, Leader: "a", Database: control.Database{Reachable: true}, Refused: make([]control.Refused, 1000)}
	all := control.Concerns(s, nil, now)
	if len(all) != 11 || all[10].What != "990 further rows of the database were refused" {
		t.Errorf("%d concerns, the last is %+v", len(all), all[len(all)-1])
	}
}
