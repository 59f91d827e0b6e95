package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/testmta"
)

const reportZone = `_dmarc.sender.example. IN TXT "v=DMARC1; p=none; rua=mailto:dmarc@example.net"
sender.example._report._dmarc.example.net. IN TXT "v=DMARC1"
_dmarc.dead.example. IN TXT "v=DMARC1; p=none; rua=mailto:dead@example.net"
dead.example._report._dmarc.example.net. IN TXT "v=DMARC1"
_dmarc.closed.example. IN TXT "v=DMARC1; p=none; rua=mailto:victim@example.net"
reports.example.org. IN MX 10 mx.example.org.
reports.example.org. IN TXT "v=spf1 a:mx.example.org -all"
_dmarc.reports.example.org. IN TXT "v=DMARC1; p=reject"
`

// reportWorld returns a world that is ready to send reports.
func reportWorld(t *testing.T) *world {
	return reportWorldWith(t, "", map[string]string{
		"relay_domains": "reports.example.org", "relay_recipient_maps": "static:OK", "internal_mail_filter_classes": "bounce",
		"transport_maps": "inline:{ {reports.example.org = discard:}, {dead@example.net = error:5.1.1 mailbox unknown} }",
	})
}

// reportWorldWith returns a world with settings of Signpost, which are in no table, and of Postfix.
func reportWorldWith(t *testing.T, top string, main map[string]string) *world {
	w := newWorld(t, setup{
		zone: reportZone, keys: "example.org --unsafe-activate\nreports.example.org --unsafe-activate",
		config: top + "[reports.send]\nenabled = true\norg_name = \"Example\"\nfrom = \"dmarc@reports.example.org\"",
		mta:    testmta.Options{Domains: []string{"example.org", "example.net"}, MainCF: main},
	})
	if err := os.MkdirAll(filepath.Join(w.dir, "conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "conf.d", "smtp.toml"), fmt.Appendf(nil, "[reports]\nsmtp = %q\n", w.SMTP), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.dns.SetZone(w.zone(reportZone)); err != nil {
		t.Fatal(err)
	}
	return w
}

// zone returns a zone file with the records of all keys added.
func (w *world) zone(zone string) string {
	w.t.Helper()
	for name, record := range w.records() {
		zone += txt(name, record)
	}
	return zone
}

// txt returns the line of a TXT record in a zone file.
func txt(name, record string) string {
	line := name + ". IN TXT"
	for ; len(record) > 200; record = record[200:] {
		line += fmt.Sprintf(" %q", record[:200])
	}
	return line + fmt.Sprintf(" %q\n", record)
}

// reports runs signpost reports with args, and returns its output and its exit code.
func (w *world) reports(args ...string) (out string, code int) {
	w.t.Helper()
	c := exec.CommandContext(w.context(), filepath.Join(programs, "plain", "signpost"), append([]string{"-c", w.config, "reports"}, args...)...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	_ = c.Run() // the exit code is checked by the caller
	return stdout.String() + stderr.String(), c.ProcessState.ExitCode()
}

// sendReports runs signpost reports send a number of days from today.
func (w *world) sendReports(days int) string {
	w.t.Helper()
	out, code := w.reports("send", "--now", "--date", time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly), "--postfix", filepath.Join(w.Dir, "etc"))
	if code != 0 {
		w.t.Fatalf("exit code %d: %s", code, out)
	}
	return out
}

// journaled waits until the journal has mail of a domain.
func (w *world) journaled(domain string) {
	w.t.Helper()
	w.until("the journal has mail of "+domain, func() bool {
		_, code := w.reports("send", "--dry-run", "--domain", domain, "--date", time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly))
		return code == 0
	})
}

func (w *world) spooled(n int) {
	w.t.Helper()
	w.until("a bounce is in the spool", func() bool {
		files, err := filepath.Glob(filepath.Join(w.dir, "state", "reports", "bounces", "*.eml"))
		return err == nil && len(files) == n
	})
}

// attached returns the XML of a report.
func attached(t *testing.T, mail string) string {
	t.Helper()
	_, rest, ok := strings.Cut(mail, "Content-Transfer-Encoding: base64\n")
	_, rest, _ = strings.Cut(rest, "\n\n")
	text, _, _ := strings.Cut(rest, "\n--")
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
	if !ok || err != nil {
		t.Fatalf("%v: %s", err, mail)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	xml, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(xml)
}

// A message that fails DMARC today is in the report of tomorrow. The report is signed. It is sent once, and only to addresses that accept
// reports about the domain.
func TestReport(t *testing.T) {
	w := reportWorld(t)
	for _, domain := range []string{"sender.example", "closed.example"} {
		w.swaks(w.SMTP, append(client(""), "--from", "x@"+domain, "--header", "From: x@"+domain)...)
		w.journaled(domain)
	}
	w.mail(2)
	w.sendReports(1)
	mail := w.mail(3)
	w.signed(mail, "reports.example.org")
	xml := attached(t, mail)
	for _, want := range []string{"<domain>sender.example</domain>", "<source_ip>203.0.113.9</source_ip>", "<count>1</count>", "<header_from>sender.example</header_from>", "<dkim>fail</dkim>"} {
		if !strings.Contains(xml, want) {
			t.Errorf("no %s in\n%s", want, xml)
		}
	}
	w.dmarcCat(xml)
	if to := field(mail, "Delivered-To"); len(to) != 1 || to[0] != "dmarc@example.net" {
		t.Errorf("delivered to %q", to)
	}
	if id := field(mail, "Subject"); len(id) != 1 || !strings.HasPrefix(id[0], "Report Domain: sender.example Submitter: ") {
		t.Errorf("%q", id)
	}
	w.sendReports(1)
	if out, code := w.reports(); code != 0 || strings.Count(out, "accepted") != 1 || strings.Contains(out, "closed.example") {
		t.Errorf("%d %s", code, out)
	}
	if all, err := w.Mailbox(); err != nil || len(all) != 3 {
		t.Errorf("%d messages, %v", len(all), err)
	}
}

// dmarcCat checks that dmarc-cat, a program that reads aggregate reports, finds the message in a report.
func (w *world) dmarcCat(xml string) {
	w.t.Helper()
	file := filepath.Join(w.dir, "mx.example.org!sender.example!1!2.xml")
	if err := os.WriteFile(file, []byte(xml), 0o600); err != nil {
		w.t.Fatal(err)
	}
	out, err := exec.CommandContext(w.context(), "dmarc-cat", "-N", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "203.0.113.9") || !strings.Contains(string(out), "sender.example") {
		w.t.Errorf("dmarc-cat: %v\n%s", err, out)
	}
}

// A bounce suppresses its address, and causes no other message. A vacation reply and a forged bounce do not.
func TestReportBounces(t *testing.T) {
	w := reportWorld(t)
	for _, domain := range []string{"sender.example", "dead.example"} {
		w.swaks(w.SMTP, append(client(""), "--from", "x@"+domain, "--header", "From: x@"+domain)...)
		w.journaled(domain)
	}
	w.sendReports(1)
	w.mail(3)
	w.spooled(1)
	out, _ := w.reports("--json")
	var all []struct {
		Destination, MAC string
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 2 {
		t.Fatalf("%v %s", err, out)
	}
	for _, d := range all {
		if d.Destination != "dmarc@example.net" {
			continue
		}
		vacation := "From: dmarc@example.net\nSubject: Away\nAuto-Submitted: auto-replied\n\nAction: failed\nStatus: 5.1.1\n"
		if err := w.Sendmail(w.context(), "", []string{"r-" + d.MAC + "@reports.example.org"}, []byte(vacation)); err != nil {
			t.Fatal(err)
		}
	}
	w.spooled(2)
	w.sendReports(1)
	w.spooled(0)
	if out, code := w.reports("--state", "suppressed"); code != 0 || !strings.Contains(out, "dead@example.net") || strings.Contains(out, "dmarc@example.net") {
		t.Errorf("%d %s", code, out)
	}
	if all, err := w.Mailbox(); err != nil || len(all) != 3 {
		t.Errorf("%d messages, %v", len(all), err)
	}
}

// Nothing is sent while a check is red. While Postfix is down for a day, no report is lost.
func TestReportsWait(t *testing.T) {
	w := reportWorld(t)
	w.swaks(w.SMTP, append(client(""), "--from", "x@sender.example", "--header", "From: x@sender.example")...)
	w.journaled("sender.example")
	send := func(days int) (string, int) {
		return w.reports("send", "--now", "--date", time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly), "--postfix", filepath.Join(w.Dir, "etc"))
	}
	if _, err := w.Run(w.context(), "postconf", "-e", "transport_maps = inline:{ {x=y} }"); err != nil {
		t.Fatal(err)
	}
	if out, code := send(1); code != 1 || !strings.Contains(out, "checks are red") {
		t.Errorf("%d %s", code, out)
	}
	if _, err := w.Run(w.context(), "postconf", "-e", "transport_maps = inline:{ {reports.example.org = discard:} }"); err != nil {
		t.Fatal(err)
	}
	down := filepath.Join(w.dir, "conf.d", "smtp.toml")
	if err := os.WriteFile(down, []byte("[reports]\nsmtp = \"127.0.0.1:1\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, code := send(1); code != 1 || !strings.Contains(out, "connection refused") {
		t.Errorf("%d %s", code, out)
	}
	if err := os.WriteFile(down, fmt.Appendf(nil, "[reports]\nsmtp = %q\n", w.SMTP), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, code := send(2); code != 0 || !strings.Contains(out, "accepted: 1") {
		t.Errorf("%d %s", code, out)
	}
	w.mail(2)
}

// The commands that setup prints make the checks green, and a bounce then returns to Signpost. Other recipients of relay_domains are still
// accepted.
func TestReportsSetup(t *testing.T) {
	w := reportWorldWith(t, "", map[string]string{"relay_domains": "relay.example", "masquerade_domains": "example.org", "default_transport": "error:5.1.1 unknown"})
	w.swaks(w.SMTP, append(client(""), "--from", "x@sender.example", "--header", "From: x@sender.example")...)
	w.journaled("sender.example")
	etc := filepath.Join(w.Dir, "etc")
	date := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	if out, code := w.reports("send", "--now", "--date", date, "--postfix", etc); code != 1 || !strings.Contains(out, "masquerade_domains changes") {
		t.Fatalf("%d %s", code, out)
	}
	steps, code := w.reports("setup", "--postfix", etc)
	if code != 0 {
		t.Fatal(steps)
	}
	for line := range strings.Lines(steps) {
		if !strings.HasPrefix(line, "postconf ") && !strings.HasPrefix(line, "printf ") {
			continue
		}
		c := exec.CommandContext(w.context(), "sh", "-ec", line)
		c.Env = append(os.Environ(), "MAIL_CONFIG="+etc)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	if _, err := w.Run(w.context(), "postfix", "reload"); err != nil {
		t.Fatal(err)
	}
	if out, code := w.reports("send", "--now", "--date", date, "--postfix", etc); code != 0 || !strings.Contains(out, "accepted: 1") {
		t.Fatalf("%d %s", code, out)
	}
	w.mail(2)
	found, _ := exec.CommandContext(w.context(), filepath.Join(programs, "plain", "signpost"), "-c", w.config, "doctor", "--postfix", etc, "--json").Output()
	var findings []struct{ Check, Level, What string }
	if err := json.Unmarshal(found, &findings); err != nil {
		t.Fatalf("%v: %s", err, found)
	}
	green := 0
	for _, f := range findings {
		if strings.HasPrefix(f.Check, "reports-") && f.Level == "green" {
			green++
		} else if strings.HasPrefix(f.Check, "reports-") {
			t.Errorf("doctor: %+v", f)
		}
	}
	if green != 8 {
		t.Errorf("doctor: %d green checks of reports", green)
	}
	answers := func(to string, want int) {
		t.Helper()
		s, err := testmta.Dial(w.context(), w.SMTP)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, err = s.Expect(220)
		for _, command := range []string{"EHLO x.example", "MAIL FROM:<>"} {
			if err == nil {
				_, err = s.Cmd(250, command)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Cmd(want, "RCPT TO:<"+to+">"); err != nil {
			t.Errorf("%s: %s, want %d", to, got, want)
		}
	}
	if _, err := w.Run(w.context(), "postconf", "-e", "smtpd_reject_unlisted_recipient = yes"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Run(w.context(), "postfix", "reload"); err != nil {
		t.Fatal(err)
	}
	answers("r-"+strings.Repeat("a2", 16)+"@reports.example.org", 250)
	answers("postmaster2@reports.example.org", 550)
	answers("anyone@relay.example", 250)
}
