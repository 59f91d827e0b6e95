package e2e

import (
	"errors"
	"net/textproto"
	"os/exec"
	"strings"
	"testing"

	"signpost/internal/testmta"
)

// While the daemon is not running, Postfix accepts no mail by SMTP, and keeps mail of sendmail(1) in its queue. This is true for the setting
// of README.md, and for the default of the installed Postfix. The default is tempfail, or shutdown in 3.11 and in the last patches of earlier
// releases.
func TestDaemonDown(t *testing.T) {
	for _, name := range []string{"setting of README.md", "default of Postfix"} {
		t.Run(name, func(t *testing.T) {
			needRoot(t)
			action, code := "tempfail", 451
			if name == "default of Postfix" {
				out, err := exec.Command("postconf", "-dh", "milter_default_action").Output()
				if err != nil {
					t.Fatal(err)
				}
				if action = strings.TrimSpace(string(out)); action == "shutdown" {
					code = 421
				}
			}
			s := setup{}
			s.mta.MainCF = map[string]string{"milter_default_action": action}
			w := newWorld(t, s)
			open := w.dial(w.SMTP, "")
			w.stop()
			if got := w.attempt(open); got != code {
				t.Fatalf("%s: %d", action, got)
			}
			message := []byte("From: ann@example.org\nSubject: sendmail\n\ntext\n")
			if err := w.Sendmail(t.Context(), "ann@example.org", []string{"bob@example.net"}, message); err != nil {
				t.Fatal(err)
			}
			if err := w.WaitLog(w.context(), "connect to Milter service"); err != nil { // from cleanup(8): smtpd(8) was connected already
				t.Fatal(err)
			}

			w.start("signpost")
			if code == 451 { // the session continues, and Postfix answers all its mail with 451
				if got := w.attempt(open); got != code {
					t.Errorf("in the same session: %d", got)
				}
			} else if _, err := open.Cmd(250, "NOOP"); err == nil {
				t.Error("Postfix did not close the connection")
			}
			w.swaks(w.SMTP, letter("ann@example.org")...)
			w.signed(w.mail(1), "example.org")
			// A new message makes pickup(8) read the whole queue of sendmail(1).
			if err := w.Sendmail(t.Context(), "ann@example.org", []string{"bob@example.net"}, message); err != nil {
				t.Fatal(err)
			}
			w.mail(3)
			all, err := w.Mailbox()
			if err != nil || len(all) != 3 {
				t.Fatalf("%d messages, %v", len(all), err)
			}
			for _, mail := range all {
				w.signed(mail, "example.org")
			}
		})
	}
}

// attempt sends a message in an open session. It returns the code of the last reply.
func (w *world) attempt(s *testmta.Session) int {
	w.t.Helper()
	var err error
	for _, line := range []string{"MAIL FROM:<ann@example.org>", "RCPT TO:<bob@example.net>"} {
		if _, err = s.Cmd(250, line); err != nil {
			break
		}
	}
	if err == nil {
		_, err = s.Data(250, []byte("From: ann@example.org\r\nSubject: x\r\n\r\ntext\r\n"))
	}
	var reply *textproto.Error
	switch {
	case err == nil:
		return 250
	case !errors.As(err, &reply):
		w.t.Fatal(err)
	}
	return reply.Code
}
