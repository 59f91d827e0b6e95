package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"signpost/internal/report/db"
	"signpost/internal/testmta"
	"signpost/internal/testport"
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
	today, date := time.Now().UTC().Format(time.DateOnly), time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
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

	// The page shows complete days. The report is about today, so a day passes.
	store, err := db.Open(t.Context(), filepath.Join(a.dir, "state", "reports", "received.db"), "", 1, false)
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.ExecContext(t.Context(), "UPDATE report SET begin_at = begin_at - 86400, end_at = end_at - 86400, day = day - 86400, received = received - 86400")
	if err = errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	page := a.web()
	for path, wants := range map[string][]string{
		"/received/a.example": {"reports.example.org", "127.0.0.2", "selector_fails"},
		"/keys":               {fmt.Sprintf(": %d messages at 1 receiver, %d failed, last %s", messages, messages, today), "fails since " + today + " at reports.example.org"},
	} {
		text := page(path)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", path, want, text)
			}
		}
	}
}

// web starts signpost web, and returns a function that returns a page.
func (w *world) web() func(path string) string {
	w.t.Helper()
	port, release, err := testport.Take("127.0.0.1")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(release)
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	c := exec.Command(filepath.Join(programs, "plain", "signpost"), "-c", w.config, "web", "--listen", listen)
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	})
	get := func(path string) (string, error) {
		request, err := http.NewRequestWithContext(w.context(), http.MethodGet, "http://"+listen+path, nil)
		if err != nil {
			return "", err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return string(text), err
	}
	w.until("the page answers", func() bool { _, err := get("/"); return err == nil })
	return func(path string) string {
		w.t.Helper()
		text, err := get(path)
		if err != nil {
			w.t.Fatal(err)
		}
		return text
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
