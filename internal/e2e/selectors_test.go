package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/testmta"
)

// Host A signs mail with its key, and host B, whose resolver has a wrong record of this key, reports it. The next day, the report is on A's page,
// and dkimkey status on A has an alarm.
func TestReportsOfTwoHosts(t *testing.T) {
	const outside = "a.example. IN MX 10 mx.a.example.\na.example. IN TXT \"v=spf1 ip4:127.0.0.2 -all\"\n_dmarc.a.example. IN TXT \"v=DMARC1; p=none; rua=mailto:dmarc@a.example\"\n"
	const trust = "trusted_networks = [\"127.0.0.1/32\"]\n"
	const messages = 25
	b := reportWorldWith(t, trust, map[string]string{"smtp_bind_address": "127.0.0.3", "relay_domains": "reports.example.org", "relay_recipient_maps": "static:OK", "internal_mail_filter_classes": "bounce"})
	a := newWorld(t, setup{
		alone: true, keys: "a.example --selector s1 --unsafe-activate", zone: outside + b.zone(reportZone),
		config: trust + "[reports.receive]\naddresses = [\"dmarc@a.example\"]\nnetworks = [\"127.0.0.2/32\"]\ntrusted_reporters = [\"reports.example.org\"]\n",
		mta: testmta.Options{Domains: []string{"a.example"}, MainCF: map[string]string{"smtp_bind_address": "127.0.0.2",
			"transport_maps": "inline:{ {example.net = smtp:[" + strings.Replace(b.SMTP, ":", "]:", 1) + "} }"}},
	})
	wrong := ""
	for _, record := range b.records() { // of another key
		wrong = txt("s1._domainkey.a.example", record)
	}
	if err := b.dns.SetZone(b.zone(reportZone) + outside + wrong); err != nil {
		t.Fatal(err)
	}
	postconf(b, "transport_maps = inline:{ {reports.example.org = discard:}, {a.example = smtp:["+strings.Replace(a.SMTP, ":", "]:", 1)+"} }")

	s := a.dial(a.SMTP, "")
	for range messages {
		a.cmd(s, 250, "MAIL FROM:<ann@a.example>")
		a.cmd(s, 250, "RCPT TO:<bob@example.net>")
		if _, err := s.Data(250, []byte("From: ann@a.example\r\nSubject: x\r\n\r\ntext\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	b.mail(messages)
	date := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	b.until("the journal has all messages", func() bool {
		mail, code := b.reports("send", "--dry-run", "--domain", "a.example", "--date", date)
		return code == 0 && strings.Contains(attached(t, strings.ReplaceAll(mail, "\r\n", "\n")), fmt.Sprintf("<count>%d</count>", messages))
	})
	b.sendReports(1)
	a.mail(1)
	a.logged("report=kept", "reports.example.org")
	if out, code := a.reports("read"); code != 0 || !strings.HasPrefix(out, "stored: 1\n") || !strings.Contains(out, "code=selector_fails domain=a.example selector=s1 ") {
		t.Fatalf("%d %s", code, out)
	}

	c := exec.CommandContext(a.context(), filepath.Join(programs, "plain", "dkimkey"), "-c", a.config, "status")
	out, _ := c.CombinedOutput()
	today := time.Now().UTC().Format(time.DateOnly)
	want := fmt.Sprintf("a.example: key s1: receivers report that its signatures fail: %d of %d messages since %s, at reports.example.org: run dkimkey check a.example", messages, messages, today)
	if c.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), want) || !strings.Contains(string(out), "fails since "+today+" at reports.example.org\n") {
		t.Errorf("%d %s", c.ProcessState.ExitCode(), out)
	}
	text, _ := a.reports("read", "--json")
	var run struct {
		Alarms []struct {
			Code, Domain, Selector string
			Messages               int
		}
	}
	if err := json.Unmarshal([]byte(text), &run); err != nil || len(run.Alarms) != 1 || run.Alarms[0].Code != "selector_fails" || run.Alarms[0].Selector != "s1" || run.Alarms[0].Messages != messages {
		t.Errorf("%v %s", err, text)
	}
}

// postconf changes a setting of a running Postfix.
func postconf(w *world, setting string) {
	w.t.Helper()
	for _, args := range [][]string{{"postconf", "-e", setting}, {"postfix", "reload"}} {
		if out, err := w.Run(w.context(), args[0], args[1:]...); err != nil {
			w.t.Fatal(err, out)
		}
	}
}
