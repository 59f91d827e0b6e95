package packaging

import (
	"errors"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/testdns"
)

// This is the last version whose package had /etc/signpost/signpost.toml, with every key, as a conffile.
const (
	olderCommit  = "9d4fa84bf8d13cd9765d7714173ce02f41f26d75"
	olderVersion = "0.0~git20261130054018"
)

// older returns the directory of the older package and of its README.md. Outside of the machine, it builds them from git.
func older(t *testing.T) string {
	if testing.Short() {
		t.Skip("needs a package")
	}
	t.Helper()
	dir := filepath.Join(os.Getenv(packagesVar), "older")
	if os.Getenv(machineVar) != "" {
		return dir
	}
	if os.Geteuid() != 0 {
		t.Skip("installing a package needs root")
	}
	git := func(args ...string) ([]byte, error) {
		return exec.Command("git", append([]string{"-C", "../..", "-c", "safe.directory=*"}, args...)...).Output()
	}
	if _, err := git("cat-file", "-e", olderCommit+"^{commit}"); err != nil {
		if shallow, err := git("rev-parse", "--is-shallow-repository"); err != nil || strings.TrimSpace(string(shallow)) == "true" {
			t.Skip("the older package is built from commit " + olderCommit + ", which is not here: not a clone, or a shallow one")
		}
		t.Fatal("no commit ", olderCommit)
	}
	source := t.TempDir()
	archive, err := git("archive", olderCommit)
	if err != nil {
		t.Fatal(err)
	}
	tar := exec.Command("tar", "-x", "-C", source)
	tar.Stdin = strings.NewReader(string(archive))
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(filepath.Join(source, "scripts/deb"), dir)
	cmd.Env = append(os.Environ(), "VERSION="+olderVersion, "SOURCE_DATE_EPOCH=1796019702")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	readme, err := os.ReadFile(filepath.Join(source, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README.md"), readme, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

const configFile = "/etc/signpost/signpost.toml"

// fakeSystemd makes the package's scripts see a running systemd with an active daemon. systemctl prints its arguments.
func fakeSystemd(t *testing.T) {
	t.Helper()
	run(t, `mkdir -p /run/systemd/system; printf '#!/bin/sh\necho systemctl "$@"\n' >/usr/local/sbin/systemctl; chmod 755 /usr/local/sbin/systemctl`)
}

// The older version is installed with the steps of its README.md, and a few more settings. An upgrade without a terminal asks no
// questions, and changes neither the configuration nor the handling of mail. Before the restart, it prints which decisions in the
// journal change.
func TestUpgradeFromOlder(t *testing.T) {
	dir := older(t)
	if !inside(t) {
		return
	}
	packages, _ := filepath.Glob(dir + "/*.deb")
	if len(packages) != 1 {
		t.Fatal(packages)
	}
	oldPackage := packages[0]
	dns, err := testdns.StartAt("127.0.0.1:53", zone)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Stop()
	syslog := listenSyslog(t)
	stockPostfix(t)
	run(t, "useradd --create-home bob; echo 'postmaster: bob' >/etc/aliases; newaliases")
	record := typed(t, readmeSteps(t, dir+"/README.md"), oldPackage)
	verifies(t, mailbox(t, 1, syslog)[0], record)
	run(t, `sed -i 's/^authserv_id = ""/authserv_id = "results.example.net"/; s/^trusted_networks = .*/trusted_networks = ["127.0.0.0\/8", "::1\/128", "192.0.2.0\/24"]/' `+configFile+"; echo example.com >>/etc/signpost/greyskip.domains")
	stop(t)
	start(t)
	message := "From: eve@stranger.example\r\nSubject: from outside\r\n\r\nHello.\r\n"
	if err := send(stranger, "eve@stranger.example", message); err != nil {
		t.Fatal(err)
	}
	if got := mailbox(t, 2, syslog)[1]; !strings.Contains(got, "Authentication-Results: results.example.net;") {
		t.Fatalf("results under another name:\n%s", got)
	}

	// upgrade runs dpkg as an unattended upgrade does. It returns the output of dpkg and of the package's scripts.
	upgrade := func(file string) string {
		t.Helper()
		before := run(t, "sha256sum "+configFile)
		out := run(t, "dpkg -i "+file+" </dev/null")
		if after := run(t, "sha256sum "+configFile); after != before {
			t.Errorf("dpkg -i %s changed the configuration\n%s", file, out)
		}
		return out
	}
	fakeSystemd(t)
	if out := upgrade(deb(t, 1)); strings.Contains(out, "what-if") || !strings.Contains(out, "systemctl restart signpost.service") {
		t.Errorf("although no decision changes, the upgrade prints some, or does not restart the daemon:\n%s", out)
	}
	run(t, `printf '[[deny]]\nnetwork = "`+stranger+`"\ncomment = "test"\nexpires = 2099-01-01\n' >>`+configFile)
	out := upgrade(deb(t, 2))
	told, restart := strings.Index(out, " 1   50.0%  accept -> "), strings.Index(out, "systemctl restart signpost.service")
	if told < 0 || restart < told || !strings.Contains(out, "clients: "+stranger+" 1") {
		t.Errorf("before the restart, the package does not print which decision changes:\n%s", out)
	}
	run(t, "rm -r /run/systemd/system /usr/local/sbin/systemctl")
	if out := upgrade(deb(t, 2)); !strings.Contains(out, "systemd is not running: restart the daemon yourself") {
		t.Errorf("without systemd, the package does not ask for a restart:\n%s", out)
	}
	run(t, "grep -qx example.com /etc/signpost/greyskip.domains")

	stop(t)
	start(t)
	if err := send("127.0.0.1", "ann@example.org", "From: ann@example.org\r\nSubject: after the upgrade\r\n\r\nHello.\r\n"); err != nil {
		t.Fatal(err)
	}
	verifies(t, mailbox(t, 3, syslog)[2], record)
	err = send(stranger, "eve@stranger.example", message)
	var refused *textproto.Error
	if !errors.As(err, &refused) || refused.Code != 550 {
		t.Errorf("the mode, or an exception, has no effect: %v", err)
	}
	stop(t)

	// The last part tests removal, reinstallation and purge.
	changed := run(t, "cat "+configFile)
	run(t, "dpkg -r signpost; dpkg -i "+deb(t, 2)+" </dev/null")
	if got := run(t, "cat "+configFile); got != changed {
		t.Errorf("the configuration after a removal and reinstallation:\n%s", got)
	}
	run(t, "mkdir -p /etc/signpost/conf.d; touch /etc/signpost/conf.d/local.toml /etc/signpost/forwarders.toml; dpkg -P signpost; ! test -e /etc/signpost")

	// An unchanged file is kept as well, and a downgrade asks no questions.
	run(t, "dpkg -i "+oldPackage)
	upgrade(deb(t, 2))
	run(t, "signpost check-config; grep -qx 'mode = \"observe\"' "+configFile)
	upgrade(oldPackage)
	upgrade(deb(t, 2))
	run(t, "dpkg -P signpost; ! test -e /etc/signpost")
}

// An upgrade succeeds even if the configuration is invalid, deleted or unreadable for the daemon, or if the journal cannot be read. If
// the configuration is the cause, the old daemon keeps running.
func TestUpgradeOfBrokenInstallation(t *testing.T) {
	if !inside(t) {
		return
	}
	run(t, "dpkg -i "+deb(t, 1))
	fakeSystemd(t)
	run(t, asSignpost+"mkfifo -m 600 /var/lib/signpost/journal/journal.db")
	if out := run(t, "dpkg -i "+deb(t, 2)+" </dev/null"); !strings.Contains(out, "journal.db: is not a regular file\nsignpost: what-if failed") || !strings.Contains(out, "systemctl restart signpost.service") {
		t.Errorf("with a journal that cannot be read:\n%s", out)
	}
	run(t, "rm /var/lib/signpost/journal/journal.db; install -m 0600 /dev/null /etc/signpost/conf.d/local.toml")
	if out := run(t, "dpkg -i "+deb(t, 2)+" </dev/null"); !strings.Contains(out, "/etc/signpost/conf.d/local.toml: permission denied") || !strings.Contains(out, "the old daemon keeps running") || strings.Contains(out, "systemctl restart signpost.service") {
		t.Errorf("with a configuration that user signpost cannot read:\n%s", out)
	}
	if out := run(t, "! signpost check-config 2>&1"); !strings.Contains(out, "user signpost cannot read /etc/signpost/conf.d/local.toml") {
		t.Errorf("check-config as root:\n%s", out)
	}
	run(t, "rm /etc/signpost/conf.d/local.toml; echo nonsense >>"+configFile)
	if out := run(t, "dpkg -i "+deb(t, 2)+" </dev/null"); !strings.Contains(out, configFile+":") || !strings.Contains(out, "the old daemon keeps running") || strings.Contains(out, "systemctl restart signpost.service") {
		t.Errorf("with an invalid configuration:\n%s", out)
	}
	run(t, "rm "+configFile)
	if out := run(t, "dpkg -i "+deb(t, 2)+" </dev/null; ! test -e "+configFile); !strings.Contains(out, "cp /usr/share/signpost/signpost.toml "+configFile) || strings.Contains(out, "systemctl restart signpost.service") {
		t.Errorf("with a deleted configuration:\n%s", out)
	}
}
