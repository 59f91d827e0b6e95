package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/testdns"
)

const doctorZone = `
example.org. 60 IN MX 10 mx.example.org.
mx.example.org. 60 IN A 192.0.2.1
example.org. 60 IN TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.example.org. 60 IN TXT "v=DMARC1; p=reject; rua=mailto:dmarc@example.org"
`

// doctorHost writes a configuration for Postfix and one for the daemon. The daemon queries the test's DNS server. The daemon does not run.
func doctorHost(t *testing.T, toml string) (file, postfix string) {
	t.Helper()
	dns, err := testdns.Start(doctorZone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Stop)
	dir := t.TempDir()
	file, postfix = filepath.Join(dir, "signpost.toml"), filepath.Join(dir, "postfix")
	if err := os.Mkdir(postfix, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		file:                   fmt.Sprintf("state_dir = %q\nlisten = [\"unix:%s/s\"]\n[dns]\nservers = [%q]\n%s", dir+"/state", dir, dns.Addr(), toml),
		postfix + "/main.cf":   "myhostname = mx.example.org\nmilter_default_action = accept\n",
		postfix + "/master.cf": "smtp inet n - y - - smtpd\ncleanup unix n - y - 0 cleanup\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		// Postfix waits up to two seconds before it reads a file that has just been written.
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	return file, postfix
}

func doctorSays(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), append([]string{"doctor"}, args...), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// The exit code is 0 if no finding is red, 1 if a finding is red, and 2 after a usage error.
func TestDoctorExitCodes(t *testing.T) {
	file, postfix := doctorHost(t, "")
	broken, _ := doctorHost(t, "colour = 1\n")
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"a domain without a fault", []string{"-c", file, "example.org"}, 0, ""},
		{"a domain without records", []string{"-c", file, "example.net"}, 1, "action needed: at least one finding is red"},
		{"this machine, without a daemon", []string{"-c", file, "--postfix", postfix}, 1, "action needed: at least one finding is red"},
		{"a configuration with an error", []string{"-c", broken, "--postfix", postfix}, 1, "action needed: at least one finding is red"},
		{"a configuration with an error, for a domain", []string{"-c", broken, "example.org"}, 2, broken + ":5: dns.colour: unknown key"},
		{"--postfix with a domain", []string{"-c", file, "--postfix", postfix, "example.org"}, 2, "--postfix and DOMAIN exclude each other"},
		{"two domains", []string{"-c", file, "example.org", "example.net"}, 2, "signpost: doctor: unexpected argument \"example.net\"\nhint: see signpost doctor --help\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, out, errs := doctorSays(t, c.args...); code != c.code || !strings.Contains(errs, c.stderr) {
				t.Errorf("exit code %d, want %d with %q\n%s%s", code, c.code, c.stderr, out, errs)
			}
		})
	}
}

// A finding states what is wrong, where, why it matters, and the fix. An invalid configuration is a finding, and Postfix is then
// checked with the defaults.
func TestDoctorText(t *testing.T) {
	file, postfix := doctorHost(t, "colour = 1\n")
	_, out, _ := doctorSays(t, "-c", file, "--postfix", postfix)
	for _, want := range []string{
		"red    config: " + file + ":5: dns.colour: unknown key\n       where  " + file + ":5: colour = 1\n       why    the daemon does not start, and a reload",
		"\ngreen  postfix: Postfix ",
		"\nred    default-action: default_action is accept: while the daemon is not running, mail is neither verified nor signed\n       where  main.cf: milter_default_action = accept\n       why    ",
		"\n       fix    postconf -c '" + postfix + "' -e 'milter_default_action = tempfail'\n",
		"\nred    socket-answers: ",
	} {
		if !strings.Contains("\n"+out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("colors without a terminal:\n%q", out)
	}
}

// The first line counts the findings. The finding about observe mode comes first. The worst findings follow.
func TestDoctorOrder(t *testing.T) {
	file, postfix := doctorHost(t, "")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append([]byte("mode = \"observe\"\n"), text...), 0o644); err != nil {
		t.Fatal(err)
	}
	_, out, _ := doctorSays(t, "-c", file, "--postfix", postfix)
	count, list, _ := strings.Cut(out, "\n")
	var levels []string
	for line := range strings.Lines(list) {
		if !strings.HasPrefix(line, " ") {
			level, _, _ := strings.Cut(line, " ")
			levels = append(levels, level)
		}
	}
	if !strings.HasPrefix(list, "yellow mode: mode = \"observe\"") {
		t.Errorf("observe mode is not first:\n%s", out)
	}
	n := map[string]int{}
	for _, l := range levels {
		n[l]++
	}
	if want := fmt.Sprintf("%d red, %d yellow, %d green", n["red"], n["yellow"], n["green"]); count != want || n["red"] == 0 {
		t.Errorf("the first line is %q, want %q", count, want)
	}
	rank := map[string]int{"red": 0, "yellow": 1, "green": 2}
	if !slices.IsSortedFunc(levels[1:], func(a, b string) int { return rank[a] - rank[b] }) {
		t.Errorf("the order is %q", levels)
	}
}

func TestDoctorJSON(t *testing.T) {
	file, postfix := doctorHost(t, "[metrics]\nlisten = \"0.0.0.0:9890\"\n")
	code, out, _ := doctorSays(t, "-c", file, "--postfix", postfix, "--json")
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	var found []struct{ Check, Level, What, Where, Why, Fix string }
	if err := d.Decode(&found); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	levels := map[string]string{}
	for _, f := range found {
		levels[f.Check] = f.Level
		if f.Check == "" || f.What == "" || f.Level != "green" && (f.Where == "" || f.Why == "" || f.Fix == "") {
			t.Errorf("not whole: %+v", f)
		}
	}
	if code != 1 || levels["postfix"] != "green" || levels["config"] != "yellow" || levels["default-action"] != "red" {
		t.Errorf("exit code %d, %v", code, levels)
	}
}
