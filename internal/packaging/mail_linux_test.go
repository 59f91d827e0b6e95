package packaging

import (
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/dkim"
	"signpost/internal/testdns"
)

const zone = `
stranger.example. 60 IN TXT "v=spf1 ip4:203.0.113.9 -all"
_dmarc.stranger.example. 60 IN TXT "v=DMARC1; p=reject"
_dmarc.bank.example. 60 IN TXT "v=DMARC1; p=quarantine"
mail.stranger.example. 60 IN A 203.0.113.9
9.113.0.203.in-addr.arpa. 60 IN PTR mail.stranger.example.
`

// The steps of README.md from the first key to the first signed message work when typed literally. Postfix has Debian's configuration for
// an Internet site, with its chroot. Ann's mail is signed, inbound mail is verified, and a forgery is rejected. Quarantined mail goes to
// the address of milter_header_checks.
func TestREADME(t *testing.T) {
	if !inside(t) {
		return
	}
	steps := readmeSteps(t, filepath.Join(os.Getenv(packagesVar), "README.md"))
	dns, err := testdns.StartAt("127.0.0.1:53", zone)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Stop()
	syslog := listenSyslog(t)
	stockPostfix(t)
	run(t, "useradd --create-home bob; echo 'postmaster: bob' >/etc/aliases; newaliases")

	record := typed(t, steps, deb(t, 1))

	verifies(t, mailbox(t, 1, syslog)[0], record)

	if err := send("127.0.0.1", "ann@example.org", "From: ann@example.org\r\nSubject: by SMTP\r\n\r\nHello.\r\n"); err != nil {
		t.Fatal(err)
	}
	verifies(t, mailbox(t, 2, syslog)[1], record)

	forgedResult := "Authentication-Results: " + hostname + "; dkim=pass header.d=bank.example\r\n"
	if err := send(stranger, "eve@stranger.example", forgedResult+"From: eve@stranger.example\r\nSubject: from outside\r\n\r\nHello.\r\n"); err != nil {
		t.Fatal(err)
	}
	got := mailbox(t, 3, syslog)[2]
	if !strings.Contains(got, "spf=pass smtp.mailfrom=stranger.example") || !strings.Contains(got, "dmarc=pass header.from=stranger.example") || strings.Contains(got, "bank.example") {
		t.Errorf("not verified, or a forged result was not removed:\n%s", got)
	}
	err = send(stranger, "eve@elsewhere.example", "From: root@stranger.example\r\nSubject: forged\r\n\r\nHello.\r\n")
	var refused *textproto.Error
	if !errors.As(err, &refused) || refused.Code != 550 || !strings.HasPrefix(refused.Msg, "5.7.1 ") {
		t.Errorf("a forgery: %v", err)
	}
	if err := send(stranger, "eve@stranger.example", "From: ann@bank.example\r\nSubject: quarantined\r\n\r\nHello.\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := mailbox(t, 4, syslog)[3]; !strings.Contains(got, "X-Signpost-Disposition: quarantine;") || !strings.Contains(got, "Delivered-To: postmaster@localhost\n") {
		t.Errorf("quarantined mail to bob is not redirected to postmaster:\n%s", got)
	}
	if log := syslog(); strings.Contains(log, "warning") {
		t.Errorf("Postfix warns:\n%s", log)
	}
}

// verifies checks that a message has exactly one signature, that its domain is example.org, and that it verifies with the record.
func verifies(t *testing.T, mail, record string) {
	t.Helper()
	wire := dkim.CRLF(mail)
	results, err := msgauth.VerifyWithOptions(strings.NewReader(wire), &msgauth.VerifyOptions{LookupTXT: func(string) ([]string, error) { return []string{record}, nil }})
	if err != nil || len(results) != 1 || results[0].Err != nil || results[0].Domain != "example.org" {
		t.Errorf("want one signature of example.org: %v %v\n%s", results, err, mail)
	}
}

// typed runs README.md's steps with this package, and returns the DNS record that dkimkey printed.
func typed(t *testing.T, steps []string, file string) (record string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, line := range steps {
		switch {
		case line == "make deb": // built by the outer process with the same script
			run(t, "mkdir bin; cp "+file+" bin/")
		case strings.HasPrefix(line, "systemctl enable --now signpost "): // as systemd would
			run(t, strings.Replace(line, " --now", "", 1))
			start(t)
		default:
			if out := run(t, line); strings.HasPrefix(line, "dkimkey add") {
				record = keyRecord(t, out)
			}
		}
	}
	return record
}

// readmeSteps returns the lines of the first block of commands under the heading.
func readmeSteps(t *testing.T, readme string) []string {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## From first key to first signed mail\n")
	if !ok {
		t.Fatal("README.md has no such heading")
	}
	var steps []string
	for line := range strings.Lines(section) {
		if step, ok := strings.CutPrefix(line, "    "); ok {
			steps = append(steps, strings.TrimSuffix(step, "\n"))
		} else if len(steps) > 0 {
			break
		}
	}
	if len(steps) < 8 {
		t.Fatalf("only %q", steps)
	}
	return steps
}

// stockPostfix lets Debian's package recreate /etc/postfix for an Internet site, and starts Postfix as its unit does. In Debian 12, the
// unit copies files to the chroot; in Debian 13, postfix(1) copies them.
func stockPostfix(t *testing.T) {
	t.Helper()
	run(t, `rm -f /etc/postfix/main.cf /etc/postfix/master.cf
printf '%s\n' 'postfix postfix/main_mailer_type select Internet Site' 'postfix postfix/mailname string `+hostname+`' \
	'postfix postfix/destinations string `+hostname+`, localhost' |
	debconf-set-selections
dpkg-reconfigure postfix
! grep -q configure-instance /lib/systemd/system/postfix@.service || /usr/lib/postfix/configure-instance.sh -
postfix start`)
	if out := run(t, "postconf -M smtp/inet cleanup/unix"); strings.Count(out, " y ") != 2 {
		t.Fatalf("this Postfix has no chroot:\n%s", out)
	}
}

// listenSyslog reads the messages to /dev/log.
func listenSyslog(t *testing.T) func() string {
	t.Helper()
	c, err := net.ListenPacket("unixgram", "/dev/log")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod("/dev/log", 0o666); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		for buf := make([]byte, 8192); ; {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			lines <- string(buf[:n])
		}
	}()
	t.Cleanup(func() { c.Close() })
	var all strings.Builder
	return func() string {
		for {
			select {
			case line := <-lines:
				fmt.Fprintln(&all, line)
			default:
				return all.String()
			}
		}
	}
}

// keyRecord returns the record in the output of `dkimkey add`.
func keyRecord(t *testing.T, out string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "v=DKIM1") {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("dkimkey printed no record:\n%s", out)
	return ""
}

// mailbox waits for the n-th message in bob's mailbox.
func mailbox(t *testing.T, n int, syslog func() string) []string {
	t.Helper()
	var mails []string
	defer func() {
		if len(mails) < n {
			t.Logf("syslog:\n%s", syslog())
		}
	}()
	until(t, fmt.Sprintf("%d messages for bob", n), func() bool {
		text, _ := os.ReadFile("/var/mail/bob")
		mails = nil
		for _, mail := range strings.Split("\n"+string(text), "\nFrom ")[1:] {
			_, mail, _ = strings.Cut(mail, "\n")
			mails = append(mails, strings.TrimSuffix(mail, "\n"))
		}
		return len(mails) >= n
	})
	return mails
}

// send sends a message to bob from an address of this machine.
func send(from, sender, message string) error {
	local := &net.TCPAddr{IP: net.ParseIP(from)}
	c, err := (&net.Dialer{LocalAddr: local}).Dial("tcp", net.JoinHostPort(from, "25"))
	if err != nil {
		return err
	}
	client, err := smtp.NewClient(c, hostname)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Hello("mail.stranger.example"); err != nil {
		return err
	}
	if err := client.Mail(sender); err != nil {
		return err
	}
	if err := client.Rcpt("bob@" + hostname); err != nil {
		return err
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(message)); err != nil {
		return err
	}
	return w.Close()
}
