package lookup

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// leaver is a source whose client closes the connection during the lookup.
type leaver struct{ client net.Conn }

func (l leaver) Lookup(context.Context, string, string) (Answer, error) {
	return Answer{}, l.client.Close()
}

// A client that does not wait for the reply is not an error. Otherwise each lookup in an outage would be a line in the log.
func TestClientLeaves(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(netstring(domains + " a")); err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := (&Server{Source: leaver{client}, Timeout: time.Second}).answer(t.Context(), c, newIdleClients()); err != nil {
		t.Error(err)
	}
}

// failingListener accepts one connection. Then it fails.
type failingListener struct {
	net.Listener
	accepted bool
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.accepted {
		return nil, errors.New("no buffer space")
	}
	l.accepted = true
	return l.Listener.Accept()
}

// If the listener fails, Serve returns although a client is connected, so that the service manager starts the server again.
func TestListenerFails(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		done <- (&Server{Source: &table{}, Timeout: time.Second, Log: slog.New(slog.DiscardHandler)}).Serve(t.Context(), &failingListener{Listener: ln})
	}()
	client, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(10 * time.Second):
		t.Error("Serve did not return")
	}
}
