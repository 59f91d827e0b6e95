package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/testmta"
)

// leak is a setting of Postfix that sends mail for a recipient to another host.
type leak struct {
	name, to     string
	main, master []string
	log          string // what Postfix logs when mail leaves
	want         string // why signpost test --forge sends nothing
}

// Postfix sends mail for each of these recipients to another host. Forged mail is not sent to them.
func TestTrialForgeriesDoNotLeave(t *testing.T) {
	w := newTrialWorld(t)
	for name, text := range map[string]string{
		"virtual": "prop@example.org b@mx.example.org\nb+y@mx.example.org prop@example.net\n@alias.example @example.org\nout@example.org kept@example.net\nmapped@mx.example.org bob@example.org\n",
		"bare":    "ann keep@example.org\nkeep@example.org keep@example.org\n@example.org bare@example.net\n",
		"aliases": "ext+x ext@example.net\npercent percent%example.net\nbang example.net!bang\nchain mapped\nmapped chain@example.net\nalias alias@example.net\ngone gone@example.net\n",
		"routes":  "alias@example.org local:\n", "patterns": "/^example\\.org$/ virtual:\n", "star": "* smtp:[127.0.0.1]:2\n", "checks": "/^Subject:/ REDIRECT redirect@example.net\n", "clients": "127.0.0.1 FILTER error:filtered\n",
	} {
		file := filepath.Join(w.dir, name)
		w.must(os.WriteFile(file, []byte(text), 0o644))
		w.must(os.Chtimes(file, time.Time{}, time.Now().Add(-time.Minute))) // Postfix waits before it reads a file that has just been written
	}
	_, err := w.Run(w.context(), "postmap", "hash:"+filepath.Join(w.dir, "clients"))
	w.must(err)
	table := func(kind, name string) string { return kind + ":" + filepath.Join(w.dir, name) }
	main := []string{"mydestination = mx.example.org", "virtual_alias_domains = alias.example", "recipient_delimiter = +", "virtual_alias_maps = " + table("texthash", "virtual"), "alias_maps = " + table("texthash", "aliases"),
		"transport_maps = " + table("texthash", "routes")}
	w.set(main...)
	w.leaks(
		leak{name: "an alias with an extension", to: "ext+x@mx.example.org", log: "to=<ext@example.net>", want: "leads to ext@example.net"},
		leak{name: "an extension is propagated", to: "prop+y@example.org", log: "to=<prop@example.net>", want: "leads to prop@example.net"},
		leak{name: "a domain as target", to: "out@alias.example", log: "to=<kept@example.net>", want: "leads to kept@example.net"},
		leak{name: "the percent hack", to: "percent@mx.example.org", log: "to=<percent@example.net>", want: "may rewrite"},
		leak{name: "a bang path", to: "bang@mx.example.org", log: "to=<bang@example.net>", want: "may rewrite"},
		leak{name: "an alias that virtual_alias_maps replaces", to: "chain@mx.example.org", log: "to=<chain@example.net>", want: "leads to chain@example.net"},
		leak{name: "local(8) for a virtual domain", to: "alias@example.org", log: "to=<alias@example.net>", want: "leads to alias@example.net"},
	)
	relay := "relay=127.0.0.1[127.0.0.1]:" + port(w.Reinject)
	for _, l := range []leak{
		{name: "a local part without a domain", to: "ann@example.org", main: []string{"virtual_alias_maps = " + table("texthash", "bare")}, log: "to=<bare@example.net>", want: "leads to bare@example.net"},
		{name: "patterns", to: "ann@example.org", main: []string{"transport_maps = " + table("regexp", "patterns") + ", " + table("texthash", "star")}, log: "[127.0.0.1]:2: Connection refused", want: "smtp:[127.0.0.1]:2 leads to another host"},
		{name: "header_checks", to: "ann@example.org", main: []string{"header_checks = " + table("regexp", "checks")}, log: "to=<redirect@example.net>", want: "contains REDIRECT"},
		{name: "an access table", to: "ann@example.org", main: []string{"smtpd_client_restrictions = check_client_access " + table("hash", "clients")}, log: "status=bounced (filtered)", want: "contains FILTER"},
		{name: "a fallback", to: "ann@example.org", main: []string{"content_filter = smtp:[127.0.0.1]:1", "smtp_fallback_relay = [127.0.0.1]:" + port(w.Reinject)}, log: relay, want: "smtp_fallback_relay"},
		{name: "both kinds of domain", to: "gone@example.org", main: []string{"mydestination = example.org"}, log: "to=<gone@example.net>", want: "leads to gone@example.net"},
		{name: "master.cf", to: "ann@example.org", master: []string{"cleanup/unix/always_bcc=always@example.net"}, log: "to=<always@example.net>", want: "always_bcc"},
		{name: "a negated domain", to: "negated@example.org", main: []string{"virtual_mailbox_domains = !example.org, static:all", "transport_maps ="}, log: "to=<negated@example.org>", want: "neither in mydestination"},
	} {
		w.setting(l.main, l.master, func() { w.leaks(l) })
	}
}

// leaks shows for each leak that Postfix sends mail to another host, and that signpost test sends no forged mail.
func (w *trialWorld) leaks(all ...leak) {
	w.t.Helper()
	for _, l := range all {
		if code, out := w.test("--forge", "--server", w.SMTP, l.to); code != 1 || !strings.Contains(out, "no forged message was sent") || !strings.Contains(out, l.want) || strings.Contains(w.Log(), l.log) {
			w.t.Errorf("%s: exit code %d, want %q\n%s", l.name, code, l.want, out)
		}
		s, err := testmta.Dial(w.context(), w.SMTP)
		w.must(err)
		_, err = s.Expect(220)
		w.must(err)
		for _, line := range []string{"EHLO client.example.com", "MAIL FROM:<>", fmt.Sprintf("RCPT TO:<%s> NOTIFY=NEVER", l.to)} {
			_, err = s.Cmd(250, line)
			w.must(err)
		}
		_, err = s.Data(250, []byte("From: carol@example.org\r\nSubject: leak\r\n\r\nx\r\n"))
		w.must(err)
		w.must(s.Close())
		w.must(w.WaitLog(w.context(), l.log))
	}
}

// setting calls f with more settings.
func (w *trialWorld) setting(main, master []string, f func()) {
	w.t.Helper()
	saved := map[string][]byte{}
	for _, name := range []string{"main.cf", "master.cf"} {
		file := filepath.Join(w.Dir, "etc", name)
		text, err := os.ReadFile(file)
		w.must(err)
		saved[file] = text
	}
	for _, s := range master {
		_, err := w.Run(w.context(), "postconf", "-P", s)
		w.must(err)
	}
	w.set(main...)
	f()
	for file, text := range saved {
		w.must(os.WriteFile(file, text, 0o644))
	}
	w.reload()
}

// A forged message that Postfix accepts is not sent a second time: neither a content filter nor an alias of local(8) can send it elsewhere.
func TestTrialForgeriesAreNotSentAgain(t *testing.T) {
	w := newTrialWorld(t)
	text, err := os.ReadFile(w.config)
	w.must(err)
	w.must(os.WriteFile(w.config, append([]byte("mode = \"observe\"\n"), text...), 0o644))
	w.restart()
	file := filepath.Join(w.dir, "aliases")
	w.must(os.WriteFile(file, []byte("forward bob@example.org\n"), 0o644))
	w.must(os.Chtimes(file, time.Time{}, time.Now().Add(-time.Minute)))
	w.set("mydestination = mx.example.org", "alias_maps = texthash:"+file)
	if _, out := w.test("--forge", "--server", w.SMTP, "forward@mx.example.org"); strings.Count(out, "yellow forgery: the message was accepted, because the mode is observe") != 3 {
		t.Errorf("not accepted\n%s", out)
	}
	w.until("local(8) does not forward it", func() bool { return strings.Count(w.Log(), "hopcount exceeded") == 3 })
	w.set("content_filter = smtp:[127.0.0.1]:" + port(w.Reinject))
	if _, out := w.test("--forge", "--server", w.SMTP, "bob@example.org"); strings.Count(out, "yellow forgery: the message was accepted, because the mode is observe") != 3 {
		t.Errorf("not accepted\n%s", out)
	}
	w.until("the filter does not return it", func() bool { return strings.Count(w.Log(), "hopcount exceeded") == 6 })
	w.until("the queue is empty", func() bool {
		out, err := w.Run(w.context(), "postqueue", "-p")
		return err == nil && strings.Contains(out, "Mail queue is empty")
	})
	if all, err := w.Mailbox(); err != nil || len(all) > 0 {
		t.Errorf("%d messages were delivered: %v", len(all), err)
	}
}
