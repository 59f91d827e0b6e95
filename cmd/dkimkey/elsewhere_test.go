package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster/control"
	"signpost/keys"
)

// On a host that does not lead the cluster, the daily run changes nothing, prints the name of the leader, and counts as a successful run. If
// the host becomes the leader months later, the time since its last own rotation is no jump of the clock, and signpost check reports no
// missed run.
func TestOtherHostRotates(t *testing.T) {
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "c.toml")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: control.Server{Lease: func(context.Context) (control.Lease, error) { return control.Lease{Holder: "mx2"}, nil }}.Handler()}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	text := fmt.Sprintf("state_dir = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\n[cluster]\ndatabase = \"mysql://u@db.example.org/d\"\nsocket = %q\n", dir, socket)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	store := keys.Store{State: dir, Dir: filepath.Join(dir, "keys"), Now: time.Now}
	if err := store.Make(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"rotate", "-c", file}, &out, &out); code != 0 || !strings.Contains(out.String(), "host mx2 rotates the keys") {
		t.Errorf("exit code %d: %s", code, &out)
	}
	if last, err := store.LastRun(); err != nil || last.Succeeded().IsZero() || last.Failed {
		t.Errorf("%+v, %v", last, err)
	}
}
