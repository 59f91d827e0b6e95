package doctor_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/doctor/host"
	"signpost/internal/doctor/postfix"
	"signpost/internal/setup"
	"signpost/internal/testmilter"
	"signpost/milter"
)

// server is a complete mail server below ROOT: Postfix's configuration and queue, and a daemon with its configuration and keys. The daemon
// answers at SOCKET or at 127.0.0.1:PORT. It runs as user "daemon", because that user exists on every system.
type server struct {
	root, port string
	conf       *config.Config
}

const (
	mainCF = `compatibility_level = 3.6
queue_directory = ROOT/spool
data_directory = ROOT/data
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
smtpd_milters = unix:signpost/milter.sock
non_smtpd_milters = $smtpd_milters
milter_default_action = tempfail
internal_mail_filter_classes = bounce
smtpd_forbid_bare_newline = yes
`
	masterCF = `smtp inet n - y - - smtpd
smtp unix - - y - - smtp
cleanup unix n - y - 0 cleanup
pickup unix n - y 60 1 pickup
submission inet n - y - - smtpd
  -o milter_macro_daemon_name=ORIGINATING
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
`
	submission = `127.0.0.1:587 inet n - n - - smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_client_restrictions=permit_sasl_authenticated,reject
  -o milter_macro_daemon_name=ORIGINATING
`
	signpostTOML = "[dmarc]\nquarantine_handled = true\n"
	onPort       = "listen = [\"inet:127.0.0.1:PORT\"]\n"
	opendkim     = "unix:opendkim/s, unix:signpost/milter.sock"
)

// variant has the changes that a case makes to a correct server.
type variant struct{ main, master, toml, sh string }

// expand replaces the placeholders in a text by the paths and the port of this server.
func (s *server) expand(text string) string {
	return strings.NewReplacer("ROOT", s.root, "SOCKET", s.root+"/spool/signpost/milter.sock", "PORT", s.port).Replace(text)
}

func newServer(t *testing.T, v variant) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("runs postconf")
	}
	if os.Geteuid() != 0 {
		t.Skip("files of other owners need root")
	}
	root, err := os.MkdirTemp("", "planted") // other users cannot search the directory of t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	s := &server{root: root}
	s.sh(t, `chmod 755 . && mkdir -m 755 etc spool && mkdir -m 700 data && chown postfix data
		mkdir -m 2710 spool/signpost && chown daemon:postfix spool/signpost && chmod 2710 spool/signpost
		mkdir -m 755 spool/opendkim && chown -R postfix spool/opendkim
		mkdir -m 700 -p state/keys/example.org state/keys/example.net state/hosted state/observed
		for f in org/a net/a; do touch state/keys/example.$f.pem state/keys/example.$f.json; chmod 600 state/keys/example.$f.*; done
		chown -R daemon:daemon state`)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, s.port, _ = net.SplitHostPort(tcp.Addr().String())
	unix, err := milter.Listen("unix", s.expand("SOCKET"), 0o660, "postfix")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	daemon := milter.NewServer(milter.Options{Log: slog.New(slog.DiscardHandler)})
	for _, ln := range []net.Listener{tcp, unix} {
		go func() { _ = daemon.Serve(ctx, ln) }()
	}
	other, err := net.Listen("unix", s.root+"/spool/opendkim/s")
	if err != nil {
		t.Fatal(err)
	}
	go anotherMilter(other)
	t.Cleanup(func() { stop(); tcp.Close(); unix.Close(); other.Close() })
	s.sh(t, "chown daemon spool/signpost/milter.sock")

	toml := v.toml + signpostTOML
	if !strings.Contains(toml, "listen = ") {
		toml = "listen = [\"unix:SOCKET\"]\n" + toml
	}
	for name, text := range map[string]string{"main.cf": mainCF + v.main, "master.cf": masterCF + v.master, "signpost.toml": toml} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(s.expand(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.sh(t, s.expand(v.sh)+"\n:")
	s.load(t)
	return s
}

// anotherMilter answers as a milter that is not Signpost.
func anotherMilter(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = c.Write(testmilter.Packet('O', "\x00\x00\x00\x06\x00\x00\x01\x3f\x00\x00\x00\x00"))
			_, _ = io.Copy(io.Discard, c)
		}()
	}
}

func (s *server) load(t *testing.T) {
	t.Helper()
	var err error
	if s.conf, err = config.Load(s.root + "/etc/signpost.toml"); err != nil {
		t.Fatal(err)
	}
	s.conf.StateDir = s.root + "/state"
}

func (s *server) sh(t *testing.T, line string) {
	t.Helper()
	c := exec.Command("sh", "-ec", line)
	c.Dir = s.root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// find returns the findings that are not green, except those about the clock of the machine that runs the test.
func (s *server) find(t *testing.T) []doctor.Finding {
	t.Helper()
	before := time.Now().Add(-time.Hour) // Postfix waits before it reads a file that has just been written
	if err := os.Chtimes(s.root+"/etc/main.cf", before, before); err != nil {
		t.Fatal(err)
	}
	file := s.root + "/etc/signpost.toml"
	h, p := setup.HostFacts(s.conf, file, nil, time.Now()), setup.PostfixFacts(s.conf, file, s.root+"/etc")
	h.User, p.User, p.Root, p.Wait = "daemon", "daemon", s.root, 20*time.Second
	all := doctor.Arrange(doctor.Run(t.Context(), slices.Concat(host.Checks(h), postfix.Checks(p))))
	return slices.DeleteFunc(all, func(f doctor.Finding) bool { return f.Level == doctor.Green || f.Check == "clock" })
}

// apply does what an administrator does with the Fix of a finding: it runs the command, or writes the line into signpost.toml.
func (s *server) apply(t *testing.T, line string) {
	t.Helper()
	word, _, _ := strings.Cut(line, " ")
	if slices.Contains([]string{"postconf", "chmod", "chown", "chgrp", "find", "sed", "echo"}, word) {
		s.sh(t, line)
		return
	}
	file := s.root + "/etc/signpost.toml"
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	kept := slices.DeleteFunc(strings.SplitAfter(string(old), "\n"), func(have string) bool { return strings.HasPrefix(have, word+" = ") })
	if err := os.WriteFile(file, []byte(line+"\n"+strings.Join(kept, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	s.load(t)
}

// Each planted misconfiguration is reported with a Fix. After the Fix, doctor is green and Postfix accepts its configuration.
func TestPlanted(t *testing.T) {
	postconf := func(line string) string { return "postconf -c 'ROOT/etc' " + line }
	for _, c := range []struct {
		name string
		variant
		want []string // the findings: level, check, part of the text, and the Fix
	}{
		{"Signpost is not in smtpd_milters", variant{main: "smtpd_milters =\nnon_smtpd_milters = unix:signpost/milter.sock\n"},
			[]string{"red smtpd-milters: Signpost is not in smtpd_milters of smtp/inet", postconf("-e 'smtpd_milters = unix:signpost/milter.sock'")}},
		{"local mail bypasses Signpost", variant{main: "non_smtpd_milters =\n"},
			[]string{"red non-smtpd-milters: Signpost is not in non_smtpd_milters of cleanup/unix", postconf("-e 'non_smtpd_milters = unix:signpost/milter.sock'")}},
		{"an absolute path in a chroot", variant{main: "smtpd_milters = unix:SOCKET\n"},
			[]string{"red socket-path: smtp/inet connects to ROOT/spoolSOCKET, but the daemon listens on SOCKET; the service is chrooted in ROOT/spool", postconf("-e 'smtpd_milters = unix:signpost/milter.sock'")}},
		{"IPv6 loopback instead of IPv4", variant{toml: onPort, main: "smtpd_milters = inet:[::1]:PORT\n"},
			[]string{"red socket-path: smtp/inet connects to [::1]:PORT, but the daemon listens on 127.0.0.1:PORT", postconf("-e 'smtpd_milters = inet:127.0.0.1:PORT'")}},
		{"another loopback address", variant{toml: onPort, main: "smtpd_milters = inet:127.0.0.2:PORT\n"},
			[]string{"red socket-path: smtp/inet connects to 127.0.0.2:PORT", postconf("-e 'smtpd_milters = inet:127.0.0.1:PORT'")}},
		{"another port", variant{toml: onPort, main: "smtpd_milters = inet:127.0.0.1:1\n"}, []string{
			"red smtpd-milters: Signpost is not in", postconf("-e 'smtpd_milters = inet:127.0.0.1:1, inet:127.0.0.1:PORT'"),
			"red non-smtpd-milters: Signpost is not in", postconf("-e 'smtpd_milters = inet:127.0.0.1:1, inet:127.0.0.1:PORT'"),
			"red socket-answers: nothing listens at inet:127.0.0.1:1, a milter in smtpd_milters of smtp/inet", postconf("-e 'smtpd_milters = inet:127.0.0.1:PORT' # or start this milter")}},
		{"a name in quotes", variant{toml: onPort, main: "smtpd_milters = \"inet:127.0.0.1:PORT\"\n"},
			[]string{"red socket-path: Postfix cannot parse the milter inet:127.0.0.1:PORT of smtp/inet: the quotes are taken as part of the address", postconf("-e 'smtpd_milters = inet:127.0.0.1:PORT'")}},
		{"white space in a setting", variant{main: "smtpd_milters = { unix:signpost/milter.sock, connect_timeout = 10s }\n"},
			[]string{"red socket-path: Postfix cannot parse the milter unix:signpost/milter.sock of smtp/inet", postconf("-e 'smtpd_milters = { unix:signpost/milter.sock, connect_timeout=10s }'")}},
		{"an outage lets all mail pass", variant{main: "milter_default_action = accept\n"},
			[]string{"red default-action: default_action is accept", postconf("-e 'milter_default_action = tempfail'")}},
		{"an old protocol", variant{main: "milter_protocol = 2\n"}, []string{"red milter-protocol: Postfix uses milter protocol 2", postconf("-e 'milter_protocol = 6'")}},
		{"a short timeout", variant{main: "milter_content_timeout = 30s\n"}, []string{"yellow milter-timeouts: Postfix waits 30s for the action at the end of a message", postconf("-e 'milter_content_timeout = 300s'")}},
		{"OpenDKIM signs too", variant{main: "smtpd_milters = " + opendkim + "\n"},
			[]string{"yellow other-signer: OpenDKIM (unix:opendkim/s) also signs: it comes before Signpost", postconf("-e 'smtpd_milters = unix:signpost/milter.sock'")}},
		{"a milter after the signer", variant{main: "smtpd_milters = unix:signpost/milter.sock, unix:opendkim/s\n", sh: "echo 'Mode v' >etc/opendkim.conf"},
			[]string{"yellow milter-order: milters come after Signpost in smtpd_milters of smtp/inet: unix:opendkim/s", postconf("-e 'smtpd_milters = unix:opendkim/s, unix:signpost/milter.sock'")}},
		{"no milters for users", variant{master: "  -o receive_override_options=no_milters\n"},
			[]string{"red smtpd-milters: submission/inet runs no milters", postconf("-P 'submission/inet/receive_override_options='")}},
		{"ORIGINATING for all", variant{main: "milter_macro_daemon_name = ORIGINATING\n"}, []string{"red originating: smtp/inet treats unauthenticated clients as trusted", postconf("-X 'milter_macro_daemon_name'")}},
		{"a LAN that is not trusted", variant{main: "mynetworks = 127.0.0.0/8 192.0.2.0/24\n"},
			[]string{"red mynetworks: mynetworks contains networks that are not in trusted_networks: 192.0.2.0/24", `trusted_networks = ["127.0.0.0/8", "::1/128", "192.0.2.0/24"]`}},
		{"a filter that returns mail through sendmail(1), and webmail", variant{master: submission + "26 inet n - n - - smtpd\n  -o content_filter=spam\nspam unix - n n - - pipe\n  user=nobody argv=/usr/bin/spamc -e /usr/sbin/sendmail -oi -f ${sender} ${recipient}\n"},
			[]string{"yellow reinjection: the filter spam returns mail through sendmail(1)", postconf("-M '127.0.0.1:10026/inet=127.0.0.1:10026 inet n - n - - smtpd -o content_filter= -o receive_override_options=no_milters,no_unknown_recipient_checks,no_header_body_checks' && ") +
				postconf("-F 'spam/unix/command=pipe user=nobody argv=/usr/bin/spamc -e /usr/bin/msmtp --host=127.0.0.1 --set-date-header=off --set-msgid-header=off --remove-bcc-headers=off --port=10026 -oi -f ${sender} ${recipient}' # needs msmtp(1): apt-get install msmtp")}},
		{"milters at a filter's return port", variant{main: "content_filter = smtp:[127.0.0.1]:10024\n", master: "127.0.0.1:10025 inet n - n - - smtpd\n  -o content_filter=\n"},
			[]string{"yellow reinjection: 127.0.0.1:10025/inet receives mail back from a filter", postconf("-P '127.0.0.1:10025/inet/receive_override_options=no_milters'")}},
		{"addresses rewritten after signing", variant{main: "smtp_generic_maps = static:ann@example.org\n"},
			[]string{"yellow generic-maps: smtp/unix rewrites addresses after signing", postconf("-X 'smtp_generic_maps' && ") + postconf("-e 'sender_canonical_maps = static:ann@example.org'")}},
		{"SMTP smuggling", variant{main: "smtpd_forbid_bare_newline = no\n"}, []string{"yellow bare-newline: smtp/inet accepts a bare LF", postconf("-e 'smtpd_forbid_bare_newline = yes'")}},
		{"unsigned bounces", variant{main: "internal_mail_filter_classes =\n"}, []string{"yellow internal-mail: bounces do not pass the milters", postconf("-e 'internal_mail_filter_classes = bounce'")}},
		{"a misspelt parameter", variant{main: "milter_default_acton = accept\n"}, []string{"yellow postfix: unknown Postfix parameter milter_default_acton", postconf("-X 'milter_default_acton'")}},
		{"XCLIENT for all", variant{main: "smtpd_authorized_xclient_hosts = 0.0.0.0/0\n"}, []string{"red originating: smtp/inet allows XCLIENT for every client", postconf("-e 'smtpd_authorized_xclient_hosts ='")}},

		{"observe mode", variant{toml: "mode = \"observe\"\n"},
			[]string{`yellow mode: mode = "observe": Signpost signs, rejects and tags nothing`, `mode = "enforce" # when the log shows what you expect: docs/observe.md, "Observe mode"`}},
		{"a domain's directory that any user may write in", variant{sh: "chmod 777 state/keys/example.org"},
			[]string{"red key-files: other users can write to ROOT/state/keys/example.org", "chmod go-w 'ROOT/state/keys/example.org'"}},
		{"two domains' directories that any user may write in", variant{sh: "chmod 777 state/keys/example.*"},
			[]string{"red key-files: other users can write to ROOT/state/keys/example.net, and 1 more", "find -L 'ROOT/state/keys' -not -name '*.pem' -exec chmod go-w {} +"}},
		{"a key that any user may read", variant{sh: "chmod 644 state/keys/example.org/a.pem"},
			[]string{"red key-files: other users can read the private key ROOT/state/keys/example.org/a.pem", "chmod 0600 'ROOT/state/keys/example.org/a.pem'"}},
		{"a key of root", variant{sh: "chown root state/keys/example.org/a.pem"},
			[]string{"red key-files: permission denied: user daemon cannot read ROOT/state/keys/example.org/a.pem", "chown -R daemon:daemon 'ROOT/state/keys' && chmod -R u+rX 'ROOT/state/keys'"}},
		{"a state directory of root", variant{sh: "chown root:daemon state; chmod 750 state"},
			[]string{"red state-dir: permission denied: user daemon cannot write to ROOT/state", "chown daemon:daemon 'ROOT/state' && chmod 0700 'ROOT/state'"}},
		{"a configuration for root alone", variant{sh: "chmod 600 etc/signpost.toml"},
			[]string{"red config: permission denied: user daemon cannot read ROOT/etc/signpost.toml", "chgrp daemon 'ROOT/etc/signpost.toml' && chmod 0640 'ROOT/etc/signpost.toml'"}},
		{"a directory that Postfix cannot search", variant{sh: "chmod 700 spool/signpost"},
			[]string{"red socket-access: permission denied: user postfix cannot search ROOT/spool/signpost, the path of the socket SOCKET", "chgrp postfix 'ROOT/spool/signpost' && chmod 2710 'ROOT/spool/signpost'"}},
		{"a socket to which Postfix cannot write", variant{sh: "chmod 600 spool/signpost/milter.sock"},
			[]string{"red socket-access: permission denied: user postfix cannot write to the socket SOCKET", "chgrp postfix 'SOCKET' && chmod 0660 'SOCKET'"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, c.variant)
			found := s.find(t)
			if len(found) != len(c.want)/2 {
				t.Fatalf("got %+v, want %q", found, c.want)
			}
			for i, f := range found {
				text, line := s.expand(c.want[2*i]), s.expand(c.want[2*i+1])
				if got := fmt.Sprintf("%s %s: %s", f.Level, f.Check, f.Headline()); !strings.Contains(got, text) || f.Fixes() != line {
					t.Errorf("got %s\n%s\nwant %s\n%s", got, f.Fixes(), text, line)
				}
			}
			for _, f := range found {
				s.apply(t, f.Fix)
			}
			if found := s.find(t); len(found) > 0 {
				t.Errorf("after the fix: %+v", found)
			}
			s.sh(t, "postfix -c "+s.root+"/etc check")
		})
	}
}

// Correct servers have only green findings.
func TestCorrect(t *testing.T) {
	for _, c := range []struct {
		name string
		variant
	}{
		{name: "a chroot, as on Debian"},
		{"no chroot", variant{main: "smtpd_milters = unix:SOCKET\n", master: "-"}},
		{"a port, by name", variant{toml: onPort, main: "smtpd_milters = inet:localhost:PORT\n"}},
		{"a port and settings", variant{toml: onPort, main: "smtpd_milters = { inet:127.0.0.1:PORT, connect_timeout=10s, {content_timeout = 400s} }\n"}},
		{"both sockets", variant{toml: "listen = [\"unix:SOCKET\", \"inet:127.0.0.1:PORT\"]\n", main: "non_smtpd_milters = inet:127.0.0.1:PORT\n"}},
		{"amavis for all, and webmail's submission", variant{main: "content_filter = smtp:[127.0.0.1]:10024\n",
			master: "127.0.0.1:10025 inet n - n - - smtpd\n  -o content_filter=\n  -o receive_override_options=no_milters\n127.0.0.1:10587 inet n - n - - smtpd\n  -o content_filter= -o smtpd_sasl_auth_enable=yes -o milter_macro_daemon_name=ORIGINATING\n"}},
		{"postscreen", variant{master: "25 inet n - y - 1 postscreen\nsmtpd pass - - y - - smtpd\n"}},
		{"OpenDKIM that verifies only", variant{main: "smtpd_milters = " + opendkim + "\n", sh: "echo 'Mode v' >etc/opendkim.conf"}},
		{"a LAN that is trusted", variant{main: "mynetworks = 127.0.0.0/8 192.0.2.0/24\n", toml: "trusted_networks = [\"127.0.0.0/8\", \"192.0.2.0/24\"]\n"}},
		{"a spam filter that returns mail by SMTP", variant{main: "content_filter = spam\n",
			master: "spam unix - n n - - pipe\n  user=nobody argv=/usr/local/bin/filter --port=10026\n127.0.0.1:10026 inet n - n - - smtpd\n  -o content_filter= -o receive_override_options=no_milters\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			open := c.master == "-"
			if open {
				c.master = ""
			}
			s := newServer(t, c.variant)
			if open {
				s.sh(t, `sed -i 's/ - y - / - n - /' etc/master.cf`)
			}
			if found := s.find(t); len(found) > 0 {
				t.Errorf("got %+v", found)
			}
			s.sh(t, "postfix -c "+s.root+"/etc check")
		})
	}
}
