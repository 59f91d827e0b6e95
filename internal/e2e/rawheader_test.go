package e2e

import (
	"strings"
	"testing"
)

// A real Postfix parses these headers as the cases in testdata/attacks assume. If the header has no From, Postfix adds one from the
// envelope for clients in local_header_rewrite_clients. These include the XCLIENT clients of this test.
func TestRawHeaders(t *testing.T) {
	w := newWorld(t, setup{zone: zone()})
	s := w.dial(w.SMTP, "ADDR=198.51.100.7 NAME=mail.stranger.example")
	delivered := 0
	for _, c := range []struct {
		name, header string
		code         int
		has          string // in the delivered message
	}{
		{"a first From after a space begins the body", " From: <x@stranger.example>\r\nFrom: <ann@good.example>", 250, "\n\n From: <x@stranger.example>\n"},
		{"a From folded before its colon begins the body", "From\r\n : <x@stranger.example>\r\nFrom: <ann@good.example>", 250, "\n\nFrom\n : <x@stranger.example>\n"},
		{"a second From with a space before its colon", "From: <x@stranger.example>\r\nFrom : <ann@good.example>", 550, ""},
		{"a first line like a mailbox's", "From : <ann@good.example>\r\nFrom: <x@stranger.example>", 250, "\nX-Mailbox-Line: From : <ann@good.example>\n"},
		// Postfix 3.7.11 and later replace the CR (cleanup_replace_stray_cr_lf). Older releases keep it, and Signpost rejects the message.
		{"a From after a bare CR", "Subject: x\rFrom: <ann@good.example>\r\nFrom: <x@stranger.example>", 250, "\nSubject: x From: <ann@good.example>\n"},
		{"results after a bare CR", "Subject: x\rAuthentication-Results: mx.example.org; dmarc=pass\r\nFrom: <x@stranger.example>", 250, "\nSubject: x Authentication-Results: mx.example.org; dmarc=pass\n"},
		{"a From after a bare LF", "Subject: x\nFrom: <ann@good.example>\r\nFrom: <x@stranger.example>", 550, ""},
		{"a NUL in the domain", "From: <ann@good.example\x00.stranger.example>", 550, ""},
		{"a NUL in the name of From begins the body", "From\x00: <x@stranger.example>\r\nFrom: <ann@good.example>", 250, "\n\nFrom\x00: <x@stranger.example>\n"},
		{"8 bits in a field's name begin the body", "From: <x@stranger.example>\r\nFr\xf6m: y\r\nFrom: <ann@good.example>", 250, "\n\nFr\xf6m: y\nFrom: <ann@good.example>\n"},
	} {
		w.cmd(s, 250, "MAIL FROM:<x@stranger.example>")
		w.cmd(s, 250, "RCPT TO:<bob@example.net>")
		if _, err := s.Data(c.code, []byte(c.header+"\r\n\r\ntext\r\n")); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.code != 250 {
			continue
		}
		delivered++
		if mail := w.mail(delivered); !strings.Contains(mail, c.has) {
			t.Errorf("%s:\n%q", c.name, mail)
		}
	}
}
