package packaging

import (
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rights returns "MODE OWNER:GROUP" of a file; the mode includes the setgid bit.
func rights(t *testing.T, path string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "stat -c '%a %U:%G' "+path))
}

func TestInstalled(t *testing.T) {
	if !inside(t) {
		return
	}
	said := run(t, "dpkg -i "+deb(t, 1))
	if !strings.Contains(said, "installed, but not started") {
		t.Errorf("the installation does not print the next steps:\n%s", said)
	}
	for path, want := range map[string]string{
		"/usr/sbin/signpost":                                 "755 root:root",
		"/usr/sbin/signpost-cluster":                         "755 root:root",
		"/usr/sbin/dkimkey":                                  "755 root:root",
		"/usr/sbin/greyskip":                                 "755 root:root",
		"/etc/signpost/signpost.toml":                        "644 root:root",
		"/etc/signpost/conf.d":                               "755 root:root",
		"/usr/share/signpost/signpost.toml":                  "644 root:root",
		"/usr/share/doc/signpost/examples/signpost.toml":     "644 root:root",
		"/var/lib/signpost":                                  "700 signpost:signpost",
		"/var/lib/signpost/keys":                             "700 signpost:signpost",
		"/var/lib/signpost/journal":                          "700 signpost:signpost",
		"/var/lib/signpost/locks":                            "700 signpost:signpost",
		"/var/spool/postfix/signpost":                        "2710 signpost:postfix",
		"/usr/lib/sysusers.d":                                "755 root:root",
		"/usr/lib/sysusers.d/signpost.conf":                  "644 root:root",
		"/usr/lib/tmpfiles.d/signpost.conf":                  "644 root:root",
		"/usr/lib/systemd/system/signpost.service":           "644 root:root",
		"/usr/lib/systemd/system/signpost.socket":            "644 root:root",
		"/usr/lib/systemd/system/signpost-web.service":       "644 root:root",
		"/usr/lib/systemd/system/signpost-tables.service":    "644 root:root",
		"/usr/lib/systemd/system/signpost-cluster.service":   "644 root:root",
		"/usr/share/man/man8/signpost-cluster.8.gz":          "644 root:root",
		"/usr/lib/systemd/system/signpost-reports.service":   "644 root:root",
		"/usr/lib/systemd/system/signpost-reports.timer":     "644 root:root",
		"/usr/lib/systemd/system/dkimkey-rotate.service":     "644 root:root",
		"/usr/lib/systemd/system/dkimkey-rotate.timer":       "644 root:root",
		"/usr/lib/systemd/system/greyskip.service":           "644 root:root",
		"/usr/lib/systemd/system/greyskip.timer":             "644 root:root",
		"/usr/share/man/man1/greyskip.1.gz":                  "644 root:root",
		"/usr/share/doc/signpost/examples/greyskip.domains":  "644 root:root",
		"/usr/share/bash-completion/completions/signpost":    "644 root:root",
		"/usr/share/zsh/vendor-completions/_dkimkey":         "644 root:root",
		"/usr/share/fish/vendor_completions.d/signpost.fish": "644 root:root",
		"/usr/share/doc/signpost/README.md":                  "644 root:root",
		"/usr/share/doc/signpost/CHANGELOG.md":               "644 root:root",
		"/usr/share/doc/signpost/NOTICE":                     "644 root:root",
		"/usr/share/doc/signpost/copyright":                  "644 root:root",
		"/usr/share/doc/signpost/NEWS.Debian.gz":             "644 root:root",
		"/usr/share/doc/signpost/changelog.gz":               "644 root:root",
		"/usr/share/doc/signpost/examples/junk.sieve":        "644 root:root",
		"/usr/share/doc/signpost/examples/cron.d-signpost":   "644 root:root",
	} {
		if got := rights(t, path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	// After the installation, the files in sysusers.d and tmpfiles.d cause no further change.
	before := run(t, "getent passwd signpost; getent group signpost")
	run(t, "systemd-sysusers signpost.conf; systemd-tmpfiles --create signpost.conf")
	if after := run(t, "getent passwd signpost; getent group signpost"); after != before || !strings.Contains(before, ":/var/lib/signpost:/usr/sbin/nologin\n") {
		t.Errorf("the user is\n%safter sysusers\n%s", before, after)
	}
	for path, want := range map[string]string{"/var/lib/signpost/keys": "700 signpost:signpost", "/var/lib/signpost/journal": "700 signpost:signpost", "/var/spool/postfix/signpost": "2710 signpost:postfix"} {
		if got := rights(t, path); got != want {
			t.Errorf("after tmpfiles %s: %s, want %s", path, got, want)
		}
	}
	if enabled, _ := filepath.Glob("/etc/systemd/system/*/*ign*post*"); len(enabled) > 0 {
		t.Errorf("enabled without being asked: %q", enabled)
	}
	run(t, "grep -qx 'mode = \"observe\"' /etc/signpost/signpost.toml && signpost check-config")
	run(t, "grep -o '/usr/share/[^ ]*' /etc/signpost/signpost.toml | xargs ls") // all files that it names exist
	if said := run(t, "systemd-analyze verify signpost.service signpost.socket signpost-web.service signpost-tables.service signpost-cluster.service signpost-reports.service signpost-reports.timer dkimkey-rotate.service dkimkey-rotate.timer greyskip.service greyskip.timer 2>&1 | grep -E 'signpost|dkimkey|greyskip' | grep -v 'man ' || true"); said != "" {
		t.Errorf("systemd-analyze verify:\n%s", said)
	}
}

// With the shipped configuration, the daemon answers Postfix in its chroot. Other users cannot connect.
func TestSocket(t *testing.T) {
	if !inside(t) {
		return
	}
	run(t, "dpkg -i "+deb(t, 1))
	start(t)
	if got := rights(t, "/var/spool/postfix/signpost/milter.sock"); got != "660 signpost:postfix" {
		t.Errorf("the socket is %s", got)
	}
	if out, err := connectAs(t, "postfix", "/var/spool/postfix", "signpost/milter.sock"); err != nil {
		t.Errorf("postfix in its chroot: %v\n%s", err, out)
	}
	for _, name := range []string{"nobody", "www-data"} {
		if out, err := connectAs(t, name, "/", "/var/spool/postfix/signpost/milter.sock"); err == nil || !strings.Contains(out, "permission denied") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// A daemon that the watchdog aborts is killed by the signal, so that systemd restarts it. By default, Go would exit with code 2. The
// unit does not restart the daemon after code 2, which means an invalid configuration.
func TestAbortedIsRestarted(t *testing.T) {
	if !inside(t) {
		return
	}
	run(t, "dpkg -i "+deb(t, 1))
	if got := unitSetting(t, "signpost.service", "RestartPreventExitStatus"); got != "2" {
		t.Fatalf("the unit does not restart from %s", got)
	}
	program := strings.Fields(unitSetting(t, "signpost.service", "ExecStart"))
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Env = append(os.Environ(), unitSetting(t, "signpost.service", "Environment"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	until(t, "the daemon listens", func() bool {
		_, err := os.Stat("/var/spool/postfix/signpost/milter.sock")
		return err == nil
	})
	if err := cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	<-exited
	if state := cmd.ProcessState.Sys().(syscall.WaitStatus); !state.Signaled() || state.Signal() != syscall.SIGABRT {
		t.Errorf("ended with %v, want the signal", cmd.ProcessState)
	}
}

// connectAs connects to the milter as a user in a chroot. Postfix does the same: its programs open only the socket in the chroot.
func connectAs(t *testing.T, name, root, socket string) (string, error) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestConnectHelper$", "-test.v")
	cmd.Env = append(os.Environ(), "CONNECT_ROOT="+root, "CONNECT_SOCKET="+socket, "CONNECT_UID="+u.Uid, "CONNECT_GID="+u.Gid)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestConnectHelper runs in the second process of connectAs.
func TestConnectHelper(t *testing.T) {
	root, ok := os.LookupEnv("CONNECT_ROOT")
	if !ok {
		return
	}
	uid, err1 := strconv.Atoi(os.Getenv("CONNECT_UID"))
	gid, err2 := strconv.Atoi(os.Getenv("CONNECT_GID"))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, err := range []error{syscall.Chroot(root), os.Chdir("/"), syscall.Setgroups(nil), syscall.Setgid(gid), syscall.Setuid(uid)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := net.Dial("unix", os.Getenv("CONNECT_SOCKET"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// This is the option negotiation of Postfix, in milter protocol version 6.
	offer := []byte{0, 0, 0, 13, 'O', 0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff}
	if _, err := c.Write(offer); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(c, answer); err != nil || answer[4] != 'O' {
		t.Fatalf("no milter answers: %q %v", answer, err)
	}
}

// keyFiles returns the keys on the machine: path, rights and contents.
func keyFiles(t *testing.T) string {
	t.Helper()
	return run(t, "find /var/lib/signpost -path '*/journal' -prune -o -type f -print | sort | xargs stat -c '%n %a %U:%G'; find /var/lib/signpost -path '*/journal' -prune -o -type f -print | sort | xargs sha256sum")
}

// A key, a changed configuration and the journal survive an upgrade and a removal. A purge deletes only the configuration and the
// journal.
func TestUpgradeAndRemoval(t *testing.T) {
	if !inside(t) {
		return
	}
	run(t, "dpkg -i "+deb(t, 1))
	run(t, "dkimkey add example.org --unsafe-activate; sed -i 's/^mode = \"observe\"/mode = \"enforce\"/' /etc/signpost/signpost.toml")
	start(t)
	run(t, "postconf -e 'smtpd_milters = unix:signpost/milter.sock'")
	before, config := keyFiles(t), run(t, "cat /etc/signpost/signpost.toml")
	if !strings.Contains(before, ".pem 600 signpost:signpost") {
		t.Fatalf("no key of the user signpost:\n%s", before)
	}
	kept := func(when string) {
		t.Helper()
		if after := keyFiles(t); after != before {
			t.Errorf("keys after %s:\n%s\nbefore:\n%s", when, after, before)
		}
	}

	said := run(t, "dpkg -i "+deb(t, 2))
	kept("the upgrade")
	if got := run(t, "dpkg-query -W -f '${Version} ${Status}' signpost"); got != "1.0~test2 install ok installed" {
		t.Errorf("after the upgrade: %s", got)
	}
	if got := run(t, "cat /etc/signpost/signpost.toml"); got != config {
		t.Errorf("the upgrade changed the configuration:\n%s", got)
	}
	if strings.Contains(said, "installed, but not started") {
		t.Errorf("an upgrade prints the text of a first installation:\n%s", said)
	}
	// There is no systemd to restart the daemon, so the old daemon continues.
	if out, err := connectAs(t, "postfix", "/var/spool/postfix", "signpost/milter.sock"); err != nil {
		t.Errorf("the daemon during the upgrade: %v\n%s", err, out)
	}
	run(t, "kill $(cat /run/signpost.pid)")

	said = run(t, "dpkg -r signpost")
	kept("the removal")
	if got := run(t, "stat -c '%a %U:%G' /var/lib/signpost/journal/*"); strings.Count(got, "\n") == 0 || strings.Count(got, "600 signpost:signpost\n") != strings.Count(got, "\n") {
		t.Errorf("the journal after the removal:\n%s", got)
	}
	run(t, "test -e /etc/signpost/signpost.toml && ! test -e /usr/sbin/signpost && ! test -e /var/spool/postfix/signpost")
	if !strings.Contains(said, "postconf -X smtpd_milters non_smtpd_milters") {
		t.Errorf("the removal does not report that Postfix still uses the milter:\n%s", said)
	}

	said = run(t, "dpkg -P signpost")
	kept("the purge")
	run(t, "! test -e /etc/signpost && ! test -e /var/lib/signpost/journal && getent passwd signpost")
	if !strings.Contains(said, "the keys in /var/lib/signpost/keys") {
		t.Errorf("the purge does not print the directory of the keys:\n%s", said)
	}
	run(t, "dpkg -i "+deb(t, 2))
	kept("a new installation")
}

// The commands of docs/install.md for a machine without systemd start the daemon as user signpost, reload it and stop it.
func TestWithoutSystemd(t *testing.T) {
	if !inside(t) {
		return
	}
	run(t, "dpkg -i "+deb(t, 1)+"; printf 'listen = [\"inet:127.0.0.1:8891\"]\n' >/etc/signpost/conf.d/local.toml")
	run(t, "dkimkey add example.org >/dev/null")
	text, err := os.ReadFile("/usr/share/doc/signpost/docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "start-stop-daemon ") {
			commands = append(commands, line)
		}
	}
	if len(commands) != 3 {
		t.Fatalf("%q", commands)
	}
	run(t, commands[0])
	answers := func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:8891")
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	until(t, "the daemon accepts connections", answers)
	if who := run(t, "ps -o user= -p $(cat /run/signpost.pid)"); strings.TrimSpace(who) != "signpost" {
		t.Errorf("the daemon runs as %s", who)
	}
	run(t, commands[1])
	if !answers() {
		t.Error("a reload ends the daemon")
	}
	run(t, "dpkg -i "+deb(t, 2)) // the program of the running daemon is replaced
	// This machine has no init that reaps the daemon, so that --retry would wait for a zombie.
	run(t, strings.Replace(commands[2], " --retry 40", "", 1))
	until(t, "the daemon ends", func() bool { return !answers() })
}
