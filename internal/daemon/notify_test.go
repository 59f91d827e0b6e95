package daemon

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Notifications are sent in the order that systemd expects. WATCHDOG=1 is sent only while the sockets answer.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "200000")
	await := func(prefix string) {
		t.Helper()
		buf := make([]byte, 4096)
		for {
			if err := ln.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := ln.Read(buf)
			if err != nil {
				t.Fatal(prefix, err)
			}
			if got := string(buf[:n]); strings.HasPrefix(got, prefix) {
				return
			} else if !strings.HasPrefix(got, "WATCHDOG=1\n") {
				t.Fatalf("%q, want %s", got, prefix)
			}
		}
	}
	t.Cleanup(func() { await("STOPPING=1") }) // runs after the daemon has stopped
	r := start(t, "")
	await("READY=1\nSTATUS=enforce, 0 hosted domains")
	await("WATCHDOG=1\nSTATUS=")
	r.hangup("mode = \"observe\"\n")
	await("RELOADING=1\nMONOTONIC_USEC=")
	await("READY=1\nSTATUS=observe")
	if err := (&service{listeners: []net.Listener{silent(t)}, server: r.server}).probe(t.Context(), 50*time.Millisecond); err == nil {
		t.Error("the probe succeeds although a socket does not answer")
	}
}

// A daemon notifies the service manager that started it, not one that is named later in its environment. An earlier version sent a reload
// notification to the socket of another test.
func TestNotifyOwnManager(t *testing.T) {
	r := start(t, "") // without a service manager
	path := filepath.Join(t.TempDir(), "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	if log, ok := r.hangup(""); !ok {
		t.Fatal(log)
	}
	c, err := net.Dial("unixgram", path)
	if err == nil {
		_, err = c.Write([]byte("the end"))
		c.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	if n, err := ln.Read(buf); err != nil || string(buf[:n]) != "the end" {
		t.Errorf("%q %v", buf[:n], err)
	}
}

// The probe succeeds while all connections are in use, so that the watchdog does not stop a busy daemon.
func TestWatchdogUnderLoad(t *testing.T) {
	r := start(t, "")
	for full := false; !full; { // opens one connection more than the limit, because Serve accepts that many
		full = r.server.Full()
		c, err := net.Dial("unix", filepath.Join(r.dir, "milter.sock"))
		if errors.Is(err, syscall.EAGAIN) { // the queue of the socket is full
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	r.log.after("too many milter connections")
	if err := r.probe(t.Context(), time.Second); err != nil {
		t.Error(err)
	}
}

// silent returns a listener that does not answer.
func silent(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}
