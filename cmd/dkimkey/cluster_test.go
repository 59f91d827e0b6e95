package main

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/cluster/control"
)

// clusterHouse is a house that belongs to a cluster. Its fields are the answers of the cluster process.
type clusterHouse struct {
	*house
	mu       sync.Mutex
	lease    control.Lease
	leadErr  error
	syncErr  error
	behind   []control.Behind
	requests []string
}

func newClusterHouse(t *testing.T) *clusterHouse {
	t.Helper()
	h := &clusterHouse{lease: control.Lease{Holder: "a", Mine: true, LeftMS: 60_000}}
	socket := filepath.Join(t.TempDir(), "s")
	h.house = newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136+"[keys]\nalgorithms = [\"ed25519\"]\n"+
		"[cluster]\ndatabase = \"postgres://u:p@127.0.0.1/x\"\nname = \"a\"\nsocket = \""+socket+"\"\n")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	noted := func(request string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.requests = append(h.requests, request)
	}
	server := &http.Server{Handler: control.Server{
		Lease:   func(context.Context) (control.Lease, error) { noted("lease"); return h.lease, nil },
		Lead:    func(context.Context) (control.Lease, error) { noted("lead"); return h.lease, h.leadErr },
		Sync:    func(context.Context) error { noted("sync"); return h.syncErr },
		Status:  func(context.Context) (control.Status, error) { return control.Status{}, nil },
		Missing: func(context.Context, string, string, control.Purpose) ([]control.Behind, error) { return h.behind, nil },
	}.Handler()}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return h
}

// asked returns the requests since the last call, without those for the state of the lease.
func (h *clusterHouse) asked() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, r := range h.requests {
		if r != "lease" {
			all = append(all, r)
		}
	}
	h.requests = nil
	return strings.Join(all, " ")
}

// A command that changes keys takes over the lease before the change, and passes on the change afterwards.
func TestClusterCommands(t *testing.T) {
	t.Parallel()
	h := newClusterHouse(t)
	for _, args := range [][]string{
		{"add", "example.org", "--selector", "s1"}, {"rotate", "example.org", "--now"}, {"import", filepath.Join(h.dir, "state/keys/example.org/s1.pem"), "--selector", "s2", "--domain", "example.org"},
		{"revoke", "example.org", "s1", "--compromised"}, {"remove", "example.org", "--yes"},
	} {
		out, _ := h.run(args...)
		if got := h.asked(); got != "lead sync" {
			t.Errorf("%s: requests %q\n%s", args[0], got, out)
		}
	}
	for _, args := range [][]string{{"status"}, {"rotate", "--dry-run"}, {"check"}} {
		h.run(args...)
		if got := h.asked(); got != "" {
			t.Errorf("%s: requests %q", args, got)
		}
	}
}

// Without the lease, no command changes a key.
func TestClusterWithoutLease(t *testing.T) {
	t.Parallel()
	h := newClusterHouse(t)
	h.leadErr = &control.Refusal{Failure: control.Failure{Error: "the database cannot be reached", Hint: "signpost cluster status"}}
	out, code := h.run("add", "example.org")
	if code != 1 || !strings.Contains(out, "taking over the cluster lease, without which no key is changed: the database cannot be reached\nhint: signpost cluster status\n") {
		t.Errorf("add: exit code %d\n%s", code, out)
	}
	if known, err := h.store().Known(); err == nil && len(known) > 0 {
		t.Errorf("domains %q have been added", known)
	}
}

// The daily run changes nothing on a host that does not hold the lease. This is normal if another host holds it.
func TestClusterDailyRun(t *testing.T) {
	t.Parallel()
	h := newClusterHouse(t)
	h.must("add", "example.org", "--selector", "s1")
	h.must("rotate")
	h.now = h.now.Add(3 * time.Hour)
	h.lease = control.Lease{Holder: "b"}
	if out := h.must("rotate"); out != "dkimkey: host b rotates the keys of this cluster\n" || h.signing("example.org") != "" {
		t.Errorf("rotate: %s", out)
	}
	h.lease = control.Lease{}
	if out, code := h.run("rotate"); code != 1 || !strings.Contains(out, "no host holds the cluster lease") || h.signing("example.org") != "" {
		t.Errorf("rotate without a leader: exit code %d\n%s", code, out)
	}
	h.lease = control.Lease{Holder: "a", Mine: true, LeftMS: 60_000}
	h.must("rotate")
	if got := h.signing("example.org"); got != "s1" {
		t.Errorf("%q signs", got)
	}
}

// A key waits for the other hosts, and the output names them.
func TestClusterMissingHost(t *testing.T) {
	t.Parallel()
	h := newClusterHouse(t)
	h.must("add", "example.org", "--selector", "s1")
	h.must("rotate")
	h.now = h.now.Add(3 * time.Hour)
	h.behind = []control.Behind{{Name: "b", Seen: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}, {Name: "c"}}
	out, code := h.run("rotate")
	if code != 1 || !strings.Contains(out, "key s1: not activated yet, because other hosts do not have its private key: b (last synchronized 2026-11-01T00:00:00Z), c (never synchronized)") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if got := h.signing("example.org"); got != "" {
		t.Errorf("%q signs", got)
	}
}

// If less than half a minute of the lease is left, no record is changed and no key is activated.
func TestClusterLeaseEnds(t *testing.T) {
	t.Parallel()
	h := newClusterHouse(t)
	h.must("add", "example.org", "--selector", "s1")
	h.must("rotate")
	h.now = h.now.Add(3 * time.Hour)
	h.lease.LeftMS = 29_000
	if out, code := h.run("rotate"); code != 1 || !strings.Contains(out, "the cluster lease ends soon") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if got := h.signing("example.org"); got != "" {
		t.Errorf("%q signs", got)
	}
}

// A compromised key is revoked even if the lease cannot be taken over: its record is emptied, and this host stops signing with it.
func TestClusterRevokeWithoutLease(t *testing.T) {
	t.Parallel()
	h := newClusterHouse(t)
	h.must("add", "example.org", "--selector", "s1")
	h.must("rotate")
	h.now = h.now.Add(3 * time.Hour)
	h.must("rotate")
	h.leadErr, h.lease = &control.Refusal{Failure: control.Failure{Error: "the database cannot be reached"}}, control.Lease{}
	out, code := h.run("revoke", "example.org", "s1", "--compromised")
	if code != 1 || !strings.Contains(out, "the key is revoked nevertheless") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if txt, err := h.txt("s1._domainkey.example.org"); err != nil || len(txt) != 1 || !strings.HasSuffix(txt[0], "p=") {
		t.Errorf("DNS has %q, %v", txt, err)
	}
}

// If the change cannot be passed on, the exit code is 1, and the output states that the change is complete here.
func TestClusterSyncFails(t *testing.T) {
	t.Parallel()
	h := newClusterHouse(t)
	h.syncErr = &control.Refusal{Failure: control.Failure{Error: "the database cannot be reached"}}
	out, code := h.run("add", "example.org", "--selector", "s1")
	if code != 1 || !strings.Contains(out, "the change is complete on this host") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
