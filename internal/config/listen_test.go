package config

import (
	"io/fs"
	"testing"
)

// A socket in a table has its own mode and group. The other sockets use socket_mode and socket_group, which may be anywhere in the
// file.
func TestRightsOfSockets(t *testing.T) {
	c, err := Parse("x", []byte(`listen = ["unix:/a", { socket = "unix:/b", mode = "0600" }, { socket = "unix:/c", group = "" }, "inet:127.0.0.1:8891"]
socket_mode = "0640"
socket_group = "mail"
`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		l     Listener
		mode  fs.FileMode
		group string
	}{
		{Listener{"unix", "/a"}, 0o640, "mail"},
		{Listener{"unix", "/b"}, 0o600, "mail"},
		{Listener{"unix", "/c"}, 0o640, ""},
		{Listener{"tcp", "127.0.0.1:8891"}, 0o640, "mail"},
	} {
		if mode, group := c.Rights(c.Listen[i]); c.Listen[i] != want.l || mode != want.mode || group != want.group {
			t.Errorf("%v: %o %q, want %v", c.Listen[i], mode, group, want)
		}
	}
}
