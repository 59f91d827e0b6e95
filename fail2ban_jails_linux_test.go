package signpost

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fail2banFiles returns a configuration directory with the files of Debian's fail2ban, Signpost's files and a jail.d/signpost.local.
func fail2banFiles(t *testing.T, local string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fail2ban")
	for _, from := range []string{"/etc/fail2ban", "dist/fail2ban"} {
		if out, err := exec.Command("sh", "-c", `mkdir -p "$2" && cp -R "$1"/. "$2"`, "sh", from, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if from == "/etc/fail2ban" { // without the jails that this machine enables
			if err := os.RemoveAll(filepath.Join(dir, "jail.d")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "jail.d", "signpost.local"), []byte(local), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// client runs fail2ban-client with options that start no server.
func client(t *testing.T, dir, option string) string {
	t.Helper()
	out, err := exec.Command("fail2ban-client", "-c", dir, "-s", filepath.Join(dir, "sock"), "-p", filepath.Join(dir, "pid"), option).CombinedOutput()
	if err != nil || strings.Contains(string(out), "ERROR") {
		t.Fatalf("fail2ban-client %s: %v\n%s", option, err, out)
	}
	return string(out)
}

// fail2ban accepts the jails with each action that they name. The jails are disabled by default.
func TestFail2banJails(t *testing.T) {
	if testing.Short() {
		t.Skip("runs fail2ban-client")
	}
	t.Parallel()
	if out := client(t, fail2banFiles(t, ""), "-d"); strings.Contains(out, "['add',") {
		t.Errorf("a jail is enabled:\n%s", out)
	}
	for action, want := range map[string][]string{
		"": {"nft add element inet f2b-table <addr_set> ", "reject"},
		"banaction = pf": {"pfctl -a f2b/signpost -t f2b-signpost -T add <ip>", "pfctl -a f2b/postscreen-dnsbl -t f2b-postscreen-dnsbl -T add <ip>",
			`port="smtp"`, "block quick proto tcp from <f2b-signpost> to any port $port"},
		"banaction = bsd-ipfw[table=25, block=tcp]": {"ipfw table 25 add <ip>", `unreach port tcp from table\\(25\\) to me smtp`},
	} {
		dir := fail2banFiles(t, "[signpost]\nenabled = true\n"+action+"\n[postscreen-dnsbl]\nenabled = true\n"+action+"\n")
		client(t, dir, "-t")
		out := client(t, dir, "-d")
		want = append(want, "['add', 'signpost', 'systemd']", "['add', 'postscreen-dnsbl', 'systemd']",
			"'addjournalmatch', '_SYSTEMD_UNIT=signpost.service'", "'addjournalmatch', '_SYSTEMD_UNIT=postfix.service', '+', '_SYSTEMD_SLICE=system-postfix.slice'",
			"['start', 'signpost']", "['start', 'postscreen-dnsbl']")
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%q: no %s in\n%s", action, w, out)
			}
		}
	}
	log := filepath.Join(t.TempDir(), "mail.log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := fail2banFiles(t, "[signpost]\nenabled = true\nbackend = auto\nlogpath = "+log+"\n")
	if out := client(t, dir, "-d"); !strings.Contains(out, "['set', 'signpost', 'addlogpath', '"+log+"', 'head']") {
		t.Errorf("the file is not read:\n%s", out)
	}
}

// The jails' command prevents the ban of a client if greyskip lists the client or the configuration trusts it. If the command fails, no
// client is banned.
func TestFail2banIgnores(t *testing.T) {
	if testing.Short() {
		t.Skip("builds signpost")
	}
	t.Parallel()
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	build := exec.Command("go", "build", "-trimpath", "-o", dir, "./cmd/signpost") // with the flags of make build
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	put("forwarders.toml", "[[forwarder]]\nnetwork = \"198.51.100.16/28\"\ncomment = \"university\"\nexpires = 2099-01-01\n"+
		"[[forwarder]]\nnetwork = \"198.51.100.32/28\"\ncomment = \"old\"\nexpires = 2020-01-01\n")
	good := put("signpost.toml", "trusted_networks = [\"192.0.2.0/28\"]\n[dmarc]\ntrusted_forwarders = [\"198.51.100.0/28\", \"2001:db8:1::/48\"]\n")
	broken := put("broken.toml", "no_such_key = 1\n")
	list := put("list", "# 203.0.113.200\n203.0.113.0/28\tpermit\n2001:db8:2::/48\tpermit\n")

	commands := regexp.MustCompile(`'ignorecommand', '([^']*)'`)
	for _, c := range []struct {
		configuration, list string
		never, may          string // addresses
	}{
		{good, list, "203.0.113.1 2001:db8:2::1 192.0.2.1 198.51.100.1 198.51.100.17 2001:db8:1::1", "203.0.113.200 198.51.100.33 2001:db8:3::1"},
		{good, list + ".none", "192.0.2.1 198.51.100.17", "203.0.113.1 2001:db8:2::1"},
		{good, dir, "203.0.113.200", ""}, // the list is a directory, not a file
		{broken, list, "203.0.113.1 203.0.113.200", ""},
		{good + ".none", list, "203.0.113.200", ""},
	} {
		conf := fail2banFiles(t, fmt.Sprintf("[DEFAULT]\nsignpost_configuration = %[1]s\ngreyskip_list = %[2]s\n[signpost]\nenabled = true\n"+
			"signpost_configuration = %[1]s\ngreyskip_list = %[2]s\n[postscreen-dnsbl]\nenabled = true\nsignpost_configuration = %[1]s\ngreyskip_list = %[2]s\n", c.configuration, c.list))
		found := commands.FindAllStringSubmatch(client(t, conf, "-d"), -1)
		if len(found) != 2 {
			t.Fatalf("commands: %q", found)
		}
		for _, f := range found {
			check := func(address string, want int) {
				run := exec.Command("sh", "-c", strings.ReplaceAll(f[1], "<ip>", address))
				run.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
				out, _ := run.CombinedOutput()
				if code := run.ProcessState.ExitCode(); code != want {
					t.Errorf("%s: exit code %d, want %d\n%s", run.Args[2], code, want, out)
				}
			}
			for address := range strings.FieldsSeq(c.never) {
				check(address, 0)
			}
			for address := range strings.FieldsSeq(c.may) {
				check(address, 1)
			}
		}
	}
}
