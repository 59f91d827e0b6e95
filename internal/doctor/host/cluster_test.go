package host_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/doctor"
	"signpost/internal/doctor/host"
)

// doctor reports a healthy cluster with its version and leader, and what is wrong with the fix.
func TestCluster(t *testing.T) {
	dir := t.TempDir()
	key, conf, status := filepath.Join(dir, "cluster.key"), filepath.Join(dir, "cluster.toml"), filepath.Join(dir, control.StatusName)
	for _, c := range []struct {
		name       string
		key, conf  os.FileMode // 0: the file does not exist
		leader     string
		want       []string // level and beginning of What
		withoutRun bool
	}{
		{"good", 0o600, 0o640, "mx1", []string{"green|this host has version 7 of the cluster, the database has 7; host mx1 leads"}, false},
		{"no leader", 0o600, 0o640, "", []string{"yellow|no host holds the lease"}, false},
		{"no key", 0, 0o640, "mx1", []string{"red|the site key " + key + " does not exist"}, false},
		{"open key", 0o640, 0o640, "mx1", []string{"red|other users can read the site key"}, false},
		{"open password", 0o600, 0o644, "mx1", []string{"yellow|every user can read the password of the database"}, false},
		{"never run", 0o600, 0o640, "mx1", []string{"red|signpost-cluster has never run on this host"}, true},
	} {
		state := control.Status{At: time.Now(), Host: "mx1", Leader: c.leader, Version: 7, Database: control.Database{Version: 7, Reachable: true}}
		data, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		for path, mode := range map[string]os.FileMode{key: c.key, conf: c.conf, status: 0o600} {
			if os.Remove(path); mode == 0 || path == status && c.withoutRun {
				continue
			}
			if err := os.WriteFile(path, data, mode); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, check := range host.Checks(host.Facts{User: doctor.UserName(uint32(os.Geteuid())), Cluster: host.Cluster{Status: status, KeyFile: key, Secret: conf}}) {
			if check.Name != "cluster" {
				continue
			}
			for _, f := range doctor.Run(t.Context(), []doctor.Check{check}) {
				if got = append(got, string(f.Level)+"|"+f.What); f.Level != doctor.Green && (f.Why == "" || f.Fix == "" || f.Where == "") {
					t.Errorf("%s: %+v", c.name, f)
				}
			}
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: got:\n%s\nwant:\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}
