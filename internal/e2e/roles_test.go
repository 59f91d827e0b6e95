package e2e

import (
	"fmt"
	"strings"
	"testing"

	"signpost/internal/testmta"
)

// letter returns swaks' arguments for a message from an author.
func letter(author string) []string {
	return []string{"--from", "ann@example.org", "--h-From", author, "--body", "Hello  Bob,\n\n see you \n\n\n"}
}

// Each role is checked in the mailbox or in the SMTP reply.
func TestRoles(t *testing.T) {
	w := newWorld(t, setup{config: "trusted_networks = [\"127.0.0.0/8\", \"192.0.2.0/28\"]\n[verify]\nskip_networks = [\"198.51.100.0/24\"]\n" +
		"[sign.login_domains]\n\"ann\" = [\"example.org\"]\n\"eve\" = [\"example.net\"]\n"})
	const ours = "mx.example.org; spf=pass smtp.mailfrom=example.com; dmarc=fail header.from=example.org"
	for i, c := range []struct {
		name   string
		server string
		args   []string
		author string
		signed string // d=
		role   string
		reason string
	}{
		{"an unauthenticated client with our From is not signed", w.SMTP, client(""), "Ann <ann@example.org>", "", "verify", "code=dmarc_none"},
		{"loopback is trusted", w.SMTP, nil, "Ann <ann@example.org>", "example.org", "sign", "code=trusted_network"},
		{"a trusted network", w.SMTP, []string{"--xclient", "ADDR=192.0.2.5 NAME=pc.example.org"}, "ann@example.org", "example.org", "sign", "code=trusted_network"},
		{"an authenticated user", w.SMTP, client("ann"), "Ann <ann@example.org>", "example.org", "sign", "code=authenticated"},
		{"the submission service", w.Submission, client(""), "Ann <ann@example.org>", "example.org", "sign", "code=originating"},
		{"a subdomain", w.SMTP, nil, "root@host.example.org", "example.org", "sign", "sign_domain=example.org"},
		{"an Author Domain that is not hosted", w.SMTP, client("ann"), "ann@example.com", "", "bypass", "code=not_hosted"},
		{"an own relay", w.SMTP, []string{"--xclient", "ADDR=198.51.100.7 NAME=relay.example.org"}, "ann@example.org", "", "bypass", "code=skip_network"},
		{"re-injected by a filter", w.Reinject, []string{"--add-header", "Authentication-Results: " + ours}, "ann@example.org", "", "bypass", "code=own_results"},
	} {
		out := w.swaks(c.server, append(c.args, letter(c.author)...)...)
		if !strings.Contains(out, "250 2.0.0 Ok: queued") {
			t.Fatalf("%s: not accepted:\n%s", c.name, out)
		}
		mail := w.mail(i + 1)
		t.Run(c.name, func(*testing.T) {
			if c.signed == "" {
				w.unsigned(mail)
			} else {
				w.signed(mail, c.signed)
			}
			w.logged("role="+c.role, c.reason, "action=")
		})
		if strings.Contains(c.reason, "own_results") && len(field(mail, "Authentication-Results")) != 1 {
			t.Errorf("%s: the results of the message must remain:\n%s", c.name, head(mail))
		}
	}

	for _, c := range []struct {
		name   string
		args   []string
		code   string
		reason string
	}{
		{"a login in another's name", append(client("eve"), letter("ann@example.org")...), "550 5.7.1", "login_mismatch"},
		{"a login that is not in sign.login_domains", append(client("joe"), letter("ann@example.org")...), "550 5.7.1", "login_mismatch"},
		{"two From fields", append(letter("ann@example.org"), "--add-header", "From: eve@example.org"), "550 5.6.0", "hostile_from"},
		{"two domains in From", letter("ann@example.org, bob@example.net"), "550 5.6.0", "several_authors"},
		{"a From that cannot be parsed", letter("ann@example.org>"), "550 5.6.0", "hostile_from"},
		{"a From without an address", letter("undisclosed:;"), "550 5.6.0", "hostile_from"},
	} {
		out := w.swaks(w.SMTP, c.args...)
		w.refused(out, c.code)
		w.logged("action=reject", "role=sign", "reply=\""+c.code, "code="+c.reason)
		w.logged("queue_id="+queueID(out), "code="+c.reason)
	}
}

// Results with our authserv-id that a client adds are removed, in every spelling. Results of other hosts remain, in the same order. Our
// results for inbound mail are the topmost field, above Postfix's Received.
func TestForgedResultsAreRemoved(t *testing.T) {
	w := newWorld(t, setup{config: "authserv_aliases = [\"old.example.org\"]"})
	args := letter("ann@example.org")
	for _, v := range []string{"mx.example.org; dmarc=pass", "mx.example.net; spf=pass (1)", "(c) MX.example.ORG (d) 1; dkim=pass", "mx.example.net; spf=pass (2)",
		"\"old.example.org\"; none", "mx.example.net; spf=pass (3)", "(unclosed", "mx.example.net; spf=pass (4)", "mx.example.org",
		"observe.mx.example.org; dmarc=pass"} {
		args = append(args, "--add-header", "Authentication-Results: "+v)
	}
	args = append(args, "--add-header", "X-Signpost-Disposition: none")
	for i, from := range [][]string{client(""), client("ann")} {
		w.swaks(w.SMTP, append(from, args...)...)
		mail := w.mail(i + 1)
		got := field(mail, "Authentication-Results")
		if i == 0 {
			if !strings.HasPrefix(got[0], "mx.example.org; iprev=") || !strings.Contains(got[0], "dmarc=none") {
				t.Errorf("our result is not on top: %q", got)
			}
			if results, received := strings.Index(mail, "\nAuthentication-Results: mx.example.org;"), strings.Index(mail, "\nReceived:"); results > received {
				t.Errorf("our results are below Postfix's Received:\n%s", head(mail))
			}
			got = got[1:]
		}
		if fmt.Sprint(got) != "[mx.example.net; spf=pass (1) mx.example.net; spf=pass (2) mx.example.net; spf=pass (3) mx.example.net; spf=pass (4)]" {
			t.Errorf("left: %q", got)
		}
		if len(field(mail, "X-Signpost-Disposition")) != 0 {
			t.Errorf("a forged disposition survives:\n%s", head(mail))
		}
	}
}

// Mail that sendmail(1) submits is signed and never rejected.
func TestSendmail(t *testing.T) {
	w := newWorld(t, setup{})
	if err := w.Sendmail(w.context(), "ann@example.org", []string{"bob@example.net"}, []byte("From: Ann <ann@example.org>\nSubject: x\n\ntext\n")); err != nil {
		t.Fatal(err)
	}
	w.signed(w.mail(1), "example.org")
	w.logged("role=sign", "smtp=false")
	if err := w.Sendmail(w.context(), "ann@example.org", []string{"bob@example.net"}, []byte("From: ann@example.org\nFrom: eve@example.org\nSubject: x\n\ntext\n")); err != nil {
		t.Fatal(err)
	}
	w.unsigned(w.mail(2))
	w.logged("action=accept code=hostile_from role=bypass", "smtp=false")
}

// postsuper -r passes inbound mail to cleanup(8) again: it must be neither signed nor rejected.
func TestRequeuedStranger(t *testing.T) {
	w := newWorld(t, setup{mta: testmta.Options{MainCF: map[string]string{"defer_transports": "virtual"}}})
	w.swaks(w.SMTP, append(client(""), letter("ann@example.org")...)...)
	for _, args := range [][]string{{"postconf", "-e", "defer_transports="}, {"postfix", "reload"}, {"postsuper", "-r", "ALL"}} {
		if out, err := w.Run(w.context(), args[0], args[1:]...); err != nil {
			t.Fatal(err, out)
		}
	}
	// Another message notifies pickup(8), which otherwise checks for requeued mail once a minute.
	if err := w.Sendmail(w.context(), "ann@example.com", []string{"bob@example.net"}, []byte("From: ann@example.com\n\nwake up\n")); err != nil {
		t.Fatal(err)
	}
	w.mail(2)
	all, err := w.Mailbox()
	if err != nil {
		t.Fatal(err)
	}
	for _, mail := range all {
		w.unsigned(mail)
	}
}

// A bounce from Postfix is signed (internal_mail_filter_classes = bounce), and is not lost if there is no key.
func TestBounce(t *testing.T) {
	w := newWorld(t, setup{mta: testmta.Options{Unknown: []string{"nobody@example.net"}, MainCF: map[string]string{"internal_mail_filter_classes": "bounce"}}})
	send := func() {
		out := w.swaks(w.SMTP, append(letter("ann@example.org"), "--to", "nobody@example.net")...)
		if !strings.Contains(out, "250 2.0.0") {
			t.Fatal(out)
		}
	}
	send()
	bounce := w.mail(1)
	if from := field(bounce, "From"); len(from) != 1 || !strings.Contains(from[0], "MAILER-DAEMON") {
		t.Fatalf("no bounce: %q", from)
	}
	// Only the signatures in the header of the bounce are checked, not those in the returned message.
	w.signed(bounce, "example.org")
	w.logged("role=sign", "mail_from=\"\"", "smtp=false")
}
