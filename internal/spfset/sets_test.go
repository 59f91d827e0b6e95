package spfset

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"go4.org/netipx"
)

func of(text string) *netipx.IPSet {
	var all []netip.Prefix
	for s := range strings.FieldsSeq(text) {
		all = append(all, netip.MustParsePrefix(s))
	}
	return Of(all...)
}

func text(s *netipx.IPSet) string { return strings.Trim(fmt.Sprint(s.Prefixes()), "[]") }

func TestNetworks(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"host bits", "203.0.114.77/24", "203.0.114.0/24"},
		{"neighbours", "203.0.114.0/25 203.0.114.128/25", "203.0.114.0/24"},
		{"neighbours that do not form a network", "203.0.114.128/25 203.0.115.0/24", "203.0.114.128/25 203.0.115.0/24"},
		{"a network inside another one", "203.0.114.64/26 203.0.114.0/24 203.0.114.1/32", "203.0.114.0/24"},
		{"IPv4 first", "2a00::/32 203.0.114.0/24 2a00:2::/32 2a00::/48", "203.0.114.0/24 2a00::/32 2a00:2::/32"},
		{"the last IPv4 address is not a neighbour of IPv6", "255.255.255.255/32 ::/128", "255.255.255.255/32 ::/128"},
		{"everything", "0.0.0.0/1 128.0.0.0/1 ::/0", "0.0.0.0/0 ::/0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := text(of(c.in)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestWithout(t *testing.T) {
	for _, c := range []struct{ from, take, want string }{
		{"203.0.114.0/24", "203.0.114.0/26 203.0.114.192/26", "203.0.114.64/26 203.0.114.128/26"},
		{"203.0.114.0/24 203.0.116.0/24", "203.0.114.0/23", "203.0.116.0/24"},
		{"203.0.114.0/24", "", "203.0.114.0/24"},
		{"0.0.0.0/0 ::/0", "128.0.0.0/1 8000::/1", "0.0.0.0/1 ::/1"},
		{"0.0.0.0/0", "255.255.255.255/32 0.0.0.0/1 128.0.0.0/2 192.0.0.0/3 224.0.0.0/4 240.0.0.0/5 248.0.0.0/6 252.0.0.0/7 254.0.0.0/8", text(without(of("255.0.0.0/8"), of("255.255.255.255/32")))},
	} {
		if got := text(without(of(c.from), of(c.take))); got != c.want {
			t.Errorf("%s without %s: got %s, want %s", c.from, c.take, got, c.want)
		}
	}
}

func TestSpecial(t *testing.T) {
	for network, want := range map[string]string{
		"10.1.2.0/24": "private", "203.0.112.0/22": "documentation", "172.31.255.255/32": "private", "100.127.0.0/16": "shared",
		"255.255.255.255/32": "reserved", "fd00::/8": "unicast", "fe80::1/128": "unicast", "::ffff:203.0.114.1/128": "unicast",
		"64:ff9b::/96": "unicast", "2002:c000:204::/48": "6to4", "2001:0:1::/48": "protocol", "4000::/32": "unicast", "ff02::1/128": "unicast",
		"203.0.114.0/24": "", "172.32.0.0/16": "", "2001:4860::/32": "", "2a00::/12": "", "3fff:1000::/20": "", "2001:200::/23": "",
	} {
		if got := special(netip.MustParsePrefix(network)); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", network, got, want)
		}
	}
}
