package e2e

import (
	"syscall"
	"testing"
	"time"

	"signpost/internal/testdns"
)

// While the daemon is suspended, Postfix gives up after its own timeout and answers 451. Afterwards, the mail is signed and inbound mail is
// verified: no message passed without Signpost.
func TestDaemonHangs(t *testing.T) {
	s := setup{zone: zone()}
	s.mta.MainCF = map[string]string{"milter_default_action": "tempfail", "milter_connect_timeout": "2s", "milter_command_timeout": "2s", "milter_content_timeout": "2s"}
	w := newWorld(t, s)
	if err := w.daemon.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	w.refused(w.swaks(w.SMTP, letter("ann@example.org")...), "451 4.7.1")
	w.refused(w.swaks(w.SMTP, args(stranger(), written("ann@good.example"))...), "451 4.7.1")
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("the replies took %v", took)
	}
	if err := w.daemon.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.refused(w.swaks(w.SMTP, args(stranger(), written("ann@good.example"))...), "550 5.7.1")
	w.swaks(w.SMTP, letter("ann@example.org")...)
	w.signed(w.mail(1), "example.org")
	if all, err := w.Mailbox(); err != nil || len(all) != 1 {
		t.Errorf("%d messages, %v", len(all), err)
	}
}

// While no name server answers, outbound mail is signed, because it needs no DNS. Inbound mail gets 451 within dns.message_timeout, and is verified
// when the name server answers again.
func TestNameServerDown(t *testing.T) {
	w := newWorld(t, setup{zone: zone(), timeout: "1s", message: "4s"})
	w.dns.Stop()
	w.swaks(w.SMTP, letter("ann@example.org")...)
	w.signed(w.mail(1), "example.org")
	begin := time.Now()
	w.refused(w.swaks(w.SMTP, args(stranger(), written("ann@good.example"))...), "451 4.4.3")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the reply took %v", took)
	}
	again, err := testdns.StartAt(w.dns.Addr(), zone())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Stop)
	w.until("inbound mail is verified again", func() bool {
		w.swaks(w.SMTP, args(stranger(), written("ann@good.example"))...)
		return w.lines("action=reject code=dmarc_fail") > 0
	})
}
