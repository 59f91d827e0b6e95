package postfix_test

import (
	"os/exec"
	"strings"
	"testing"

	"signpost/internal/doctor"
	"signpost/internal/doctor/postfix"
)

// A fault of old releases is reported only if the release has the fault and the settings are affected by it.
func TestPostfixReleases(t *testing.T) {
	const policy = "smtpd_recipient_restrictions = reject_unauth_destination, check_policy_service unix:private/policy\n"
	prepend := func(name, main string) postfixCase {
		return postfixCase{name: name, main: main, check: "policy-prepend", what: "milters delete the wrong field after a policy service", fix: "apt-get install --only-upgrade postfix", level: doctor.Yellow}
	}
	hold(t, []postfixCase{
		prepend("policy service, 3.7.10", "mail_version = 3.7.10\n"+policy),
		prepend("policy service, 3.4", "mail_version = 3.4.23\n"+policy),
		prepend("table and 3.8.5", "mail_version = 3.8.5\nsmtpd_sender_restrictions = check_sender_access hash:DIR/senders\n-- senders --\nexample.org PREPEND X-Ours: yes\n"),
		prepend("inline table", "mail_version = 3.6.14\nsmtpd_client_restrictions = check_client_access inline:{192.0.2.7=PREPEND}\n"),
		{name: "policy service, 3.7.11", main: "mail_version = 3.7.11\n" + policy},
		{name: "policy service, 3.9.0", main: "mail_version = 3.9.0\n" + policy},
		{name: "table without PREPEND", main: "mail_version = 3.7.10\nsmtpd_sender_restrictions = check_sender_access hash:DIR/senders\n-- senders --\nexample.org REJECT\n"},

		{name: "bare LF", main: "smtpd_forbid_bare_newline = no\n", check: "bare-newline", what: "smtp/inet accepts a bare LF", fix: "-e 'smtpd_forbid_bare_newline = yes'", level: doctor.Yellow},
		{name: "bare LF at a service", master: "  -o smtpd_forbid_bare_newline=no\n", check: "bare-newline", what: "submission/inet accepts a bare LF",
			fix: "-P 'submission/inet/smtpd_forbid_bare_newline=yes'", level: doctor.Yellow},
		{name: "bare LF on loopback", master: "127.0.0.1:2525 inet n - y - - smtpd\n  -o smtpd_forbid_bare_newline=no\n"},
		{name: "bare LF out", main: "cleanup_replace_stray_cr_lf = no\n", check: "bare-newline", what: "cleanup/unix forwards a bare CR", fix: "-X 'cleanup_replace_stray_cr_lf'", level: doctor.Yellow},
		{name: "bare LF refused", main: "smtpd_forbid_bare_newline = reject\n"},
	})
}

// For a Postfix without smtpd_forbid_bare_newline, the Fix is the workaround of Postfix's authors. It keeps the existing values.
func TestPostfixBareNewlineBefore(t *testing.T) {
	p := postfixCase{main: "smtpd_discard_ehlo_keywords = dsn\n"}.site(t)
	look := func() []doctor.Finding {
		found, err := postfix.BareNewline(t.Context(), p.facts(), "smtpd_forbid_bare_newline")
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	found := look()
	if len(found) == 0 || !strings.Contains(found[0].Where, "has no smtpd_forbid_bare_newline") {
		t.Fatalf("got %+v", found)
	}
	if out, err := exec.Command("sh", "-c", found[0].Fix).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", found[0].Fix, err, out)
	}
	if found = look(); len(found) > 0 {
		t.Errorf("after the fix: %+v", found)
	}
}
