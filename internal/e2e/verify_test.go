package e2e

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/testmta"
)

// zone returns the records of the senders of these tests. good.example passes all checks, each policy has a domain, and stranger.example is
// a forger. The clients of good.example are in 203.0.113.0/24, and those of the forger are in 198.51.100.0/24.
func zone() string {
	public := senderKey().Public().(ed25519.PublicKey)
	z := fmt.Sprintf("k._domainkey.good.example. TXT \"v=DKIM1; k=ed25519; p=%s\"\n", base64.StdEncoding.EncodeToString(public))
	return z + `
good.example. TXT "v=spf1 ip4:203.0.113.0/24 ip6:2001:db8::/32 -all"
mail.good.example. TXT "v=spf1 ip4:203.0.113.9 -all"
_dmarc.good.example. TXT "v=DMARC1; p=reject"
_dmarc.quarantine.example. TXT "v=DMARC1; p=quarantine"
_dmarc.none.example. TXT "v=DMARC1; p=none"
stranger.example. TXT "v=spf1 ip4:198.51.100.0/24 -all"
dead.example. TXT "v=spf1 ip4:203.0.113.0/24 -all"
;fault dead.example SERVFAIL
_dmarc.dead.example. TXT "v=DMARC1; p=reject"
;fault _dmarc.deadpolicy.example SERVFAIL
;fault k._domainkey.deadkey.example TIMEOUT
_dmarc.deadkey.example. TXT "v=DMARC1; p=reject"
xn--bcher-kva.example. TXT "v=spf1 ip4:203.0.113.0/24 -all"
_dmarc.xn--bcher-kva.example. TXT "v=DMARC1; p=reject"
`
}

func senderKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte("the key of good.example, 32 byte"))
}

// from returns swaks' arguments for a client: its address, HELO and MAIL FROM.
func from(addr, helo, sender string) []string {
	return []string{"--xclient", "ADDR=" + addr + " NAME=" + helo, "--helo", helo, "--from", sender}
}

func good() []string { return from("203.0.113.9", "mail.good.example", "ann@good.example") }
func stranger() []string {
	return from("198.51.100.7", "mail.stranger.example", "x@stranger.example")
}

func written(author string, header ...string) []string {
	args := []string{"--h-From", author, "--body", "Hello\n"}
	for _, h := range header {
		args = append(args, "--add-header", h)
	}
	return args
}

func args(parts ...[]string) (all []string) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// signedBy returns a message signed by another implementation, in the form that swaks reads.
func (w *world) signedBy(domain, author string) []string {
	w.t.Helper()
	var out bytes.Buffer
	err := msgauth.Sign(&out, strings.NewReader("From: "+author+"\r\nSubject: signed\r\n\r\nHello\r\n"),
		&msgauth.SignOptions{Domain: domain, Selector: "k", Signer: senderKey(), Hash: crypto.SHA256})
	if err != nil {
		w.t.Fatal(err)
	}
	file, err := os.CreateTemp(w.dir, "*.eml")
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := file.Write(out.Bytes()); err != nil {
		w.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		w.t.Fatal(err)
	}
	return []string{"--data", "@" + file.Name()}
}

// results checks that the topmost field of the n-th message has our results and contains all of parts. It returns the message.
func (w *world) results(n int, parts ...string) string {
	w.t.Helper()
	mail := w.mail(n)
	if !strings.Contains(head(mail), "\nAuthentication-Results: ") || strings.Index(mail, "\nReceived:") < strings.Index(mail, "\nAuthentication-Results:") {
		w.t.Errorf("no results above Postfix's Received:\n%s", head(mail))
		return mail
	}
	got := field(mail, "Authentication-Results")[0]
	for _, p := range append([]string{"mx.example.org;"}, parts...) {
		if !strings.Contains(got, p) {
			w.t.Errorf("the results do not contain %q:\n%s", p, got)
		}
	}
	return mail
}

func untagged(t *testing.T, mail string) {
	t.Helper()
	if got := field(mail, "X-Signpost-Disposition"); len(got) > 0 {
		t.Errorf("tagged: %q", got)
	}
}

func tagged(t *testing.T, mail, reason string) {
	t.Helper()
	if got := field(mail, "X-Signpost-Disposition"); len(got) != 1 || !strings.HasPrefix(got[0], "quarantine; ") || !strings.Contains(got[0], reason) {
		t.Errorf("not tagged with %q: %q", reason, got)
	}
}

// Inbound mail is verified with the default configuration.
func TestVerify(t *testing.T) {
	w := newWorld(t, setup{zone: zone()})
	t.Run("legitimate", func(*testing.T) {
		w.swaks(w.SMTP, args(good(), w.signedBy("good.example", "Ann <ann@good.example>"))...)
		untagged(t, w.results(1, "iprev=pass policy.iprev=203.0.113.9", "spf=pass smtp.mailfrom=good.example", "dkim=pass header.d=good.example header.s=k header.a=ed25519-sha256 header.b=",
			"dmarc=pass header.from=good.example policy.dmarc=reject"))
		w.logged("role=verify", "action=accept", "code=dmarc_pass", "spf=pass:good.example", "dkim=pass:good.example/k", "dmarc=pass policy=reject", "dns_queries=", "dns_ms=", "handler_ms=")
	})
	t.Run("forged", func(*testing.T) {
		out := w.swaks(w.SMTP, args(stranger(), written("ann@good.example"))...)
		w.refused(out, "550 5.7.1 ")
		w.logged("queue_id="+queueID(out), "action=reject code=dmarc_fail role=verify", "reply=\"550 5.7.1\"", "dmarc=fail policy=reject", "evidence=")
	})
	t.Run("p=none", func(*testing.T) {
		w.swaks(w.SMTP, args(stranger(), written("ann@none.example"))...)
		untagged(t, w.results(2, "dmarc=fail", "header.from=none.example policy.dmarc=none"))
	})
	t.Run("p=quarantine", func(*testing.T) {
		w.swaks(w.SMTP, args(stranger(), written("ann@quarantine.example", "X-Signpost-Disposition: forged"))...)
		tagged(t, w.results(3, "dmarc=fail", "policy.dmarc=quarantine"), "quarantine")
		w.logged("action=tag", "forged_fields_removed=1")
	})
	t.Run("a mailing list", func(*testing.T) {
		w.swaks(w.SMTP, args(stranger(), written("ann@good.example", "List-Id: <list.stranger.example>", "List-Post: <mailto:list@stranger.example>"))...)
		tagged(t, w.results(4, "dmarc=fail reason=", "policy.dmarc=reject"), "stranger.example")
		w.logged("action=tag code=dmarc_fail", "override=mailing_list")
	})
	t.Run("null sender", func(*testing.T) {
		w.swaks(w.SMTP, args(from("203.0.113.9", "mail.good.example", "<>"), written("MAILER-DAEMON@good.example"))...)
		w.results(5, "spf=pass smtp.helo=mail.good.example", "dmarc=pass")
	})
	t.Run("null sender, forged", func(*testing.T) {
		w.refused(w.swaks(w.SMTP, args(from("198.51.100.7", "mail.good.example", "<>"), written("MAILER-DAEMON@good.example"))...), "550 5.7.1")
	})
	t.Run("IPv6 client", func(*testing.T) {
		w.swaks(w.SMTP, args(from("IPV6:2001:db8::25", "mail.good.example", "ann@good.example"), written("ann@good.example"))...)
		w.results(6, "policy.iprev=\"2001:db8::25\"", "spf=pass", "dmarc=pass")
	})
	t.Run("two From fields", func(*testing.T) {
		w.refused(w.swaks(w.SMTP, args(stranger(), written("x@stranger.example", "From: ann@good.example"))...), "550 5.6.0 ")
	})
	t.Run("temporary errors are deferred at p=reject", func(*testing.T) {
		w.refused(w.swaks(w.SMTP, args(from("203.0.113.9", "mail.dead.example", "a@dead.example"), written("a@dead.example"))...), "451 4.7.24 ")
	})
	t.Run("temporary errors of a domain without a known policy are accepted", func(*testing.T) {
		w.swaks(w.SMTP, args(stranger(), written("a@deadpolicy.example"))...)
		untagged(t, w.results(7, "spf=pass", "dmarc=temperror"))
	})
	t.Run("a client without a name", func(*testing.T) {
		w.swaks(w.SMTP, append([]string{"--xclient", "ADDR=203.0.113.9 NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]", "--helo", "x", "--from", "ann@good.example"}, written("ann@good.example")...)...)
		w.results(8, "iprev=permerror")
	})
}

// If a sender uses SMTPUTF8, the domains of MAIL FROM and From are checked and printed as A-labels.
func TestSMTPUTF8(t *testing.T) {
	w := newWorld(t, setup{zone: zone()})
	s := w.dial(w.SMTP, "ADDR=203.0.113.9 NAME=mail.good.example")
	w.cmd(s, 250, "MAIL FROM:<jörg@bücher.example> SMTPUTF8")
	w.cmd(s, 250, "RCPT TO:<bob@example.net>")
	if _, err := s.Data(250, []byte("From: Jörg <jörg@bücher.example>\r\nSubject: grün\r\n\r\ntext\r\n")); err != nil {
		t.Fatal(err)
	}
	w.results(1, "spf=pass smtp.mailfrom=xn--bcher-kva.example", "dmarc=pass header.from=xn--bcher-kva.example")
}

// The decision about a message does not depend on earlier messages of the session, such as a rejected message, a bounce, or an aborted
// message.
func TestVerifyInOneSession(t *testing.T) {
	w := newWorld(t, setup{zone: zone()})
	s := w.dial(w.SMTP, "ADDR=203.0.113.9 NAME=mail.good.example HELO=mail.good.example")
	send := func(code int, sender, author string) {
		w.cmd(s, 250, "MAIL FROM:<"+sender+">")
		w.cmd(s, 250, "RCPT TO:<bob@example.net>")
		if _, err := s.Data(code, []byte("From: "+author+"\r\nSubject: x\r\n\r\ntext\r\n")); err != nil {
			t.Fatalf("%s: %v", author, err)
		}
		w.arrived(code)
	}
	send(250, "ann@good.example", "ann@good.example")
	send(550, "x@stranger.example", "ann@good.example")
	send(250, "ann@good.example", "ann@good.example")
	w.cmd(s, 250, "MAIL FROM:<x@stranger.example>")
	w.cmd(s, 250, "RCPT TO:<bob@example.net>")
	w.cmd(s, 250, "RSET")
	send(250, "", "MAILER-DAEMON@nobody.example")
	send(250, "x@stranger.example", "x@stranger.example")
	w.results(1, "spf=pass smtp.mailfrom=good.example", "dmarc=pass")
	w.results(2, "spf=pass smtp.mailfrom=good.example", "dmarc=pass")
	w.results(3, "spf=none smtp.helo=client.example", "dmarc=none header.from=nobody.example")
	w.results(4, "spf=fail", "smtp.mailfrom=stranger.example", "dmarc=none header.from=stranger.example")
}

// Each setting is checked in the reply or in the delivered message.
func TestPolicies(t *testing.T) {
	list := []string{"List-Id: <list.stranger.example>", "List-Post: <mailto:list@stranger.example>"}
	for _, c := range []struct {
		name, config string
		send         []string
		reply        string // the reply that rejects the message
		results, tag string
		held         bool
	}{
		{"reject always", "[dmarc]\nreject = \"always\"\n", args(stranger(), written("ann@good.example", list...)), "550 5.7.1", "", "", false},
		{"reject never", "[dmarc]\nreject = \"never\"\n", args(stranger(), written("ann@good.example")), "", "dmarc=fail", "dmarc.reject", false},
		{"quarantine hold", "[dmarc]\nquarantine = \"hold\"\n", args(stranger(), written("ann@quarantine.example")), "", "dmarc=fail", "", true},
		{"trusted forwarder", "[dmarc]\ntrusted_forwarders = [\"198.51.100.0/24\"]\n", args(stranger(), written("ann@good.example")), "", "dmarc=fail", "trusted_forwarders", false},
		{"tempfail, policy", "[dmarc]\ntemperror = \"tempfail\"\n", args(stranger(), written("a@deadpolicy.example")), "451 4.7.1", "", "", false},
		{"tempfail, SPF", "[dmarc]\ntemperror = \"tempfail\"\n", args(from("203.0.113.9", "h.example", "a@dead.example"), written("a@dead.example")), "451 4.7.24", "", "", false},
		{"tempfail, SPF of a domain that is not aligned", "[dmarc]\ntemperror = \"tempfail\"\n", args(from("203.0.113.9", "h.example", "a@dead.example"), written("ann@good.example")), "550 5.7.1", "", "", false},
		{"SPF fail, left to DMARC", "", args(from("203.0.113.9", "h.example", "x@stranger.example"), written("x@stranger.example")), "", "spf=fail", "", false},
		{"SPF fail, reject", "[spf]\nfail = \"reject\"\n", args(from("203.0.113.9", "h.example", "x@stranger.example"), written("x@stranger.example")), "550 5.7.23 ", "", "", false},
		{"SPF and DMARC", "[spf]\nfail = \"reject\"\n", args(from("198.51.100.7", "h.example", "ann@good.example"), written("ann@good.example")), "550 5.7.26", "", "", false},
		{"hostile From, tag", "[verify]\nhostile_from = \"tag\"\n", args(stranger(), written("x@stranger.example", "From: ann@good.example")), "", "dmarc=none reason=", "2", false},
		{"own authserv-id of the MTA", "authserv_aliases = [\"old.example.org\"]\n", args(good(), written("ann@good.example", "Authentication-Results: old.example.org; dmarc=pass")), "", "dmarc=pass", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, setup{zone: zone(), config: c.config})
			out := w.swaks(w.SMTP, c.send...)
			if c.reply != "" {
				w.refused(out, c.reply)
				return
			}
			if c.held {
				w.logged("action=hold")
				queue, err := w.Run(w.context(), "postqueue", "-p")
				if err != nil || !strings.Contains(queue, "!") {
					t.Errorf("not in the hold queue: %v\n%s", err, queue)
				}
				if out, err := w.Run(w.context(), "postsuper", "-H", "ALL"); err != nil {
					t.Fatal(err, out)
				}
				if out, err := w.Run(w.context(), "postqueue", "-f"); err != nil {
					t.Fatal(err, out)
				}
			}
			mail := w.results(1, c.results)
			if c.tag == "" {
				untagged(t, mail)
			} else {
				tagged(t, mail, c.tag)
			}
			if n := len(field(mail, "Authentication-Results")); n != 1 {
				t.Errorf("%d fields of results:\n%s", n, head(mail))
			}
		})
	}
}

// With temperror = "tempfail", mail is deferred within dns.message_timeout if a name server does not answer.
func TestDeadKeyServer(t *testing.T) {
	w := newWorld(t, setup{zone: zone(), config: "[dmarc]\ntemperror = \"tempfail\"\n", timeout: "1s"})
	w.refused(w.swaks(w.SMTP, args(stranger(), w.signedBy("deadkey.example", "a@deadkey.example"))...), "451 4.7.5 ")
}

// With mode = "observe", inbound and outbound mail is not rejected, tagged or signed, and no field is deleted. The results have another
// authserv-id.
func TestObserveVerifies(t *testing.T) {
	w := newWorld(t, setup{zone: zone(), config: "mode = \"observe\"\n"})
	for i, author := range []string{"ann@good.example", "ann@quarantine.example", "ann@none.example"} {
		w.swaks(w.SMTP, args(stranger(), written(author, "Authentication-Results: mx.example.org; dmarc=pass", "X-Signpost-Disposition: mine"))...)
		mail := w.mail(i + 1)
		got := field(mail, "Authentication-Results")
		if len(got) != 2 || !strings.HasPrefix(got[0], "observe.mx.example.org; ") || !strings.Contains(got[0], "dmarc=fail") || got[1] != "mx.example.org; dmarc=pass" {
			t.Errorf("%s: %q", author, got)
		}
		if got := field(mail, "X-Signpost-Disposition"); len(got) != 1 || got[0] != "mine" {
			t.Errorf("%s: %q", author, got)
		}
	}
	w.logged("action=accept would=reject code=dmarc_fail", "evidence=")
	w.logged("action=accept would=tag")
	w.swaks(w.SMTP, append(client("ann"), letter("ann@example.org")...)...)
	mail := w.mail(4)
	w.unsigned(mail)
	if got := field(mail, "Authentication-Results"); len(got) != 0 {
		t.Errorf("outbound mail has the field %q", got)
	}
}

// An after-queue filter returns inbound mail by SMTP from loopback. The message keeps its results, and is not verified again with loopback
// as the client.
func TestReinjectedKeepsResults(t *testing.T) {
	w := newWorld(t, setup{zone: zone()})
	w.swaks(w.SMTP, args(good(), written("ann@good.example"))...)
	first := field(w.results(1, "dmarc=pass"), "Authentication-Results")[0]
	w.swaks(w.Reinject, append([]string{"--from", "ann@good.example"}, written("ann@good.example", "Authentication-Results: "+first)...)...)
	if got := field(w.mail(2), "Authentication-Results"); len(got) != 1 || got[0] != first {
		t.Errorf("%q, want %q", got, first)
	}
	w.logged("code=own_results role=bypass")
}

// After all sessions have ended, the daemon has only its permanent goroutines. SIGQUIT makes Go print all goroutines.
func TestNoGoroutineIsLeft(t *testing.T) {
	w := newWorld(t, setup{zone: zone(), timeout: "1s", program: "plain/signpost"})
	for range 3 {
		w.swaks(w.SMTP, args(good(), w.signedBy("good.example", "ann@good.example"))...)
		w.swaks(w.SMTP, args(stranger(), written("ann@good.example"))...)
		w.swaks(w.SMTP, args(stranger(), w.signedBy("deadkey.example", "a@deadkey.example"))...)
	}
	// The client disconnects during a message. smtpd(8) aborts the message, and its lookups are canceled.
	s := w.dial(w.SMTP, "ADDR=203.0.113.9 NAME=mail.good.example")
	w.cmd(s, 250, "MAIL FROM:<a@dead.example>")
	w.cmd(s, 250, "RCPT TO:<bob@example.net>")
	s.Close()
	if err := w.MTA.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := w.daemon.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-w.daemon.done
	dump := w.daemon.log.String()
	w.daemon.log = &buffer{} // the dump must not count as a failure
	if !strings.Contains(dump, "SIGQUIT") {
		t.Fatalf("no dump:\n%s", dump)
	}
	for stack := range strings.SplitSeq(dump, "\n\n") {
		for _, of := range []string{"signpost/internal/filter.", "signpost/internal/dns.", "signpost/internal/spf.", "milter.serveConn"} {
			if strings.Contains(stack, of) {
				t.Errorf("goroutines that did not end:\n%s", stack)
			}
		}
	}
}

// With dist/milter_header_checks, Postfix itself acts on the tag.
func TestMilterHeaderChecks(t *testing.T) {
	text, err := os.ReadFile("../../dist/milter_header_checks")
	if err != nil {
		t.Fatal(err)
	}
	checks := filepath.Join(t.TempDir(), "checks")
	if err := os.WriteFile(checks, bytes.ReplaceAll(text, []byte("quarantine@example.org"), []byte("quarantine@example.net")), 0o644); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setup{zone: zone(), mta: testmta.Options{MainCF: map[string]string{"milter_header_checks": "regexp:" + checks}}})
	w.swaks(w.SMTP, args(stranger(), written("ann@quarantine.example"))...)
	tagged(t, w.results(1, "dmarc=fail"), "quarantine")
	if got := field(w.mail(1), "Delivered-To"); len(got) != 1 || got[0] != "quarantine@example.net" {
		t.Errorf("delivered to %q", got)
	}
	w.swaks(w.SMTP, args(good(), written("ann@good.example"))...)
	if got := field(w.mail(2), "Delivered-To"); len(got) != 1 || got[0] != "bob@example.net" {
		t.Errorf("a good mail is delivered to %q", got)
	}
}
