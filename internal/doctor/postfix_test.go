package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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

func badSite(t *testing.T, dir string) (all []Finding) {
	t.Helper()
	for _, f := range (Postfix{Dir: dir, Config: config.Default(), File: "signpost.toml"}).Check(t.Context()) {
		if f.Level != Green {
			all = append(all, f)
		}
	}
	return all
}

// Each misconfiguration is found under its name alone, and its Fix, run by sh, makes it go away.
func TestPostfix(t *testing.T) {
	for _, c := range []struct {
		name, main, master, check, what, fix string
		level                                Level
	}{
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
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"main.cf": healthyMain + c.main, "master.cf": healthyMaster + c.master} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			found := badSite(t, dir)
			if c.check == "" {
				if len(found) > 0 {
					t.Fatalf("a healthy Postfix: %+v", found)
				}
				return
			}
			want := c.fix
			if strings.HasPrefix(want, "-") {
				want = "postconf -c '" + dir + "' " + want
			}
			if len(found) != 1 || found[0].Check != c.check || found[0].Level != c.level || !strings.Contains(found[0].What, c.what) || found[0].Fix != want {
				t.Fatalf("got %+v, want one %s with %q and the fix %s", found, c.check, c.what, want)
			}
			if !strings.HasPrefix(want, "postconf") {
				return
			}
			if out, err := exec.Command("sh", "-c", want).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", want, err, out)
			}
			if found := badSite(t, dir); len(found) > 0 {
				t.Errorf("after the fix: %+v", found)
			}
		})
	}
}
