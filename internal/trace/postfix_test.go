package trace

import (
	"os"
	"strings"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/testmta"
)

// Read parses the fields that Postfix itself writes: for IPv4 and IPv6, a login, a bounce, and a HELO name that imitates the field.
func TestPostfix(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("starts Postfix, whose master needs root")
	}
	m, err := testmta.Start(t.Context(), testmta.Options{Domains: []string{"example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	}()
	for i, c := range []struct {
		xclient, helo, sender, want string
	}{
		{"NAME=mail.example.com ADDR=192.0.2.1", "EHLO mail.example.com", "ann@example.com", "192.0.2.1 mail.example.com mail.example.com ESMTP"},
		{"NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::9", "HELO [IPv6:2001:db8::9]", "", "2001:db8::9 unknown [IPv6:2001:db8::9] SMTP"},
		{"NAME=mail.example.com ADDR=192.0.2.1 LOGIN=ann", "EHLO a(b[192.0.2.9])by", `"a b"@example.com`, "192.0.2.1 mail.example.com a?b[192.0.2.9]?by ESMTPA"},
	} {
		s, err := testmta.Dial(t.Context(), m.SMTP)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Expect(220); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Cmd(220, "XCLIENT "+c.xclient); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{c.helo, "MAIL FROM:<" + c.sender + ">", "RCPT TO:<bob@example.org>"} {
			if _, err := s.Cmd(250, line); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Data(250, []byte("From: ann@example.com\r\n\r\nHello\r\n")); err != nil {
			t.Fatal(err)
		}
		s.Close()
		mails, err := m.WaitMail(t.Context(), i+1)
		if err != nil {
			t.Fatal(err)
		}
		fields, _, err := dkim.ReadMessage(strings.NewReader(mails[i]))
		if err != nil {
			t.Fatal(err)
		}
		read := Read(fields)
		if read.Received == nil || read.Sender == nil {
			t.Errorf("%s: not read:\n%s", c.xclient, mails[i])
			continue
		}
		r := read.Received
		if got := strings.Join([]string{r.Client.String(), r.Name, r.HELO, r.With}, " "); got != c.want || *read.Sender != c.sender {
			t.Errorf("%s: %s, sender <%s>, want %s:\n%s", c.xclient, got, *read.Sender, c.want, mails[i])
		}
		for _, f := range read.Rest {
			if f.Name == "Received" || f.Name == "Return-Path" || f.Name == "Delivered-To" || f.Name == "X-Original-To" {
				t.Errorf("Rest has %s, which was written after the milters", f.Name)
			}
		}
	}
}
