package postfix_test

import (
	"testing"

	"signpost/internal/doctor"
)

// The networks in mynetworks are found in main.cf, files and tables. A table that cannot be read is reported.
func TestPostfixNetworks(t *testing.T) {
	trust := func(networks string) string { return `trusted_networks = ["127.0.0.0/8", "::1/128", ` + networks + `]` }
	hold(t, []postfixCase{
		{name: "file", main: "mynetworks = 127.0.0.0/8 DIR/nets\n-- nets --\n# the LAN\n192.0.2.0/24, [2001:db8::]/32\n",
			check: "mynetworks", what: "192.0.2.0/24, 2001:db8::/32", fix: trust(`"192.0.2.0/24", "2001:db8::/32"`), level: doctor.Red},
		{name: "cidr table", main: "mynetworks = cidr:DIR/nets\n-- nets --\n# the LAN\n192.0.2.0/24 OK\nif 2001:db8::/32\n2001:db8:1::/48 OK\nendif\n",
			check: "mynetworks", what: "192.0.2.0/24, 2001:db8:1::/48", fix: trust(`"192.0.2.0/24", "2001:db8:1::/48"`), level: doctor.Red},
		{name: "other table", main: "mynetworks = proxy:texthash:DIR/nets\n-- nets --\n192.0.2.7 OK\n",
			check: "mynetworks", what: "192.0.2.7/32", fix: trust(`"192.0.2.7/32"`), level: doctor.Red},
		{name: "no file", main: "mynetworks = 127.0.0.0/8 DIR/none\n",
			check: "mynetworks", what: "/none in mynetworks", fix: "add the networks of DIR/none to trusted_networks in signpost.toml", level: doctor.Yellow},
		{name: "file in itself", main: "mynetworks = 127.0.0.0/8 DIR/nets\n-- nets --\nDIR/nets\n",
			check: "mynetworks", what: "/nets in mynetworks", fix: "add the networks of DIR/nets to trusted_networks in signpost.toml", level: doctor.Yellow},
		{name: "database", main: "mynetworks = mysql:/etc/postfix/nets.cf\n",
			check: "mynetworks", what: "mysql:/etc/postfix/nets.cf", fix: "add the networks of mysql:/etc/postfix/nets.cf to trusted_networks in signpost.toml", level: doctor.Yellow},
		{name: "excepted", main: "mynetworks = 127.0.0.0/8, !192.0.2.0/24, 192.0.2.0/25\n"},
		{name: "excepted by a file", main: "mynetworks = !DIR/nets, 192.0.2.0/25\n-- nets --\n192.0.2.0/24\n"},
		{name: "exception too late", main: "mynetworks = 192.0.2.0/24, !192.0.2.0/24\n",
			check: "mynetworks", what: "192.0.2.0/24", fix: trust(`"192.0.2.0/24"`), level: doctor.Red},
		{name: "half excepted", main: "mynetworks = !192.0.2.128/25, 192.0.2.0/24\n",
			check: "mynetworks", what: "192.0.2.0/25", fix: trust(`"192.0.2.0/25"`), level: doctor.Red},
		{name: "trusted in two halves", main: "mynetworks = 192.0.2.0/24\n-- signpost.toml --\ntrusted_networks = [\"192.0.2.0/25\", \"192.0.2.128/25\"]\n"},
		{name: "of one service", master: "  -o mynetworks=192.0.2.0/24\n",
			check: "mynetworks", what: "192.0.2.0/24", fix: trust(`"192.0.2.0/24"`), level: doctor.Red},
		{name: "all networks trusted", main: "-- signpost.toml --\ntrusted_networks = [\"0.0.0.0/0\", \"::/0\", \"127.0.0.0/8\"]\n",
			check: "mynetworks", what: "trusted_networks contains networks that are too large for one site: 0.0.0.0/0, ::/0", fix: `trusted_networks = ["127.0.0.0/8", "::1/128"]`, level: doctor.Red},
		{name: "all networks trusted, in two halves", main: "-- signpost.toml --\ntrusted_networks = [\"0.0.0.0/1\", \"128.0.0.0/1\"]\n",
			check: "mynetworks", what: "trusted_networks contains networks that are too large for one site", fix: `trusted_networks = ["127.0.0.0/8", "::1/128"]`, level: doctor.Red},
		{name: "all networks skipped", main: "-- signpost.toml --\nverify.skip_networks = [\"0.0.0.0/0\"]\n",
			check: "mynetworks", what: "skip_networks contains networks that are too large for one site: 0.0.0.0/0", fix: `skip_networks = [] # in [verify]`, level: doctor.Red},
		{name: "all networks may relay", main: "mynetworks = 127.0.0.0/8 0.0.0.0/0\n",
			check: "mynetworks", what: "an open relay: mynetworks contains 0.0.0.0/0", fix: "-e 'mynetworks = 127.0.0.0/8'", level: doctor.Red},
	})
}
