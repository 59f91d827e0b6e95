package hostheader

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// If Own accepts a host, the browser that sent it connected to an address, to localhost or to one of the names, and not to a name whose DNS
// record another web site controls.
func FuzzOwn(f *testing.F) {
	for _, host := range []string{"localhost:9891", "LOCALHOST.", "[::1]:9891", "127.0.0.1", "mail.example.org", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:localhost", "[evil.example]:1", "2130706433", "::1%25evil.example", "ſ.example", "localhost:1:2"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !Own(host, []string{"mail.example.org"}) {
			return
		}
		u, err := url.Parse("http://" + host + "/")
		if err != nil || u.User != nil || u.Path != "/" || u.RawQuery+u.Fragment != "" {
			return // no browser sends it
		}
		name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		if _, err := netip.ParseAddr(name); err != nil && name != "localhost" && name != "mail.example.org" {
			t.Errorf("%q is accepted, and its name is %q", host, name)
		}
	})
}
