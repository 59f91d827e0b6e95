package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/testmta"
	"signpost/internal/testport"
	"signpost/internal/trial"
)

// trialZone has the records of a domain without a fault, except the key. The test's server is authoritative for all names.
const trialZone = `
. 60 IN NS ns.example.
ns.example. 60 IN A 127.0.0.1
example.org. 60 IN NS ns.example.
example.org. 60 IN MX 10 mx.example.org.
mx.example.org. 60 IN A 8.8.8.8
8.8.8.8.in-addr.arpa. 60 IN PTR mx.example.org.
example.org. 60 IN TXT "v=spf1 ip4:8.8.8.8 -all"
mx.example.org. 60 IN TXT "v=spf1 a -all"
_dmarc.example.org. 60 IN TXT "v=DMARC1; p=reject; rua=mailto:dmarc@example.org"
`

// trialWorld is a world without a fault: signpost test finds nothing.
type trialWorld struct {
	*world
	zone     string // trialZone and the key
	password string // a file
	timeout  string
}

func newTrialWorld(t *testing.T) *trialWorld {
	w := newWorld(t, setup{config: "[dmarc]\nquarantine_handled = true\n", zone: trialZone, mta: testmta.Options{
		Domains: []string{"example.org"}, Unknown: []string{"nobody@example.org"},
		MainCF: map[string]string{"internal_mail_filter_classes": "bounce", "smtpd_forbid_bare_newline": "yes"}}})
	tw := &trialWorld{world: w, zone: trialZone, password: filepath.Join(w.dir, "password"), timeout: "20s"}
	for name, text := range w.records() {
		tw.zone += name + ". 60 IN TXT " + dns.QuoteTXT(text, " ") + "\n"
	}
	if err := w.dns.SetZone(tw.zone); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tw.password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return tw
}

// test runs signpost test. The address is an address that other servers could see, because the addresses of this host are not public.
func (w *trialWorld) test(args ...string) (code int, out string) {
	w.t.Helper()
	c := exec.CommandContext(w.context(), filepath.Join(programs, "plain", "signpost"),
		append([]string{"test", "-c", w.config, "--postfix", filepath.Join(w.Dir, "etc"), "--address", "8.8.8.8", "--timeout", w.timeout}, args...)...)
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	_ = c.Run()
	return c.ProcessState.ExitCode(), b.String()
}

// login returns the arguments for a message of a login.
func (w *trialWorld) login(args ...string) []string {
	return append([]string{"--login", "ann@example.org", "--password-file", w.password, "--server", w.Submission}, args...)
}

// Without a fault, each step of both messages is green, and the messages are delivered with their signatures.
func TestTrial(t *testing.T) {
	w := newTrialWorld(t)
	code, out := w.test(w.login("bob@example.org")...)
	for _, want := range []string{"sendmail: from ann@example.org to bob@example.org", "submission: from ann@example.org to bob@example.org", "green  queue: Postfix accepted the message at " + w.Submission + ": 250 2.0.0 Ok: queued as ",
		"green  milter: Signpost processed the message: role=sign action=sign code=authenticated", "green  signature: Signpost signed the message: d=example.org, s=sp", "green  record: the record of the key sp", "visible at all 1 name servers",
		"green  receivers: receivers find dkim=pass for d=example.org, aligned with example.org in From: dmarc=pass (p=reject of example.org)",
		"green  spf: the SPF record of example.org is correct", "green  delivery: Postfix delivered the message to bob@example.org: delivered to maildir"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q", want)
		}
	}
	if code != 0 || strings.Contains("\n"+out, "\nred ") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	for _, mail := range []string{w.mail(1), w.mail(2)} {
		w.signed(mail, "example.org")
		if got := field(mail, "Auto-Submitted"); len(got) != 1 || got[0] != "auto-generated" {
			t.Errorf("Auto-Submitted: %q", got)
		}
	}
}

// The forged messages are rejected, and nothing is delivered. The daemon alone signs and rejects too.
func TestTrialForgeries(t *testing.T) {
	w := newTrialWorld(t)
	for _, args := range [][]string{{"--forge", "--server", w.SMTP}, {"--socket"}} {
		code, out := w.test(args...)
		if code != 0 || strings.Count(out, "green  forgery: rejected: 550 5.7.1 ") != 2 || strings.Count(out, "green  forgery: rejected: 550 5.6.0 ") != 1 {
			t.Errorf("%q: exit code %d\n%s", args, code, out)
		}
		if args[0] == "--socket" && (!strings.Contains(out, "edit   insert at 0: DKIM-Signature: v=1; ") || !strings.Contains(out, "green  signature: ")) {
			t.Errorf("not signed\n%s", out)
		}
	}
	if all, err := w.Mailbox(); err != nil || len(all) > 0 {
		t.Errorf("%d messages were delivered: %v", len(all), err)
	}
}

// Without XCLIENT, the forged messages come from an address of this host that Postfix does not trust. --json prints the same as the text.
func TestTrialForgeriesFromThisHost(t *testing.T) {
	w := newTrialWorld(t)
	if all, err := net.InterfaceAddrs(); err != nil || !slices.ContainsFunc(all, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast()
	}) {
		t.Skip("this host has only loopback IPv4 addresses")
	}
	port, release, err := testport.Take("127.0.0.1")
	w.must(err)
	defer release()
	_, err = w.Run(w.context(), "postconf", "-M", fmt.Sprintf("0.0.0.0:%d/inet=0.0.0.0:%d inet n - n - - smtpd -o inet_interfaces=all -o smtpd_authorized_xclient_hosts=", port, port))
	w.must(err)
	w.reload()
	w.until("the service listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err == nil && c.Close() == nil
	})
	code, out := w.test("--forge", "--json", "--server", fmt.Sprintf("127.0.0.1:%d", port))
	var report trial.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || len(report.Messages) != 3 {
		t.Fatalf("exit code %d: %v\n%s", code, err, out)
	}
	for _, m := range report.Messages {
		if f := m.Findings[0]; f.Level != doctor.Green || !strings.HasPrefix(f.What, "rejected: 550 ") || m.QueueID == "" || !strings.HasPrefix(m.MessageID, "<signpost-test.") {
			t.Errorf("%+v", m)
		}
	}
	if w.lines("client=127.0.0.1") > 0 || w.lines("client=192.0.2.1 ") > 0 {
		t.Error("the client is not an address of this host")
	}
}

// A forged message is not sent if it could leave this host.
func TestTrialForgeriesStay(t *testing.T) {
	w := newTrialWorld(t)
	table := filepath.Join(w.dir, "aliases")
	if err := os.WriteFile(table, []byte("out@example.org elsewhere@example.net\nboth@example.org both@example.org, out@example.org\nhere@example.org bob@example.org\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.must(os.Chtimes(table, time.Time{}, time.Now().Add(-time.Minute))) // Postfix waits before it reads a file that has just been written
	w.set("virtual_alias_maps = texthash:" + table)
	for to, want := range map[string]string{"x@example.net": "neither in mydestination", "out@example.org": "elsewhere@example.net", "both@example.org": "elsewhere@example.net", "here@example.org": "green  forgery: rejected"} {
		if code, out := w.test("--forge", "--server", w.SMTP, to); !strings.Contains(out, want) || (code == 0) != (to == "here@example.org") {
			t.Errorf("%s: exit code %d\n%s", to, code, out)
		}
	}
	if _, out := w.test("--forge", "--server", "203.0.113.1:25", "here@example.org"); !strings.Contains(out, "is not an address of this host") {
		t.Error(out)
	}
	w.set("recipient_bcc_maps = static:copy@example.net")
	if _, out := w.test("--forge", "--server", w.SMTP, "here@example.org"); !strings.Contains(out, "a copy of the message could leave this host") {
		t.Error(out)
	}
	if strings.Contains(w.Log(), "example.net") {
		t.Errorf("a message for another host: %s", tail(w.Log()))
	}
}

// set changes main.cf and reloads Postfix.
func (w *trialWorld) set(settings ...string) {
	w.t.Helper()
	for _, s := range settings {
		if _, err := w.Run(w.context(), "postconf", "-e", s); err != nil {
			w.t.Fatal(err)
		}
	}
	w.reload()
}

// reload makes all processes of Postfix use the new settings.
func (w *trialWorld) reload() {
	w.t.Helper()
	// Postfix waits before it reads a file that has just been written.
	for _, file := range []string{"main.cf", "master.cf"} {
		if err := os.Chtimes(filepath.Join(w.Dir, "etc", file), time.Time{}, time.Now().Add(-time.Minute)); err != nil {
			w.t.Fatal(err)
		}
	}
	n := strings.Count(w.Log(), "reload -- version")
	if _, err := w.Run(w.context(), "postfix", "reload"); err != nil {
		w.t.Fatal(err)
	}
	w.until("Postfix reloads", func() bool { return strings.Count(w.Log(), "reload -- version") > n })
}

// Ten runs at once send twenty messages: one for each run and way, whatever happens to it. The address is an alias of the sender and of
// itself, and its mail bounces or is answered, so a program that sent its messages again would never end.
func TestTrialDoesNotLoop(t *testing.T) {
	w := newTrialWorld(t)
	table := filepath.Join(w.dir, "aliases")
	if err := os.WriteFile(table, []byte("loop@example.org loop@example.org, again@example.org, nobody@example.org\nagain@example.org loop@example.org\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.set("virtual_alias_maps = texthash:" + table)
	var runs sync.WaitGroup
	outs := make([]string, 10)
	for i := range outs {
		runs.Go(func() { _, outs[i] = w.test(w.login("loop@example.org")...) })
	}
	runs.Wait()
	seen := map[string]bool{}
	for _, out := range outs {
		for line := range strings.Lines(out) {
			if _, id, ok := strings.Cut(line, ", Message-ID "); ok {
				seen[id] = true
			}
		}
		if n := strings.Count(out, "green  signature: "); n != 2 {
			t.Errorf("%d messages were signed\n%s", n, out)
		}
	}
	if len(seen) != 2*len(outs) {
		t.Errorf("%d messages, want %d", len(seen), 2*len(outs))
	}
	w.until("the queue is empty", func() bool {
		out, err := w.Run(w.context(), "postqueue", "-p")
		return err == nil && strings.Contains(out, "Mail queue is empty")
	})
	if log := w.Log(); strings.Count(log, ": message-id=<signpost-test.") != len(seen) || strings.Contains(log, "from=<>") {
		t.Errorf("%d messages and %d bounces in Postfix's log, want %d and none", strings.Count(log, ": message-id=<signpost-test."), strings.Count(log, "from=<>"), len(seen))
	}
}
