package packaging

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/testdns"
)

// finding is one finding of `signpost doctor --json`.
type finding struct{ Check, Level, What, Where, Why, Fix string }

// doctor returns the findings that are not green.
func doctor(t *testing.T) (bad []finding) {
	t.Helper()
	cmd := exec.Command("signpost", "doctor", "--json", "--address", stranger) // the only public address of this machine
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	var all []finding
	if json.Unmarshal(out, &all) != nil || len(all) == 0 {
		t.Fatalf("signpost doctor: %v\n%s\n%s", err, &said, out)
	}
	red := false
	for _, f := range all {
		if f.Level != "green" && f.Check != "clock" { // the clock belongs to the real machine
			bad = append(bad, f)
		}
		red = red || f.Level == "red"
	}
	if red != (err != nil) {
		t.Errorf("the exit status is %v with %+v", err, bad)
	}
	return bad
}

// healthyZone has the records of a correctly configured example.org.
const healthyZone = `
example.org. 60 IN SOA ns.example.org. hostmaster.example.org. 1 3600 600 86400 60
example.org. 60 IN NS ns.example.org.
ns.example.org. 60 IN A 127.0.0.1
example.org. 60 IN MX 10 ` + hostname + `.
example.org. 60 IN TXT "v=spf1 mx -all"
_dmarc.example.org. 60 IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"
` + hostname + `. 60 IN A 203.0.113.9
` + hostname + `. 60 IN TXT "v=spf1 a -all"
9.113.0.203.in-addr.arpa. 60 IN PTR ` + hostname + `.
`

// With Debian's Postfix, the package and the documented lines, doctor finds nothing. It reports each of ten mistakes with a line that
// corrects the mistake. The test runs that line, and the finding disappears.
func TestDoctor(t *testing.T) {
	if !inside(t) {
		return
	}
	dns, err := testdns.StartAt("127.0.0.1:53", healthyZone)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Stop()
	listenSyslog(t)
	stockPostfix(t)
	record := typed(t, readmeSteps(t, filepath.Join(os.Getenv(packagesVar), "README.md")), deb(t, 1))
	selector := strings.TrimSpace(run(t, "dkimkey status --json 2>/dev/null | grep -o '\"selector\": *\"[^\"]*\"' | head -1 | cut -d'\"' -f4"))
	key := fmt.Sprintf("%s._domainkey.example.org. IN TXT %s", selector, inStrings(record))
	healthy := healthyZone + key + "\n"
	publish := func(zone string) {
		t.Helper()
		if err := dns.SetZone(zone); err != nil {
			t.Fatalf("%v\n%s", err, zone)
		}
	}
	publish(healthy)
	if bad := doctor(t); len(bad) > 0 {
		t.Fatalf("nothing is wrong, but doctor reports %+v", bad)
	}

	eleven, includes := "", ""
	for i := range 11 {
		eleven += fmt.Sprintf("p%d.example. TXT \"v=spf1 ip4:198.51.100.%d -all\"\n", i, i)
		includes += fmt.Sprintf("include:p%d.example ", i)
	}
	other, err := net.Listen("tcp", "127.0.0.1:7357") // the milter of another program
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	const socket = "/var/spool/postfix/signpost/milter.sock"
	for _, c := range []struct{ name, line, old, new, check, what, fix string }{
		{name: "wrong socket path in the chroot", line: "postconf -e 'smtpd_milters = unix:" + socket + "'",
			check: "socket-path", what: "the service is chrooted in /var/spool/postfix", fix: "postconf -e 'smtpd_milters = unix:signpost/milter.sock'"},
		{name: "wrong group", line: "chgrp signpost " + socket, check: "socket-access", what: socket},
		{name: "missing non_smtpd_milters", line: "postconf -X non_smtpd_milters",
			check: "non-smtpd-milters", what: "non_smtpd_milters", fix: "postconf -e 'non_smtpd_milters = unix:signpost/milter.sock'"},
		{name: "default_action accept", line: "postconf -e 'milter_default_action = accept'",
			check: "default-action", what: "default_action is accept", fix: "postconf -e 'milter_default_action = tempfail'"},
		{name: "milter after a signer", line: "postconf -e 'smtpd_milters = unix:signpost/milter.sock, inet:127.0.0.1:7357'",
			check: "milter-order", what: "inet:127.0.0.1:7357", fix: "postconf -e 'smtpd_milters = inet:127.0.0.1:7357, unix:signpost/milter.sock'"},
		{name: "record missing", old: key, check: "dkim", what: "is missing", fix: key},
		{name: "record wrong", old: "p=MII", new: "p=MIJ", check: "dkim", what: selector, fix: key},
		{name: "two SPF records", old: `example.org. 60 IN TXT "v=spf1 mx -all"`, new: "example.org. 60 IN TXT \"v=spf1 mx -all\"\nexample.org. 60 IN TXT \"v=spf1 ip4:198.51.100.0/24 ~all\"",
			check: "spf", what: "2 SPF records at example.org", fix: `example.org. IN TXT "v=spf1 mx ip4:198.51.100.0/24 ~all"`},
		{name: "SPF with 11 lookups", old: `"v=spf1 mx -all"`, new: `"v=spf1 ` + includes + `ip4:203.0.113.9 -all"` + "\n" + eleven,
			check: "spf-tree", what: "needs 11 DNS lookups; the limit is 10"},
		{name: "DMARC with a typo", old: "p=reject", new: "p=rejct", check: "dmarc", what: "did you mean reject?",
			fix: `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone := healthy
			if c.line != "" {
				run(t, c.line)
			} else if zone = strings.Replace(healthy, c.old, c.new, 1); zone == healthy {
				t.Fatal("the mistake changed nothing")
			}
			publish(zone)
			bad := doctor(t)
			if len(bad) != 1 || bad[0].Check != c.check || !strings.Contains(bad[0].What, c.what) || c.fix != "" && bad[0].Fix != c.fix || bad[0].Fix == "" {
				t.Errorf("want %s with %q and the line %s, got %+v", c.check, c.what, c.fix, bad)
			}
			for _, f := range bad {
				if c.line != "" {
					run(t, f.Fix)
				} else {
					publish(instead(zone, f.Fix))
				}
			}
			for _, f := range doctor(t) {
				if f.Level == "red" || f.Check != c.check || strings.Contains(f.What, c.what) {
					t.Errorf("after the correction: %+v", f)
				}
			}
		})
	}
}

// inStrings writes a TXT record as doctor does: in strings of at most 255 bytes (RFC 1035 section 3.3.14).
func inStrings(text string) string {
	var all []string
	for ; len(text) > 255; text = text[255:] {
		all = append(all, `"`+text[:255]+`"`)
	}
	return strings.Join(append(all, `"`+text+`"`), " ")
}

// instead returns the zone in which a line replaces all TXT records of its name.
func instead(zone, line string) string {
	name, _, _ := strings.Cut(line, " ")
	var kept []string
	for l := range strings.Lines(zone) {
		if !strings.HasPrefix(l, name+" ") || !strings.Contains(l, " TXT ") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "") + line + "\n"
}
