package daemon

import (
	"net"
	"os"
	"testing"

	"signpost/internal/config"
)

// Sockets that were passed to another process, such as a parent, are neither used nor passed on.
func TestSocketsOfAnother(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "2")
	t.Setenv("LISTEN_FDNAMES", "a:b")
	all, err := passedSockets()
	if len(all) > 0 || err != nil {
		t.Error(all, err)
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if value, there := os.LookupEnv(name); there {
			t.Errorf("%s=%s is still set", name, value)
		}
	}
}

// The daemon finds a passed socket by any spelling of the socket's address, and by a host name for this address.
func TestListensAt(t *testing.T) {
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25}
	for _, c := range []struct {
		socket         net.Addr
		network, named string
		want           bool
	}{
		{loopback, "tcp", "127.0.0.1:25", true},
		{loopback, "tcp", "[::ffff:127.0.0.1]:025", true},
		{loopback, "tcp", "localhost:25", true},
		{loopback, "tcp", "localhost:26", false},
		{loopback, "tcp", "127.0.0.2:25", false},
		{loopback, "unix", "127.0.0.1:25", false},
		{&net.TCPAddr{IP: net.IPv6loopback, Port: 25}, "tcp", "[0::1]:25", true},
		{&net.UnixAddr{Name: "/a", Net: "unix"}, "unix", "/a", true},
		{&net.UnixAddr{Name: "/a", Net: "unix"}, "tcp", "/a", false},
	} {
		if got := listensAt(t.Context(), c.socket, config.Listener{Network: c.network, Address: c.named}); got != c.want {
			t.Errorf("%s at %s: %v", c.socket, c.named, got)
		}
	}
}
