package postfix_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/doctor/postfix"
	"signpost/internal/setup"
)

const healthyMain = `compatibility_level = 3.6
queue_directory = /var/spool/postfix
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
smtpd_milters = unix:signpost/milter.sock
non_smtpd_milters = $smtpd_milters
milter_default_action = tempfail
internal_mail_filter_classes = bounce
smtpd_forbid_bare_newline = yes
`

const healthyMaster = `smtp inet n - y - - smtpd
smtp unix - - y - - smtp
cleanup unix n - y - 0 cleanup
submission inet n - y - - smtpd
  -o milter_macro_daemon_name=ORIGINATING
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
`

// postfixCase is a correct Postfix with the additions in main and master. Further files may follow main, as in a txtar archive;
// signpost.toml is the daemon's configuration. DIR is the directory of the files.
type postfixCase struct {
	name, main, master string
	check, what, fix   string // check may have several names, if several checks report the same fault
	level              doctor.Level
}

// site is the configuration of a Postfix and of a daemon.
type site struct {
	Dir    string // Postfix's configuration directory, also the root directory for the configuration of other programs
	Config *config.Config
}

const file = "signpost.toml"

// site writes the files of a case.
func (c postfixCase) site(t *testing.T) site {
	t.Helper()
	if testing.Short() {
		t.Skip("runs postconf")
	}
	dir := t.TempDir()
	main := txtar.Parse([]byte(strings.ReplaceAll(healthyMain+c.main, "DIR", dir)))
	p := site{Dir: dir, Config: config.Default()}
	files := append(main.Files, txtar.File{Name: "main.cf", Data: main.Comment},
		txtar.File{Name: "master.cf", Data: []byte(strings.ReplaceAll(healthyMaster+c.master, "DIR", dir))})
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		if f.Name == "signpost.toml" {
			var err error
			if p.Config, err = config.Parse(f.Name, f.Data); err != nil {
				t.Fatal(err)
			}
		}
	}
	return p
}

func (p site) facts() postfix.Facts {
	f := setup.PostfixFacts(p.Config, file, p.Dir)
	f.Root = p.Dir
	return f
}

// notGreen returns the findings that are not green, without the checks of sockets, because the sockets do not exist.
func notGreen(t *testing.T, p site) (all []doctor.Finding) {
	t.Helper()
	old(t, p)
	all = doctor.Run(t.Context(), slices.DeleteFunc(postfix.Checks(p.facts()), func(c doctor.Check) bool { return strings.HasPrefix(c.Name, "socket-a") }))
	return slices.DeleteFunc(all, func(f doctor.Finding) bool { return f.Level == doctor.Green })
}

// checks returns the names of the checks of the findings, in order.
func checks(all []doctor.Finding) string {
	var names []string
	for _, f := range all {
		names = append(names, f.Check)
	}
	return strings.Join(names, " ")
}

// shell runs a line as an administrator does.
func shell(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// hold tests each case. Exactly the named check reports the misconfiguration. The Fix corrects it: if the Fix is a command, hold runs it
// with sh; if it is a line with trusted_networks, hold parses it as the daemon's configuration.
func hold(t *testing.T, cases []postfixCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := c.site(t)
			found := notGreen(t, p)
			if c.check == "" {
				if len(found) > 0 {
					t.Fatalf("a correct Postfix: %+v", found)
				}
				return
			}
			want := strings.ReplaceAll(c.fix, "DIR", p.Dir)
			if strings.HasPrefix(want, "-") {
				want = "postconf -c '" + p.Dir + "' " + want
			}
			if checks(found) != c.check || found[0].Level != c.level || !strings.Contains(found[0].What, c.what) || found[0].Fix != want {
				t.Fatalf("got %+v, want %s with %q and the fix %s", found, c.check, c.what, want)
			}
			if strings.HasPrefix(want, "trusted_networks") {
				var err error
				if p.Config, err = config.Parse(file, []byte(want)); err != nil {
					t.Fatalf("%s: %v", want, err)
				}
				if found := notGreen(t, p); len(found) > 0 {
					t.Errorf("after the fix: %+v", found)
				}
				return
			}
			if program, _, _ := strings.Cut(want, " "); program != "postconf" && program != "echo" && program != "printf" && program != "sed" {
				return
			}
			shell(t, want)
			if found := notGreen(t, p); len(found) > 0 {
				t.Errorf("after the fix: %+v", found)
			}
		})
	}
}

func TestPostfix(t *testing.T) {
	hold(t, []postfixCase{
		{name: "healthy"},
		{"chroot", "smtpd_milters = unix:/var/spool/postfix/signpost/milter.sock\nnon_smtpd_milters = unix:signpost/milter.sock\n", "", "socket-path", "chrooted in /var/spool/postfix", "-e 'smtpd_milters = unix:signpost/milter.sock'", doctor.Red},
		{"no non_smtpd", "non_smtpd_milters =\n", "", "non-smtpd-milters", "not in non_smtpd_milters", "-e 'non_smtpd_milters = unix:signpost/milter.sock'", doctor.Red},
		{"accept", "milter_default_action = accept\n", "", "default-action", "default_action is accept", "-e 'milter_default_action = tempfail'", doctor.Red},
		{"after the signer", "smtpd_milters = unix:signpost/milter.sock, unix:clamav/clamav.sock\nnon_smtpd_milters = unix:signpost/milter.sock\n", "", "milter-order", "unix:clamav/clamav.sock", "-e 'smtpd_milters = unix:clamav/clamav.sock, unix:signpost/milter.sock'", doctor.Yellow},
		{"another signer", "smtpd_milters = unix:opendkim/s, unix:signpost/milter.sock\nnon_smtpd_milters = unix:signpost/milter.sock\n", "", "other-signer", "OpenDKIM (unix:opendkim/s) also signs: it comes before", "-e 'smtpd_milters = unix:signpost/milter.sock'", doctor.Yellow},
		{"protocol", "milter_protocol = 4\n", "", "milter-protocol", "protocol 4", "-e 'milter_protocol = 6'", doctor.Red},
		{"impatient", "milter_content_timeout = 30s\n", "", "milter-timeouts", "30s", "-e 'milter_content_timeout = 300s'", doctor.Yellow},
		{"bounces", "internal_mail_filter_classes =\n", "", "internal-mail", "bounces", "-e 'internal_mail_filter_classes = bounce'", doctor.Yellow},
		{"ORIGINATING", "milter_macro_daemon_name = ORIGINATING\n", "", "originating", "unauthenticated clients as trusted", "-X 'milter_macro_daemon_name'", doctor.Red},
		{"override", "", "  -o smtpd_milters=\n", "smtpd-milters", "submission/inet", "-PX 'submission/inet/smtpd_milters'", doctor.Red},
		{"LAN", "mynetworks = 127.0.0.0/8 192.0.2.0/24\n", "", "mynetworks", "192.0.2.0/24", `trusted_networks = ["127.0.0.0/8", "::1/128", "192.0.2.0/24"]`, doctor.Red},
	})
}

// If Postfix cannot parse main.cf, the Fix does not propose to install Postfix.
func TestPostfixUnreadable(t *testing.T) {
	p := postfixCase{main: "no equals sign\n"}.site(t)
	found := notGreen(t, p)
	if len(found) != 1 || !strings.Contains(found[0].Where, `missing '=' after attribute name: "no equals sign"`) || !strings.HasPrefix(found[0].Fix, "postconf -c ") {
		t.Errorf("got %+v", found)
	}
}

const comeBack = "127.0.0.1:10025 inet n - n - - smtpd\n  -o content_filter=\n"

// If mail reaches no milter, the finding is red. Milters may be disabled for one service or for all, or the service may be missing.
func TestPostfixMilters(t *testing.T) {
	hold(t, []postfixCase{
		{name: "off for all", main: "receive_override_options = no_milters, no_address_mappings\n", master: "pickup unix n - y 60 1 pickup\n",
			check: "smtpd-milters non-smtpd-milters", what: "smtp/inet runs no milters", fix: "-e 'receive_override_options = no_address_mappings'", level: doctor.Red},
		{name: "off for smtpd", master: "  -o receive_override_options=no_milters\n",
			check: "smtpd-milters", what: "submission/inet runs no milters", fix: "-P 'submission/inet/receive_override_options='", level: doctor.Red},
		{name: "off for pickup", master: "pickup unix n - y 60 1 pickup\n  -o receive_override_options=no_milters\n",
			check: "non-smtpd-milters", what: "pickup/unix runs no milters", fix: "-P 'pickup/unix/receive_override_options='", level: doctor.Red},
		{name: "cleanup does not read it", master: "other unix n - y - 0 cleanup\n  -o receive_override_options=no_milters\n"},
		{name: "cleanup's own list", master: "other unix n - y - 0 cleanup\n  -o non_smtpd_milters=\n",
			check: "non-smtpd-milters", what: "of other/unix", fix: "-PX 'other/unix/non_smtpd_milters'", level: doctor.Red},
		{name: "off on the return port", master: comeBack + "  -o receive_override_options=no_milters\n"},
		{name: "none on the return port", main: "content_filter = smtp:[127.0.0.1]:10024\n", master: "localhost:10025 inet n - n - - smtpd\n  -o content_filter= -o smtpd_milters=\n"},
		{name: "none on loopback", master: "127.0.0.1:2525 inet n - n - - smtpd\n  -o smtpd_milters=\n",
			check: "smtpd-milters", what: "127.0.0.1:2525/inet", fix: "-PX '127.0.0.1:2525/inet/smtpd_milters'", level: doctor.Red},
	})
	for _, c := range []struct {
		name, master, what, fix string
	}{
		{"no smtpd", "cleanup unix n - y - 0 cleanup\n", "no service runs smtpd(8)", "-M 'smtp/inet=smtp inet n - - - - smtpd'"},
		{"no cleanup", "smtp inet n - y - - smtpd\n", "no service runs cleanup(8)", "-M 'cleanup/unix=cleanup unix n - - - 0 cleanup'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := postfixCase{}.site(t)
			if err := os.WriteFile(filepath.Join(p.Dir, "master.cf"), []byte(c.master), 0o644); err != nil {
				t.Fatal(err)
			}
			found := notGreen(t, p)
			if len(found) != 1 || found[0].Level != doctor.Red || found[0].What != c.what {
				t.Fatalf("got %+v, want %s", found, c.what)
			}
			want := "postconf -c '" + p.Dir + "' " + c.fix
			if out, err := exec.Command("sh", "-c", want).CombinedOutput(); err != nil || found[0].Fix != want {
				t.Fatalf("the fix %s, want %s: %v\n%s", found[0].Fix, want, err, out)
			}
			if found := notGreen(t, p); len(found) > 0 {
				t.Errorf("after the fix: %+v", found)
			}
		})
	}
}

// {daemon_name} ORIGINATING is for services that unauthenticated clients cannot use, whatever their port.
func TestPostfixOriginating(t *testing.T) {
	const option = "  -o milter_macro_daemon_name=ORIGINATING\n"
	red := func(name, service string) postfixCase {
		return postfixCase{name: name, master: service + " inet n - y - - smtpd\n" + option, check: "originating", what: "unauthenticated clients as trusted",
			fix: "-PX '" + service + "/inet/milter_macro_daemon_name'", level: doctor.Red}
	}
	hold(t, []postfixCase{
		red("public port 26", "26"), red("every address", "0.0.0.0:2525"), red("one address", "[2001:db8::1]:smtp"),
		{name: "after postscreen", master: "smtpd pass - - y - - smtpd\n" + option, check: "originating", what: "unauthenticated clients as trusted", fix: "-PX 'smtpd/pass/milter_macro_daemon_name'", level: doctor.Red},
		{name: "loopback", master: "127.0.0.1:10025 inet n - y - - smtpd\n" + option},
		{name: "loopback by name", master: "localhost:2525 inet n - y - - smtpd\n" + option},
		{name: "nothing but loopback", main: "inet_interfaces = loopback-only\n", master: "2525 inet n - y - - smtpd\n" + option},
		{name: "other port with login", master: "2525 inet n - y - - smtpd\n" + option + "  -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n"},
		{name: "certificates", master: "2525 inet n - y - - smtpd\n" + option + "  -o smtpd_tls_req_ccert=yes\n"},
		{name: "main.cf of an instance for users", main: "milter_macro_daemon_name = ORIGINATING\nsmtpd_relay_restrictions = permit_sasl_authenticated, reject\n"},
		{name: "permits first", master: "2525 inet n - y - - smtpd\n" + option + "  -o smtpd_recipient_restrictions=permit,reject\n",
			check: "originating", what: "unauthenticated clients as trusted", fix: "-PX '2525/inet/milter_macro_daemon_name'", level: doctor.Red},
		{name: "XCLIENT of every client", main: "smtpd_authorized_xclient_hosts = 192.0.2.7, 0.0.0.0/0\n", check: "originating", what: "smtp/inet allows XCLIENT for every client",
			fix: "-e 'smtpd_authorized_xclient_hosts = 192.0.2.7'", level: doctor.Red},
		{name: "XCLIENT of a proxy", main: "smtpd_authorized_xclient_hosts = 192.0.2.7\n"},
		{name: "open submission", master: "10.0.0.1:587 inet n - y - - smtpd\n" + option,
			check: "originating", what: "10.0.0.1:587/inet accepts mail for this host from unauthenticated clients",
			fix: "-P '10.0.0.1:587/inet/smtpd_relay_restrictions=permit_mynetworks,permit_sasl_authenticated,permit_tls_clientcerts,reject'", level: doctor.Yellow},
	})
}

// A milter that can sign is reported only if it is configured to sign. One of our own ports is never reported as a port of another program.
// A milter after Signpost may break the signature.
func TestPostfixSigners(t *testing.T) {
	before := func(other string) string {
		return "smtpd_milters = " + other + ", unix:signpost/milter.sock\nnon_smtpd_milters = unix:signpost/milter.sock\n"
	}
	const inet = "\n-- signpost.toml --\nlisten = [\"inet:127.0.0.1:8891\"]\n"
	hold(t, []postfixCase{
		{name: "our own port", main: "smtpd_milters = inet:localhost:8891" + inet},
		{name: "OpenDKIM's port", main: before("inet:127.0.0.1:8891"), check: "other-signer", what: "OpenDKIM (inet:127.0.0.1:8891) also signs: it comes before",
			fix: "-e 'smtpd_milters = unix:signpost/milter.sock'", level: doctor.Yellow},
		{name: "OpenDKIM that verifies", main: before("unix:opendkim/s") + "-- etc/opendkim.conf --\nMode v\n"},
		{name: "rspamd with its default settings", main: before("inet:localhost:11332") + "-- etc/rspamd/override.d/x --\n"},
		{name: "rspamd with settings", main: before("inet:localhost:11332") + "-- etc/rspamd/override.d/x --\n-- etc/rspamd/local.d/dkim_signing.conf --\nselector = \"a\";\n",
			check: "other-signer", what: "rspamd (inet:localhost:11332) also signs: it comes before", fix: "echo 'enabled = false;' > 'DIR/etc/rspamd/override.d/dkim_signing.conf'", level: doctor.Yellow},
		{name: "rspamd with keys", main: before("unix:rspamd/s") + "-- etc/rspamd/override.d/x --\n-- var/lib/rspamd/dkim/example.org.dkim.key --\n",
			check: "other-signer", what: "rspamd (unix:rspamd/s)", fix: "echo 'enabled = false;' > 'DIR/etc/rspamd/override.d/dkim_signing.conf'", level: doctor.Yellow},
		{name: "amavis", main: before("unix:amavis/s") + "-- etc/amavis/conf.d/50-user --\n$enable_dkim_signing = 1;\n",
			check: "other-signer", what: "amavis (unix:amavis/s)", fix: `printf '%s\n' '$enable_dkim_signing = 0;' '1;' > 'DIR/etc/amavis/conf.d/99-dkim'`, level: doctor.Yellow},
		{name: "rspamd after Signpost", main: "smtpd_milters = unix:signpost/milter.sock, unix:rspamd/s\nnon_smtpd_milters = unix:signpost/milter.sock\n",
			check: "milter-order", what: "unix:rspamd/s", fix: "-e 'smtpd_milters = unix:rspamd/s, unix:signpost/milter.sock'", level: doctor.Yellow},
		{name: "observing, others before", main: before("unix:opendkim/s") + "-- signpost.toml --\nmode = \"observe\"\n"},
		{name: "observing, between others", main: "smtpd_milters = unix:opendkim/s, unix:signpost/milter.sock, unix:opendmarc/s\nnon_smtpd_milters = unix:signpost/milter.sock\n-- signpost.toml --\nmode = \"observe\"\n",
			check: "milter-order", what: "smtp/inet: unix:opendmarc/s", fix: "-e 'smtpd_milters = unix:opendkim/s, unix:opendmarc/s, unix:signpost/milter.sock'", level: doctor.Yellow},
	})
}

// A setting in the list itself, { ADDRESS, SETTING }, counts like the parameter in main.cf. An override for a service in master.cf counts
// too.
func TestPostfixSettings(t *testing.T) {
	const ours = "unix:signpost/milter.sock"
	own := func(setting string) string {
		return "smtpd_milters = { " + ours + ", connect_timeout=20s, " + setting + " }\nnon_smtpd_milters = " + ours + "\n"
	}
	fixed := func(setting string) string {
		return "-e 'smtpd_milters = { " + ours + ", connect_timeout=20s, " + setting + " }'"
	}
	hold(t, []postfixCase{
		{name: "own accept", main: own("default_action=accept"), check: "default-action", what: "accept", fix: fixed("default_action=tempfail"), level: doctor.Red},
		{name: "own reject", main: own("default_action=reject"), check: "default-action", what: "reject", fix: fixed("default_action=tempfail"), level: doctor.Yellow},
		{name: "own protocol", main: own("protocol=2"), check: "milter-protocol", what: "protocol 2", fix: fixed("protocol=6"), level: doctor.Red},
		{name: "own content_timeout", main: own("content_timeout=1m"), check: "milter-timeouts", what: "1m0s", fix: fixed("content_timeout=300s"), level: doctor.Yellow},
		{name: "short command_timeout", main: "milter_command_timeout = 1s\n", check: "milter-timeouts", what: "1s for an answer", fix: "-e 'milter_command_timeout = 30s'", level: doctor.Yellow},
		{name: "own command_timeout", main: own("command_timeout=2s"), check: "milter-timeouts", what: "2s for an answer", fix: "-e 'smtpd_milters = { " + ours + ", command_timeout=30s, connect_timeout=20s }'", level: doctor.Yellow},
		{name: "short connect_timeout", main: "milter_connect_timeout = 1s\n", check: "milter-timeouts", what: "1s for a connection", fix: "-e 'milter_connect_timeout = 30s'", level: doctor.Yellow},
		{name: "own chroot", main: "smtpd_milters = { unix:/var/spool/postfix/signpost/milter.sock, content_timeout=400s }\nnon_smtpd_milters = " + ours + "\n",
			check: "socket-path", what: "chrooted", fix: "-e 'smtpd_milters = { unix:signpost/milter.sock, content_timeout=400s }'", level: doctor.Red},
		{name: "the syntax of Sendmail", main: "smtpd_milters = inet:8891@localhost\n-- signpost.toml --\nlisten = [\"inet:127.0.0.1:8891\"]\n",
			check: "socket-path", what: "smtp/inet connects to 8891@localhost", fix: "-e 'smtpd_milters = inet:127.0.0.1:8891'", level: doctor.Red},
		{name: "socket outside the chroot", main: "smtpd_milters = unix:/run/signpost/milter.sock\n-- signpost.toml --\nlisten = [\"unix:/run/signpost/milter.sock\"]\n",
			check: "socket-path", what: "smtp/inet connects to /var/spool/postfix/run/signpost/milter.sock, but the daemon listens on /run/signpost/milter.sock; the service is chrooted in /var/spool/postfix",
			fix: `listen = ["unix:/var/spool/postfix/signpost/milter.sock"]`, level: doctor.Red},
		{name: "accept of another milter", main: "smtpd_milters = { unix:clamav/s, default_action=accept }, " + ours + "\nnon_smtpd_milters = " + ours + "\n"},
		{name: "no action", main: "milter_default_action = acept\n", check: "default-action", what: "default_action acept is unknown", fix: "-e 'milter_default_action = tempfail'", level: doctor.Yellow},
		{name: "own action that is invalid", main: own("default_action=tempfial"), check: "default-action", what: "tempfial", fix: fixed("default_action=tempfail"), level: doctor.Yellow},
		{name: "in capitals", main: "milter_default_action = Quarantine\n"},
		{name: "shutdown, 3.11", main: "mail_version = 3.11.7\nmilter_default_action = shutdown\n"},
		{name: "shutdown, 3.10.8", main: "mail_version = 3.10.8\nmilter_default_action = shutdown\n"},
		{name: "own shutdown", main: "mail_version = 3.7.20\n" + own("default_action=shutdown")},
		{name: "shutdown, 3.10.7", main: "mail_version = 3.10.7\nmilter_default_action = shutdown\n", check: "default-action", what: "default_action shutdown is unknown to Postfix 3.10.7",
			fix: "-e 'milter_default_action = tempfail'", level: doctor.Yellow},
		{name: "service's accept", master: "  -o milter_default_action=accept\n", check: "default-action", what: "accept",
			fix: "-P 'submission/inet/milter_default_action=tempfail'", level: doctor.Red},
		{name: "service's protocol", master: "  -o milter_protocol=3\n", check: "milter-protocol", what: "protocol 3", fix: "-P 'submission/inet/milter_protocol=6'", level: doctor.Red},
		{name: "service's content_timeout", master: "  -o milter_content_timeout=10s\n", check: "milter-timeouts", what: "10s",
			fix: "-P 'submission/inet/milter_content_timeout=300s'", level: doctor.Yellow},
		{name: "service's order", master: "  -o smtpd_milters=" + ours + ",unix:clamav/s\n", check: "milter-order", what: "of submission/inet: unix:clamav/s",
			fix: "-P 'submission/inet/smtpd_milters=unix:clamav/s," + ours + "'", level: doctor.Yellow},
		{name: "service's other signer", master: "  -o smtpd_milters=unix:opendkim/s," + ours + "\n", check: "other-signer", what: "of submission/inet",
			fix: "-P 'submission/inet/smtpd_milters=" + ours + "'", level: doctor.Yellow},
		{name: "service's own accept", master: "  -o smtpd_milters={" + ours + ",default_action=accept}\n", check: "default-action", what: "accept",
			fix: "-P 'submission/inet/smtpd_milters={" + ours + ",default_action=tempfail}'", level: doctor.Red},
		{name: "service's option in braces", master: "  -o { smtpd_milters = unix:opendkim/s, " + ours + " } -v\n", check: "other-signer", what: "of submission/inet",
			fix: "-P 'submission/inet/smtpd_milters=" + ours + "'", level: doctor.Yellow},
		{name: "service's path", master: "  -o smtpd_milters=unix:/run/signpost.sock\n", check: "socket-path", what: "submission/inet connects to",
			fix: "-P 'submission/inet/smtpd_milters=" + ours + "'", level: doctor.Red},
		{name: "no names", main: "smtpd_peername_lookup = no\n", check: "client-names", what: "smtp/inet does not look up client names", fix: "-X 'smtpd_peername_lookup'", level: doctor.Yellow},
		{name: "misspelt", main: "smtpd_milter = unix:signpost/milter.sock\nnonsense = 1\n", check: "postfix", what: "unknown Postfix parameter smtpd_milter; did you mean smtpd_milters?", fix: "-X 'smtpd_milter'", level: doctor.Yellow},
		{name: "misspelt alone", main: "internal_mail_filter_classes =\ninternal_mail_filter_class = bounce\n", check: "postfix internal-mail", what: "did you mean internal_mail_filter_classes?",
			fix: "-X 'internal_mail_filter_class' && postconf -c 'DIR' -e 'internal_mail_filter_classes = bounce'", level: doctor.Yellow},
		{name: "misspelt at a service", master: "  -o recieve_override_options=no_header_body_checks\n", check: "postfix", what: "did you mean receive_override_options?",
			fix: "-PX 'submission/inet/recieve_override_options' && postconf -c 'DIR' -P 'submission/inet/receive_override_options=no_header_body_checks'", level: doctor.Yellow},
		{name: "maps", main: "smtpd_milter_maps = cidr:/etc/postfix/milter_maps\n", check: "milter-maps", what: "smtpd_milter_maps selects other milters", fix: "-X 'smtpd_milter_maps'", level: doctor.Yellow},
		{name: "service's maps", master: "  -o smtpd_milter_maps=cidr:/etc/postfix/milter_maps\n", check: "milter-maps", what: "smtpd_milter_maps selects other milters",
			fix: "-PX 'submission/inet/smtpd_milter_maps'", level: doctor.Yellow},
		{name: "service's maps off", main: "smtpd_milter_maps =\n", master: "  -o smtpd_milter_maps=\n"},
	})
}
