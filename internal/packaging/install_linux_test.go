package packaging

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"signpost/internal/testdns"
)

// The test follows the steps of README.md, "Install". Step 5 includes the commands of "Add it to Postfix". In observe mode, a forgery
// is delivered, with would=reject in the log. After step 7, a forgery is rejected.
func TestInstallSteps(t *testing.T) {
	if !inside(t) {
		return
	}
	text, err := os.ReadFile(filepath.Join(os.Getenv(packagesVar), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	section := func(heading string) string {
		_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
		if !found {
			t.Fatalf("README.md has no section %q", heading)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		return section
	}
	var steps, postfix []string
	for _, m := range regexp.MustCompile(`(?m)^ {7}(\S.*)`).FindAllStringSubmatch(section("Install"), -1) {
		steps = append(steps, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^ {4}(post\S.*)`).FindAllStringSubmatch(section("Add it to Postfix"), -1) {
		postfix = append(postfix, m[1])
	}
	if len(steps) < 12 || len(postfix) < 6 {
		t.Fatalf("only %q and %q", steps, postfix)
	}
	dns, err := testdns.StartAt("127.0.0.1:53", zone)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Stop()
	syslog := listenSyslog(t)
	stockPostfix(t)
	run(t, "useradd --create-home bob; echo 'postmaster: bob' >/etc/aliases; newaliases")
	forge := func() error {
		return send(stranger, "eve@elsewhere.example", "From: root@stranger.example\r\nSubject: forged\r\n\r\nHello.\r\n")
	}
	logged := func(log, pattern string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(log)
			return regexp.MustCompile(pattern).Match(text)
		}
	}

	t.Chdir(t.TempDir())
	var log, settings string
	for _, line := range steps {
		switch {
		case line == "make deb": // built by the outer process with the same script
			run(t, "mkdir bin; cp "+deb(t, 1)+" bin/")
		case strings.HasPrefix(line, "systemctl enable --now signpost "): // as systemd would
			run(t, strings.Replace(line, " --now", "", 1))
			log = start(t)
		case strings.HasPrefix(line, "dkimkey check "), strings.HasPrefix(line, "dkimkey status"), line == "signpost doctor":
			if line == "signpost doctor" {
				for _, command := range postfix {
					run(t, command)
				}
			}
			run(t, "("+line+"\n) || test $? = 1") // the record is not published
		case strings.HasPrefix(line, "dkimkey rotate "): // waits for an hour
		case strings.HasPrefix(line, "journalctl "):
			if err := forge(); err != nil {
				t.Fatal(err)
			}
			if got := mailbox(t, 1, syslog)[0]; !strings.Contains(got, "Authentication-Results: observe."+hostname+";") || strings.Contains(got, "X-Signpost-Disposition") {
				t.Errorf("delivered in observe mode:\n%s", got)
			}
			until(t, "the log has would=reject", logged(log, `action=accept would=reject code=dmarc_fail`))
		case line == "systemctl reload signpost":
			run(t, "kill -HUP $(cat /run/signpost.pid)")
			until(t, "the daemon has reloaded", logged(log, `SIGHUP.* mode=enforce`))
		case strings.HasPrefix(line, "signpost test"):
			out := run(t, "("+line+"\n) || test $? = 1") // the key is not active, and example.org is not a local domain
			if want := map[string]string{"signpost test": "red    signature: the message was not signed: ", "signpost test --forge": "no forged message was sent to postmaster@example.org"}[line]; !strings.Contains(out, want) {
				t.Errorf("%s: no %q\n%s", line, want, out)
			}
		case strings.HasPrefix(line, "make "), strings.HasPrefix(line, "dpkg "), strings.HasPrefix(line, "dkimkey "), strings.HasPrefix(line, "signpost "):
			if line == "signpost check-config" {
				if err := os.WriteFile("/etc/signpost/conf.d/local.toml", []byte(settings), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			run(t, line)
		default:
			settings += line + "\n"
		}
	}
	if err := forge(); err == nil || !strings.Contains(err.Error(), "5.7.1") {
		t.Errorf("a forgery in enforce mode: %v", err)
	}
}
