package postfix_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/doctor"
)

// A list manager that transport or alias tables name is reported if mail is signed. A service that no table names is not reported; Debian's
// master.cf has such a service. Nothing is reported about a table that cannot be read.
func TestPostfixListManagers(t *testing.T) {
	transport := func(entries string) string {
		return "transport_maps = texthash:DIR/transport\n-- transport --\n" + entries
	}
	aliases := func(entries string) string { return "alias_maps = texthash:DIR/aliases\n-- aliases --\n" + entries }
	one := func(name, main, master, what, fix string) postfixCase {
		return postfixCase{name: name, main: main, master: master, check: "list-managers", what: what, fix: fix, level: doctor.Yellow}
	}
	const (
		lmtp     = "lmtp unix - - y - - lmtp\n"
		mailman3 = "in section [mta] of mailman.cfg: remove_dkim_headers: no"
		mailman2 = "in mm_cfg.py: REMOVE_DKIM_HEADERS = No"
		debian   = "mailman unix - n n - - pipe\n  flags=FRX user=list argv=/usr/lib/mailman/bin/postfix-to-mailman.py ${nexthop} ${user}\n"
	)
	hold(t, []postfixCase{
		{name: "no table", master: debian + lmtp},
		{name: "other transports", main: transport("example.org lmtp:unix:private/dovecot\nexample.net smtp:[mailman.example.net]:25\nexample.com lmtp:[127.0.0.1]:24\n.example error:5.1.1 no mailman\n"), master: lmtp},
		{name: "other aliases", main: aliases("root ann\nmailman-owner ann@example.org\nvacation \"|/usr/bin/vacation ann\"\n")},
		one("Mailman 3", transport("list@example.org lmtp:[127.0.0.1]:8024\nlist-join@example.org lmtp:[127.0.0.1]:8024\n"), lmtp, "Mailman 3 sends mail", mailman3),
		one("Mailman 3 by regexp", "transport_maps = regexp:DIR/lmtp\n-- lmtp --\n/^list(-join)?@example\\.org$/ lmtp:inet:localhost:8024\n", lmtp, "Mailman 3 sends mail", mailman3),
		one("Mailman 2 by transport", transport("lists.example.org mailman:\n"), debian, "Mailman sends mail", mailman2),
		one("Mailman 2 by alias", aliases("list \"|/usr/lib/mailman/mail/mailman post list\"\n"), "", "Mailman sends mail", mailman2),
		one("Sympa", transport("list@example.org sympa:list@example.org\nlist-owner@example.org sympabounce:list@example.org\n"), "", "Sympa", "in sympa.conf: no Authentication-Results in remove_headers and remove_outgoing_headers"),
		one("Schleuder", transport("example.org schleuder:\n"), "", "Schleuder", "make it use the list's address in From"),
		one("a pipe of another name", transport("list@example.org lists:\n"), "lists unix - n n - - pipe\n  flags=ORhu user=mlmmj argv=/usr/bin/mlmmj-receive -F -L /var/spool/mlmmj/${nexthop}\n",
			"Mlmmj", "in control/delheaders of each list: no Authentication-Results"),
		one("a pipe of local(8)", "mailbox_transport_maps = texthash:DIR/transport\n-- transport --\nlist ezmlm:\n", "", "ezmlm", "in headerremove of each list: no Authentication-Results"),
		one("Majordomo among several recipients", aliases("list archive, \"|/usr/lib/majordomo/wrapper resend list\"\n"), "", "Majordomo", "make it keep Authentication-Results, or use the list's address in From"),
		one("alias_database", "alias_maps =\nalias_database = texthash:DIR/aliases\n-- aliases --\nlist |/usr/bin/schleuder work list@example.org\n", "", "Schleuder", "make it use the list's address in From"),
		one("a service's table", "-- transport --\nlist@example.org sympa:\n", "rewrite unix - - y - - trivial-rewrite\n  -o transport_maps=texthash:DIR/transport\n", "Sympa",
			"in sympa.conf: no Authentication-Results in remove_headers and remove_outgoing_headers"),
		{name: "no database", main: "transport_maps = hash:DIR/transport\n-- transport --\nlist@example.org sympa:\n"},
		{name: "no file", main: "transport_maps = texthash:DIR/transport regexp:DIR/none\n"},
		{name: "a table that cannot be listed", main: "transport_maps = static:mailman: ldap:DIR/mailman.cf\n"},
		{name: "nothing is signed", main: transport("lists.example.org mailman:\n") + "-- signpost.toml --\nmode = \"observe\"\n"},
	})
}

// Databases of postalias(1) and postmap(1) are listed, also through proxymap(8). Two list managers cause two findings.
func TestPostfixListManagersInDatabases(t *testing.T) {
	p := postfixCase{main: "transport_maps = proxy:hash:DIR/transport\nalias_maps = hash:DIR/aliases\n" +
		"-- transport --\nlists.example.org mailman:\n-- aliases --\nlist: bob,\n  \"|/usr/bin/schleuder work list@example.org\"\n"}.site(t)
	for program, file := range map[string]string{"postmap": "transport", "postalias": "aliases"} {
		if out, err := exec.Command(program, "-c", p.Dir, "hash:"+filepath.Join(p.Dir, file)).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
	}
	found := notGreen(t, p)
	if checks(found) != "list-managers list-managers" || !strings.Contains(found[0].Where, "transport_maps = proxy:hash:") || !strings.Contains(found[0].Where, "lists.example.org") ||
		!strings.Contains(found[1].Where, "alias_maps = hash:") || !strings.Contains(found[1].Where, "|/usr/bin/schleuder") ||
		strings.Contains(found[0].Where+found[1].Where, `\x09`) {
		t.Errorf("got %+v", found)
	}
}
