package control_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster/control"
)

// serve starts a server on a socket and returns its client.
func serve(t *testing.T, s control.Server) control.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.Handler()}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return control.Client{Socket: socket}
}

// The client receives what the functions of the server return.
func TestRequests(t *testing.T) {
	lease := control.Lease{Holder: "a", Mine: true, LeftMS: 42000, Epoch: 7}
	behind := []control.Behind{{Name: "b", Seen: time.UnixMilli(1000).UTC(), Version: 3, Needs: 5}}
	synced := 0
	c := serve(t, control.Server{
		Lease: func(context.Context) (control.Lease, error) { return lease, nil },
		Lead: func(ctx context.Context) (control.Lease, error) {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("Lead has no deadline")
			}
			return lease, nil
		},
		Missing: func(_ context.Context, domain, selector string, p control.Purpose) ([]control.Behind, error) {
			if domain != "example.org" || selector != "s1" || p != control.Withdraw {
				t.Errorf("Missing(%q, %q, %q)", domain, selector, p)
			}
			return behind, nil
		},
		Sync:   func(context.Context) error { synced++; return nil },
		Status: func(context.Context) (control.Status, error) { return control.Status{Host: "a"}, nil },
	})
	ctx := t.Context()
	if got, err := c.Lease(ctx); err != nil || got != lease {
		t.Errorf("Lease = %+v, %v", got, err)
	}
	if got, err := c.Lead(ctx); err != nil || got != lease {
		t.Errorf("Lead = %+v, %v", got, err)
	}
	if got, err := c.Missing(ctx, "example.org", "s1", control.Withdraw); err != nil || !reflect.DeepEqual(got, behind) {
		t.Errorf("Missing = %+v, %v", got, err)
	}
	if err := c.Sync(ctx); err != nil || synced != 1 {
		t.Errorf("Sync: %v, called %d times", err, synced)
	}
	if got, err := c.Status(ctx); err != nil || got.Host != "a" {
		t.Errorf("Status = %+v, %v", got, err)
	}
	if _, err := c.Missing(ctx, "../x", "s1", control.Withdraw); err == nil || !strings.Contains(err.Error(), "domain is not valid") {
		t.Errorf("Missing of an invalid domain: %v", err)
	}
}

// A refused request has the text and the hint of the cluster process.
func TestRefusal(t *testing.T) {
	c := serve(t, control.Server{Lead: func(context.Context) (control.Lease, error) {
		return control.Lease{}, &control.Refusal{Failure: control.Failure{Error: "the database cannot be reached", Hint: "try again"}}
	}})
	_, err := c.Lead(t.Context())
	if refusal := (*control.Refusal)(nil); !errors.As(err, &refusal) || err.Error() != "the database cannot be reached\nhint: try again" {
		t.Errorf("Lead: %v", err)
	}
}

// If the cluster process does not run, the error states how to start it.
func TestNotRunning(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close() // a socket that is left after a crash
	for _, path := range []string{socket, filepath.Join(t.TempDir(), "none")} {
		_, err := control.Client{Socket: path}.Lease(t.Context())
		if !errors.Is(err, control.ErrUnreachable) || !strings.Contains(err.Error(), "not running") || !strings.Contains(err.Error(), "systemctl start signpost-cluster") {
			t.Errorf("Lease: %v", err)
		}
	}
}

// A reply that is not JSON is an error, not an empty result.
func TestForeignServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) })}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	if _, err := (control.Client{Socket: socket}).Lease(t.Context()); !errors.Is(err, control.ErrUnreachable) {
		t.Errorf("Lease: %v", err)
	}
}
