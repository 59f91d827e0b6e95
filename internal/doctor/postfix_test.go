package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"signpost/internal/config"
)

const healthyMain = `compatibility_level = 3.6
queue_directory = /var/spool/postfix
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
smtpd_milters = unix:signpost/milter.sock
non_smtpd_milters = $smtpd_milters
milter_default_action = tempfail
internal_mail_filter_classes = bounce
`

const healthyMaster = `smtp inet n - y - - smtpd
cleanup unix n - y - 0 cleanup
submission inet n - y - - smtpd
  -o milter_macro_daemon_name=ORIGINATING
`

// postfixCase is a healthy Postfix but for what main and master add. Behind main may stand further files, as in a txtar
// archive; signpost.toml is the daemon's configuration. DIR is their folder.
type postfixCase struct {
	name, main, master string
	check, what, fix   string // check may be several words: one mistake that two checks see
	level              Level
}

// site lays a case out.
func (c postfixCase) site(t *testing.T) Postfix {
	t.Helper()
	dir := t.TempDir()
	main := txtar.Parse([]byte(strings.ReplaceAll(healthyMain+c.main, "DIR", dir)))
	p := Postfix{Dir: dir, Config: config.Default(), File: "signpost.toml", etc: dir}
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

// notGreen is what is not green. main.cf is made to look old: Postfix reads no file that was changed less than two seconds ago,
// lest somebody still writes it.
func notGreen(t *testing.T, p Postfix) (all []Finding) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(p.Dir, "main.cf"), old, old); err != nil {
		t.Fatal(err)
	}
	for _, f := range p.Check(t.Context()) {
		if f.Level != Green {
			all = append(all, f)
		}
	}
	return all
}

// checks are the names of the checks that found something, in order.
func checks(all []Finding) string {
	var names []string
	for _, f := range all {
		names = append(names, f.Check)
	}
	return strings.Join(names, " ")
}

// hold looks at each case: its misconfiguration is found under its name alone, and its Fix, run by sh where it is a line of
// postconf, makes it go away.
func hold(t *testing.T, cases []postfixCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := c.site(t)
			found := notGreen(t, p)
			if c.check == "" {
				if len(found) > 0 {
					t.Fatalf("a healthy Postfix: %+v", found)
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
			if !strings.HasPrefix(want, "postconf") {
				return
			}
			if out, err := exec.Command("sh", "-c", want).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", want, err, out)
			}
			if found := notGreen(t, p); len(found) > 0 {
				t.Errorf("after the fix: %+v", found)
			}
		})
	}
}

func TestPostfix(t *testing.T) {
	hold(t, []postfixCase{
		{name: "healthy"},
		{"chroot", "smtpd_milters = unix:/var/spool/postfix/signpost/milter.sock\nnon_smtpd_milters = unix:signpost/milter.sock\n", "", "socket-path", "chrooted in /var/spool/postfix", "-e 'smtpd_milters = unix:signpost/milter.sock'", Red},
		{"no non_smtpd", "non_smtpd_milters =\n", "", "non-smtpd-milters", "not among the non_smtpd_milters", "-e 'non_smtpd_milters = unix:signpost/milter.sock'", Red},
		{"accept", "milter_default_action = accept\n", "", "default-action", "default_action accept", "-e 'milter_default_action = tempfail'", Red},
		{"after the signer", "smtpd_milters = unix:signpost/milter.sock, unix:clamav/clamav.sock\nnon_smtpd_milters = unix:signpost/milter.sock\n", "", "milter-order", "unix:clamav/clamav.sock", "-e 'smtpd_milters = unix:clamav/clamav.sock, unix:signpost/milter.sock'", Yellow},
		{"another signer", "smtpd_milters = unix:opendkim/s, unix:signpost/milter.sock\nnon_smtpd_milters = unix:signpost/milter.sock\n", "", "other-signer", "OpenDKIM (unix:opendkim/s) stands before", "-e 'smtpd_milters = unix:signpost/milter.sock'", Yellow},
		{"protocol", "milter_protocol = 4\n", "", "milter-protocol", "protocol 4", "-e 'milter_protocol = 6'", Red},
		{"impatient", "milter_content_timeout = 30s\n", "", "milter-timeouts", "30s", "-e 'milter_content_timeout = 300s'", Yellow},
		{"bounces", "internal_mail_filter_classes =\n", "", "internal-mail", "bounces", "-e 'internal_mail_filter_classes = bounce'", Yellow},
		{"ORIGINATING", "milter_macro_daemon_name = ORIGINATING\n", "", "originating", "every stranger", "-X 'milter_macro_daemon_name'", Red},
		{"override", "", "  -o smtpd_milters=\n", "smtpd-milters", "submission/inet", "-PX 'submission/inet/smtpd_milters'", Red},
		{"LAN", "mynetworks = 127.0.0.0/8 192.0.2.0/24\n", "", "mynetworks", "192.0.2.0/24", `trusted_networks = ["127.0.0.0/8", "::1/128", "192.0.2.0/24"]`, Red},
	})
}

const comeBack = "127.0.0.1:10025 inet n - n - - smtpd\n  -o content_filter=\n"

// Mail that reaches no milter at all is red: switched off for a service or for all, or with no service to switch it on for.
func TestPostfixMilters(t *testing.T) {
	hold(t, []postfixCase{
		{name: "off for all", main: "receive_override_options = no_milters, no_address_mappings\n", master: "pickup unix n - y 60 1 pickup\n",
			check: "smtpd-milters non-smtpd-milters", what: "smtp/inet runs no milters", fix: "-e 'receive_override_options = no_address_mappings'", level: Red},
		{name: "off for smtpd", master: "  -o receive_override_options=no_milters\n",
			check: "smtpd-milters", what: "submission/inet runs no milters", fix: "-P 'submission/inet/receive_override_options='", level: Red},
		{name: "off for pickup", master: "pickup unix n - y 60 1 pickup\n  -o receive_override_options=no_milters\n",
			check: "non-smtpd-milters", what: "pickup/unix runs no milters", fix: "-P 'pickup/unix/receive_override_options='", level: Red},
		{name: "cleanup does not read it", master: "other unix n - y - 0 cleanup\n  -o receive_override_options=no_milters\n"},
		{name: "cleanup's own list", master: "other unix n - y - 0 cleanup\n  -o non_smtpd_milters=\n",
			check: "non-smtpd-milters", what: "of other/unix", fix: "-PX 'other/unix/non_smtpd_milters'", level: Red},
		{name: "off where mail comes back", master: comeBack + "  -o receive_override_options=no_milters\n"},
		{name: "none where mail comes back", main: "content_filter = smtp:[127.0.0.1]:10024\n", master: "localhost:10025 inet n - n - - smtpd\n  -o content_filter= -o smtpd_milters=\n"},
		{name: "none on loopback", master: "127.0.0.1:2525 inet n - n - - smtpd\n  -o smtpd_milters=\n",
			check: "smtpd-milters", what: "127.0.0.1:2525/inet", fix: "-PX '127.0.0.1:2525/inet/smtpd_milters'", level: Red},
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
			if len(found) != 1 || found[0].Level != Red || found[0].What != c.what {
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
