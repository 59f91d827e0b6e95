package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/dkim"
	"signpost/internal/testmta"
	"signpost/policy"
)

// transport returns the transport to a server on loopback in the syntax of transport(5).
func transport(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return "smtp:[127.0.0.1]:" + port
}

// submit sends a message of ann@example.org in an open session. Its From field is the first.
func (w *world) submit(s *testmta.Session, to, header, body string) {
	w.t.Helper()
	w.cmd(s, 250, "MAIL FROM:<ann@example.org>")
	w.cmd(s, 250, "RCPT TO:<"+to+">")
	if _, err := s.Data(250, []byte("From: ann@example.org\r\n"+header+"\r\n"+body)); err != nil {
		w.t.Fatal(err)
	}
}

// verifies reports whether the only signature of a message verifies. Signpost and go-msgauth must have the same result.
func (w *world) verifies(mail string) bool {
	w.t.Helper()
	records := w.records()
	ours := verify(strings.ReplaceAll(mail, "\r\n", "\n"), func(name string) string { return records[name] })
	wire := dkim.CRLF(mail)
	theirs, err := msgauth.VerifyWithOptions(strings.NewReader(wire), &msgauth.VerifyOptions{LookupTXT: func(name string) ([]string, error) { return []string{records[name]}, nil }})
	if err != nil || len(theirs) != 1 || len(ours) != 1 {
		w.t.Fatalf("%d and %d signatures, want 1: %v\n%s", len(ours), len(theirs), err, mail)
	}
	if pass := ours[0].Status == dkim.Pass; pass != (theirs[0].Err == nil) {
		w.t.Errorf("our result %s, go-msgauth's %v\n%s", ours[0].Status, theirs[0].Err, mail)
	}
	return ours[0].Status == dkim.Pass
}

// signedNames returns the names in h= of a message's only signature.
func signedNames(mail string) []string {
	for tag := range strings.SplitSeq(field(strings.ReplaceAll(mail, "\r\n", "\n"), "DKIM-Signature")[0], ";") {
		if names, ok := strings.CutPrefix(strings.TrimSpace(tag), "h="); ok {
			return strings.Split(strings.ReplaceAll(names, " ", ""), ":")
		}
	}
	return nil
}

// Postfix breaks lines over 998 bytes when it sends a message. The log warns of a signed line that is broken. A broken line in a field that
// need not be signed does not break the signature, because the field is not signed.
func TestPostfixBreaksLongLines(t *testing.T) {
	n := startNext(t, "8BITMIME")
	w := newWorld(t, setup{mta: testmta.Options{MainCF: map[string]string{"default_transport": transport(n.addr)}}})
	s := w.dial(w.SMTP, "")
	x := func(n int) string { return strings.Repeat("x", n) }
	for i, c := range []struct {
		name, header, body string
		has                string // text of the message that arrives
		verifies           bool
		warning            *dkim.LongLines
	}{
		{"the longest body line", "", x(998) + "\r\nlast\r\n", "\r\n" + x(998) + "\r\nlast\r\n", true, nil},
		{"a longer body line", "", x(999) + "\r\nlast\r\n", "\r\n" + x(998) + "\r\n x\r\nlast\r\n", false, &dkim.LongLines{LongestLineBytes: 999}},
		{"a body line beyond line_length_limit", "", x(5000) + "\r\n", "\r\n" + x(998) + "\r\n " + x(997) + "\r\n " + x(997), false, &dkim.LongLines{LongestLineBytes: 5000}},
		{"the longest header line", "Subject: " + x(989) + "\r\n", "text\r\n", "\r\nSubject: " + x(989) + "\r\n", true, nil},
		{"a longer header line", "Subject: " + x(990) + "\r\n", "text\r\n", "\r\nSubject: " + x(989) + "\r\n x\r\n", false, &dkim.LongLines{LongestLineBytes: 999, Field: "Subject"}},
		{"a field that need not be signed", "References: <" + x(2990) + ">\r\n", "text\r\n", "\r\nReferences: <" + x(985) + "\r\n " + x(997), true, &dkim.LongLines{Unsigned: []string{"References"}}},
		{"a folded field", "References: <" + x(900) + ">\r\n <" + x(900) + ">\r\n", "text\r\n", "\r\nReferences: <" + x(900) + ">\r\n <" + x(900) + ">\r\n", true, nil},
	} {
		w.submit(s, "bob@far.example", c.header+"X-Case: "+c.name+"\r\n", c.body)
		mail := n.receive(t)
		if !strings.Contains(mail, c.has) {
			t.Errorf("%s: %s", c.name, mail)
		}
		if got := w.verifies(mail); got != c.verifies {
			t.Errorf("%s: verifies: %v, want %v\n%s", c.name, got, c.verifies, mail)
		}
		w.until("the message is in the log", func() bool { return w.lines("msg=message") > i })
		lines := strings.Split(strings.TrimSpace(w.daemon.log.String()), "\n")
		if line := lines[len(lines)-1]; !strings.Contains(line, "role=sign") || !strings.Contains(line, policy.LongLines(c.warning)) || c.warning == nil && strings.Contains(line, "reason=") {
			t.Errorf("%s: the log has %s", c.name, line)
		}
	}
}

// Fields that Postfix adds, on this host or on a relay, do not break the signature.
func TestMissingFieldsAreAdded(t *testing.T) {
	needRoot(t)
	relay, err := testmta.Start(t.Context(), testmta.Options{Domains: []string{"far.example"},
		MainCF: map[string]string{"always_add_missing_headers": "yes", "undisclosed_recipients_header": "To: undisclosed-recipients:;"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.Stop() })
	remote, remotePort := freeAddr(t) // the clients of this port are not in local_header_rewrite_clients
	w := newWorld(t, setup{mta: testmta.Options{MainCF: map[string]string{"default_transport": transport(relay.SMTP)},
		MasterCF: "127.0.0.1:" + remotePort + " inet n - n - - smtpd\n  -o local_header_rewrite_clients=\n"}})
	arrived := 0
	for _, c := range []struct {
		name   string
		send   func()
		signed []string // the names in h= of those fields that may be missing, once for each occurrence
	}{
		// For sendmail(1) and for local_header_rewrite_clients, cleanup(8) adds the missing fields before the milters receive the message.
		{"sendmail", func() {
			if err := w.Sendmail(w.context(), "ann@example.org", []string{"bob@far.example"}, []byte("From: ann@example.org\nSubject: x\n\ntext\n")); err != nil {
				t.Fatal(err)
			}
		}, []string{"Date", "Date", "Message-ID", "Message-ID"}},
		{"a local client", func() { w.submit(w.dial(w.SMTP, ""), "bob@far.example", "Subject: x\r\n", "text\r\n") },
			[]string{"Date", "Date", "Message-ID", "Message-ID"}},
		// For other clients, cleanup(8) does not add them. The relay adds them after signing.
		{"a remote client", func() { w.submit(w.dial(remote, ""), "bob@far.example", "Subject: x\r\n", "text\r\n") }, nil},
	} {
		c.send()
		arrived++
		all, err := relay.WaitMail(w.context(), arrived)
		if err != nil {
			t.Fatal(err)
		}
		mail := all[arrived-1]
		for _, name := range []string{"Date", "Message-ID", "To"} {
			if len(field(mail, name)) != 1 {
				t.Errorf("%s: %d fields %s, want 1\n%s", c.name, len(field(mail, name)), name, mail)
			}
		}
		got := slices.DeleteFunc(signedNames(mail), func(name string) bool { return name != "Date" && name != "Message-ID" && name != "To" })
		if !slices.Equal(got, c.signed) {
			t.Errorf("%s: h= has %q, want %q", c.name, got, c.signed)
		}
		if !w.verifies(mail) {
			t.Errorf("%s: the signature does not verify\n%s", c.name, mail)
		}
		if w.verifies("Date: Mon, 30 Nov 2026 01:00:00 +0000\n"+mail) && c.signed != nil {
			t.Errorf("%s: the signature verifies with a second Date", c.name)
		}
	}
}

// Postfix converts a text that is declared as 8bit if the next server does not announce 8BITMIME. The signature still verifies if the text
// was converted before signing, if the text has another Content-Transfer-Encoding, or if the conversion is disabled.
func TestSevenBitServer(t *testing.T) {
	const eight, quoted = "Gr\u00fc\u00dfe\r\n", "Gr=C3=BC=C3=9Fe\r\n"
	header := func(encoding string) string {
		return "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding + "\r\n"
	}
	n := startNext(t)
	front, frontPort := freeAddr(t)
	_, hopPort := freeAddr(t)
	w := newWorld(t, setup{mta: testmta.Options{
		MainCF: map[string]string{"default_transport": transport(n.addr), "transport_maps": "inline:{raw.example=raw" + strings.TrimPrefix(transport(n.addr), "smtp") + "}"},
		MasterCF: fmt.Sprintf("raw unix - - n - - smtp\n  -o disable_mime_output_conversion=yes\n"+
			"127.0.0.1:%s inet n - n - - smtpd\n  -o smtpd_milters=\n  -o content_filter=smtp:[127.0.0.1]:%s\n"+
			"127.0.0.1:%s inet n - n - - smtpd\n  -o content_filter=\n  -o smtpd_discard_ehlo_keywords=8bitmime,smtputf8\n", frontPort, hopPort, hopPort)}})
	for _, c := range []struct {
		name, server, to, header, body string
		has                            string // the body that arrives
		verifies                       bool
	}{
		{"declared as 8bit", w.SMTP, "bob@far.example", header("8bit"), eight, quoted, false},
		{"declared as 8bit, all ASCII", w.SMTP, "bob@far.example", header("8bit"), "text\r\n", "text\r\n", false},
		{"not declared", w.SMTP, "bob@far.example", "Subject: x\r\n", eight, eight, true},
		{"quoted-printable from the client", w.SMTP, "bob@far.example", header("quoted-printable"), quoted, quoted, true},
		{"conversion disabled", w.SMTP, "bob@raw.example", header("8bit"), eight, eight, true},
		{"converted before signing", front, "bob@far.example", header("8bit"), eight, quoted, true},
	} {
		w.submit(w.dial(c.server, ""), c.to, c.header, c.body)
		mail := n.receive(t)
		if !strings.HasSuffix(mail, "\r\n\r\n"+c.has) {
			t.Errorf("%s: %s", c.name, mail)
		}
		if got := w.verifies(mail); got != c.verifies {
			t.Errorf("%s: verifies: %v, want %v\n%s", c.name, got, c.verifies, mail)
		}
	}
}
