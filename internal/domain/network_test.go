package domain

import "testing"

// A single address is parsed as a network of one address. A network of IPv4-mapped addresses becomes an IPv4 network, because client
// addresses are compared as IPv4.
func TestParseNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.1/24": "192.0.2.1/24", "2001:db8::1": "2001:db8::1/128", "2001:db8::/32": "2001:db8::/32",
		"::ffff:192.0.2.0/120": "192.0.2.0/24", "::ffff:192.0.2.1": "192.0.2.1/32", "::ffff:0:0/95": "::ffff:0.0.0.0/95",
		"fe80::1%eth0": "", "192.0.2.0/33": "", "192.0.2": "", "": "", "example.org": "",
	} {
		p, ok := ParseNetwork(in)
		if ok != (want != "") || ok && p.String() != want {
			t.Errorf("%q: %v %v, want %q", in, p, ok, want)
		}
	}
}
