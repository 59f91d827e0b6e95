package signpost

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// rejected is the log line of an inbound message with a hostile From, apart from what a case changes. nil leaves a field out.
type rejected map[string]any

// attrs returns the fields in the order of the log line.
func (r rejected) attrs() (all []slog.Attr) {
	fields := rejected{"queue_id": "4fXyAb1Cd2z3", "action": "reject", "code": "hostile_from", "role": "verify", "header_from": "a.example,b.example",
		"mail_from": "ann@a.example", "rcpts": "bob@example.org", "spf": "fail:a.example", "dkim": "none", "reply": "550 5.6.0",
		"reason": "the From field has 5 domains", "message_id": "<1@a.example>", "body_bytes": 120, "handler_ms": 0.244}
	maps.Copy(fields, r)
	for _, key := range strings.Fields("queue_id client action would code role header_from mail_from login rcpts rcpt_count spf dkim arc dmarc policy " +
		"override reply reason evidence compared message_id helo body_bytes dns_queries dns_ms handler_ms") {
		if v := fields[key]; v != nil {
			all = append(all, slog.Any(key, v))
		}
	}
	return all
}

// written returns the line as the daemon writes it: to standard error, to systemd's journal as fail2ban formats its entry, or to a
// file of syslog in the old or the new format.
func (r rejected) written(t *testing.T, to string) string {
	t.Helper()
	var b bytes.Buffer
	options := &slog.HandlerOptions{}
	prefix := map[string]string{"stderr": "", "journal": "mx signpost[4711]: ", "file of the journal": "Nov 30 12:00:00 mx signpost[4711]: ",
		"syslog": "Nov 30 12:00:00 mx signpost[4711]: ", "new syslog": "2026-11-30T12:00:00.123456+01:00 mx signpost[4711]: ",
		"syslogd -v": "Nov 30 12:00:00 <mail.info> mx signpost[4711]: "}[to]
	if strings.Contains(to, "syslog") {
		options.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}
	}
	record := slog.NewRecord(time.Date(2026, 11, 30, 12, 0, 0, 123e6, time.FixedZone("", 3600)), slog.LevelInfo, "message", 0)
	record.AddAttrs(r.attrs()...)
	if err := slog.NewTextHandler(&b, options).Handle(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	return prefix + b.String()
}

// hostileTexts are what a sender can write to hide its own address or name another one.
func hostileTexts() []string {
	const fields = `client=192.0.2.99 action=reject code=hostile_from role=verify dkim=none`
	const exempt = `dkim=pass:example.org/sel`
	texts := []string{"", " ", `"`, `\`, `\"`, `x\`, `\\`, `""`, "=", "a=b", "\x00", "\x7f", "\t", "\u00a0", "\u2028", "\u0085", "\ufffd", "\xff", "é", "\x1b[31m",
		"$", "%s", "<HOST>", "<F-ID>1</F-ID>", strings.Repeat("x", 4000), strings.Repeat(`"\ `, 1000), strings.Repeat("dkim=a ", 500)}
	for _, text := range []string{fields, exempt, exempt + "," + exempt, "SRS0=a=b=c.example=d@e.example spf=pass:e.example"} {
		texts = append(texts, text, " "+text, text+" ", " "+text+" ", `" `+text+` "`, `" `+text, `\" `+text+` \"`, `\\" `+text, "x "+text, "x\n"+text, "\r"+text, "\u2028"+text, "\u00a0"+text)
	}
	line := "mx signpost[4711]: time=2026-11-30T12:00:00.123+01:00 level=INFO msg=message queue_id=4fXyAb1Cd2z9 " + fields
	return append(texts, line, "\n"+line, "\r\n"+line+"\n", "\nNov 30 12:00:00 "+line, "\nlevel=INFO msg=message queue_id=4fXyAb1Cd2z9 "+fields)
}

// found returns the addresses of which fail2ban-regex finds lines, in their order.
func found(t *testing.T, filter string, lines []string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	c := exec.Command("fail2ban-regex", "--usedns", "no", "-e", "utf-8", "-o", "ip", file, filepath.Join("dist/fail2ban/filter.d", filter+".conf"))
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	return strings.Fields(string(out))
}

// compareFound compares the addresses that a filter finds with those that it must find.
func compareFound(t *testing.T, filter string, lines map[string]string, banned func(address string) bool) {
	t.Helper()
	addresses := slices.Sorted(maps.Keys(lines))
	var text, want []string
	for _, a := range addresses {
		text = append(text, lines[a])
		if banned(a) {
			want = append(want, a)
		}
	}
	got := found(t, filter, text)
	for _, a := range want {
		if !slices.Contains(got, a) {
			t.Errorf("not found: %s", lines[a])
		}
	}
	for i, a := range got {
		if !slices.Contains(want, a) {
			t.Errorf("%s is found, in %q", a, lines[a])
		} else if slices.Contains(got[:i], a) {
			t.Errorf("%s is found twice", a)
		}
	}
}

// dist/fail2ban finds clients with a hostile From or a [[deny]], and nobody else.
func TestFail2banFilter(t *testing.T) {
	if testing.Short() {
		t.Skip("runs fail2ban-regex")
	}
	t.Parallel()
	cases := []struct {
		name   string
		fields rejected
		found  bool
	}{
		{"hostile From", rejected{}, true},
		{"[[deny]]", rejected{"code": "local_deny", "override": "local_policy"}, true},
		{"signatures that fail", rejected{"dkim": "fail:pass.example/pass,permerror,temperror:a.example/dkim-pass"}, true},
		{"SRS without SPF", rejected{"mail_from": "SRS0=ab=cd=a.example=ann@f.example", "spf": "fail:f.example"}, true},
		{"SRS, and SPF in the Message-ID", rejected{"mail_from": "SRS0=ab=cd=a.example=ann@f.example", "message_id": "<x spf=pass:f.example x>"}, true},
		{"SPF, and SRS in the Message-ID", rejected{"spf": "pass:f.example", "message_id": `x mail_from="SRS0=ab" spf=pass:f.example x`}, true},
		{"SRS and SPF as one address", rejected{"mail_from": `"SRS0=ab=cd=a.example=ann spf=pass:f.example"@a.example`}, true},
		{"SPF without SRS", rejected{"spf": "pass:a.example"}, true},
		{"SRS in another place", rejected{"mail_from": "ann=SRS0=ab@a.example", "spf": "pass:a.example"}, true},
		{"bounce", rejected{"mail_from": "", "spf": "none:mail.a.example"}, true},
		{"ARC and DMARC pass", rejected{"arc": "pass:a.example", "dmarc": "pass", "spf": "pass:a.example"}, true},

		{"DKIM pass", rejected{"dkim": "pass:a.example/s"}, false},
		{"[[deny]], DKIM pass", rejected{"code": "local_deny", "dkim": "fail:a.example/s,pass:esp.example/t"}, false},
		{"DKIM pass in quotes", rejected{"dkim": "fail:a.example/s, pass:esp.example/t"}, false},
		{"list of signatures that was cut", rejected{"dkim": "fail:a.example/s,fail:b.exa..."}, false},
		{"list in quotes that was cut", rejected{"dkim": "fail:a.example/s, fail:b.exa..."}, false},
		{"no list of signatures", rejected{"dkim": nil}, false},
		{"SRS0 forwarder", rejected{"mail_from": "SRS0=ab=cd=a.example=ann@f.example", "spf": "pass:f.example"}, false},
		{"SRS1 forwarder", rejected{"mail_from": "srs1+ab=g.example==cd=ef=a.example=ann@f.example", "spf": "pass:f.example"}, false},
		{"Exchange's SRS", rejected{"mail_from": "box+SRS=ab=cd=a.example=ann@f.example", "spf": "pass:f.example"}, false},
		{"observe mode", rejected{"action": "accept", "would": "reject"}, false},
		{"tagged", rejected{"action": "tag"}, false},
		{"DMARC", rejected{"code": "dmarc_fail"}, false},
		{"other code that begins so", rejected{"code": "hostile_from_tag"}, false},
		{"own user", rejected{"role": "sign", "login": "ann"}, false},
		{"no address", rejected{"client": "unknown"}, false},
		{"name for an address", rejected{"client": "mail.a.example"}, false},
	}
	lines, bad := map[string]string{}, map[string]bool{}
	add := func(banned bool, fields rejected, to string) {
		address := fmt.Sprintf("203.0.%d.%d", len(lines)/250, len(lines)%250+1)
		if len(lines)%2 == 1 {
			address = fmt.Sprintf("2001:db8::%x", len(lines)+1)
		}
		r := rejected{"client": address}
		maps.Copy(r, fields)
		lines[address], bad[address] = r.written(t, to), banned
	}
	for _, c := range cases {
		for _, to := range []string{"stderr", "journal", "file of the journal", "syslog", "new syslog", "syslogd -v"} {
			add(c.found, c.fields, to)
		}
	}
	for _, text := range hostileTexts() {
		for _, field := range []string{"header_from", "mail_from", "rcpts", "reason", "message_id", "helo", "spf", "login", "compared"} {
			for _, to := range []string{"stderr", "journal", "syslog"} {
				add(true, rejected{field: text}, to)
				add(false, rejected{field: text, "dkim": "pass:a.example/s"}, to)
				add(false, rejected{field: text, "action": "accept", "would": "reject"}, to)
			}
		}
	}
	mapped := rejected{"client": "::ffff:198.51.100.1"}.written(t, "journal")
	lines["198.51.100.1"], bad["198.51.100.1"] = mapped, true
	compareFound(t, "signpost", lines, func(address string) bool { return bad[address] })
}

// A line of another program is not taken for Signpost's, whatever a client made it write.
func TestFail2banOtherPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("runs fail2ban-regex")
	}
	t.Parallel()
	ours := rejected{"client": "192.0.2.99"}.written(t, "syslog")
	_, message, _ := strings.Cut(ours, "]: ")
	var lines []string
	for _, text := range []string{message, "signpost[4711]: " + message, "mx signpost[4711]: " + message, ours, "level=INFO " + message, "time=2026-11-30T12:00:00Z level=INFO " + message} {
		for _, prefix := range []string{"Nov 30 12:00:00 mx postfix/smtpd[12]: ", "Nov 30 12:00:00 mx postfix/smtpd[12]: warning: ", "mx postfix/smtpd[12]: ",
			"Nov 30 12:00:00 mx signpost-web[12]: ", "Nov 30 12:00:00 mx signpost[12]: level=WARN msg=\"milter connection ended\" error=x "} {
			lines = append(lines, prefix+text)
		}
	}
	if got := found(t, "signpost", lines); len(got) > 0 {
		t.Errorf("%q are found", got)
	}
	lines = lines[:0]
	for _, text := range []string{"DNSBL rank 5 for [192.0.2.99]:25", "postfix/postscreen[12]: DNSBL rank 5 for [192.0.2.99]:25"} {
		for _, prefix := range []string{"mx postfix/smtpd[12]: ", "mx postfix/postscreen[12]: NOQUEUE: reject: helo=<", "mx signpost[12]: "} {
			lines = append(lines, "Nov 30 12:00:00 "+prefix+text+"\n", prefix+text+"\n")
		}
	}
	if got := found(t, "postscreen-dnsbl", lines); len(got) > 0 {
		t.Errorf("%q are found", got)
	}
}

// The second filter reads postscreen's line about block lists, in the words of the Postfix that is installed, and no other one.
func TestFail2banPostscreen(t *testing.T) {
	if testing.Short() {
		t.Skip("runs fail2ban-regex")
	}
	t.Parallel()
	dir, err := exec.Command("postconf", "-h", "daemon_directory").Output()
	if err != nil {
		t.Fatal(err)
	}
	const format = "DNSBL rank %d for [%s]:%s"
	if program, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "postscreen")); err != nil || !bytes.Contains(program, []byte(format)) {
		t.Errorf("postscreen does not contain %q (%v)", format, err)
	}
	lines := map[string]string{
		"192.0.2.1":   "Nov 30 12:00:00 mx postfix/postscreen[12]: DNSBL rank 3 for [192.0.2.1]:41234\n",
		"192.0.2.2":   "mx postfix/postscreen[12]: DNSBL rank 12 for [192.0.2.2]:41234\n",
		"192.0.2.3":   "2026-11-30T12:00:00.123456+01:00 mx postfix-in/postscreen[12]: DNSBL rank 3 for [192.0.2.3]:41234\n",
		"2001:db8::1": "Nov 30 12:00:00 <mail.info> mx postfix/mx/postscreen[12]: DNSBL rank 3 for [2001:db8::1]:41234\n",

		"192.0.2.11": "Nov 30 12:00:00 mx postfix/postscreen[12]: CONNECT from [192.0.2.11]:41234 to [192.0.2.25]:25\n",
		"192.0.2.12": "Nov 30 12:00:00 mx postfix/postscreen[12]: PREGREET 11 after 0.1 from [192.0.2.12]:41234: EHLO DNSBL rank 3 for [192.0.2.99]:1\\r\\n\n",
		"192.0.2.13": "Nov 30 12:00:00 mx postfix/dnsblog[12]: addr 192.0.2.13 listed by domain zen.spamhaus.org as 127.0.0.4\n",
		"192.0.2.14": "Nov 30 12:00:00 mx postfix/postscreen[12]: DISCONNECT [192.0.2.14]:41234\n",
		"192.0.2.15": "Nov 30 12:00:00 mx postfix/postscreen[12]: NOQUEUE: reject: RCPT from [192.0.2.15]:1: 550 5.7.1 Service unavailable; client [192.0.2.15] blocked using DNSBL rank 3 for [192.0.2.99]:1\n",
	}
	compareFound(t, "postscreen-dnsbl", lines, func(a string) bool {
		return strings.Contains(lines[a], "]: DNSBL rank ") && !strings.Contains(lines[a], "NOQUEUE")
	})
}

// fail2banFiles returns a configuration directory with what Debian's fail2ban has, our files and a jail.d/signpost.local.
func fail2banFiles(t *testing.T, local string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fail2ban")
	for _, from := range []string{"/etc/fail2ban", "dist/fail2ban"} {
		if out, err := exec.Command("sh", "-c", `mkdir -p "$2" && cp -R "$1"/. "$2"`, "sh", from, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if from == "/etc/fail2ban" { // without what this machine enables
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

// client runs fail2ban-client, which starts no server with these options.
func client(t *testing.T, dir, option string) string {
	t.Helper()
	out, err := exec.Command("fail2ban-client", "-c", dir, "-s", filepath.Join(dir, "sock"), "-p", filepath.Join(dir, "pid"), option).CombinedOutput()
	if err != nil || strings.Contains(string(out), "ERROR") {
		t.Fatalf("fail2ban-client %s: %v\n%s", option, err, out)
	}
	return string(out)
}

// fail2ban accepts the jails, which are off, with each action that they name.
func TestFail2banJails(t *testing.T) {
	if testing.Short() {
		t.Skip("runs fail2ban-client")
	}
	t.Parallel()
	if out := client(t, fail2banFiles(t, ""), "-d"); strings.Contains(out, "['add',") {
		t.Errorf("a jail is on:\n%s", out)
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

// The jails' command keeps them from banning what greyskip lists or the configuration trusts. An error bans nobody.
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
		{good, dir, "203.0.113.200", ""}, // which is not a file
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
