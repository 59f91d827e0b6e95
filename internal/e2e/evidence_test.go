package e2e

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// victimZone returns a zone with a p=reject domain whose own lookups work. Lookups of some names below this domain and in other domains
// fail. In a forger's domain, SPF takes longer than dns.message_timeout, although none of its lookups fails.
func victimZone() string {
	z := zone() + `
_dmarc.victim.example. TXT "v=DMARC1; p=reject"
victim.example. TXT "v=spf1 ip4:203.0.113.0/24 -all"
k._domainkey.victim.example. CNAME k._domainkey.good.example.
;fault lame.victim.example SERVFAIL
;fault *.lame.victim.example SERVFAIL
;fault *.dead.example TIMEOUT
;fault *.slow.example SLOW 900ms
slow.example. TXT "v=spf1 include:i0.slow.example -all"
`
	for i := range 9 { // RFC 7208 section 4.6.4 allows ten lookups
		z += fmt.Sprintf("i%d.slow.example. TXT \"v=spf1 include:i%d.slow.example -all\"\n", i, i+1)
	}
	return z
}

// letterBody is the body of all messages, because a signature over another body fails without a lookup.
const letterBody = "Hello\r\n"

// forgedSignature returns a complete signature field that names a domain, but was not made with the domain's key.
func forgedSignature(domain string) string {
	sum := sha256.Sum256([]byte(letterBody))
	return "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=" + domain + "; s=k; h=from:to:subject:date;\r\n" +
		"\tbh=" + base64.StdEncoding.EncodeToString(sum[:]) + "; b=eHh4\r\n"
}

// deliver sends a message in a separate session. It returns the code of the reply to the data, and the time until that reply.
func (w *world) deliver(xclient, sender, message string) (code int, took time.Duration) {
	w.t.Helper()
	s := w.dial(w.SMTP, xclient)
	defer s.Close()
	w.cmd(s, 250, "MAIL FROM:<"+sender+">")
	w.cmd(s, 250, "RCPT TO:<bob@example.net>")
	start := time.Now()
	_, err := s.Data(250, []byte(message))
	took = time.Since(start)
	var reply *textproto.Error
	switch {
	case err == nil:
		return 250, took
	case !errors.As(err, &reply):
		w.t.Fatal(err)
	}
	return reply.Code, took
}

// A forger cannot evade p=reject with fields that anyone can add, or with DNS under the forger's control. A forger cannot delay the session
// longer than dns.message_timeout. Legitimate mail that contains a name whose lookup fails is accepted, and is delayed by at most the
// timeout of that lookup.
func TestForgeriesThroughPostfix(t *testing.T) {
	const lookup, message = time.Second, 2 * time.Second
	w := newWorld(t, setup{zone: victimZone(), timeout: lookup.String(), message: message.String()})
	const header = "From: Boss <boss@victim.example>\r\nTo: bob@example.net\r\nSubject: Invoice\r\nDate: Tue, 14 Nov 2023 22:00:00 +0000\r\n"
	const stranger = "ADDR=198.51.100.7 NAME=mail.stranger.example"
	seven := ""
	for i := range 7 {
		seven += forgedSignature(fmt.Sprintf("s%d.dead.example", i))
	}
	for _, c := range []struct {
		name, sender, added string
		code                int
	}{
		{"nothing added", "x@stranger.example", "", 550},
		{"List-Id", "x@stranger.example", "List-Id: x\r\n", 550},
		{"ARC-Seal", "x@stranger.example", "ARC-Seal: garbage\r\n", 550},
		{"a bare signature", "x@stranger.example", "DKIM-Signature: d=victim.example\r\n", 550},
		{"a signature of a name that answers SERVFAIL", "x@stranger.example", forgedSignature("lame.victim.example"), 451},
		{"MAIL FROM of a name that answers SERVFAIL", "x@lame.victim.example", "", 451},
		{"slow signatures and SPF, the author's signature last", "x@slow.example", seven + forgedSignature("victim.example"), 550},
		{"slow signatures and SPF", "x@slow.example", seven, 550},
	} {
		code, took := w.deliver(stranger, c.sender, c.added+header+"\r\n"+letterBody)
		if code != c.code {
			t.Errorf("%s: the reply is %d, want %d", c.name, code, c.code)
		}
		// Postfix and a loaded machine need additional time.
		if most := message + 5*time.Second; took > most {
			t.Errorf("%s: the reply took %v", c.name, took)
		}
	}
	var honest bytes.Buffer
	err := msgauth.Sign(&honest, strings.NewReader(header+"\r\n"+letterBody),
		&msgauth.SignOptions{Domain: "victim.example", Selector: "k", Signer: senderKey(), Hash: crypto.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	fastest := time.Hour
	for n := 1; n <= 3 && fastest >= message; n++ { // on a loaded machine, one attempt may be slow
		code, took := w.deliver(stranger, "x@stranger.example", forgedSignature("one.dead.example")+honest.String())
		if code != 250 {
			t.Fatalf("legitimate mail with an unaligned signature whose key lookup fails: the reply is %d", code)
		}
		fastest = min(fastest, took)
		untagged(t, w.results(n, "header.d=one.dead.example", "dkim=pass header.d=victim.example", "dmarc=pass header.from=victim.example"))
	}
	if fastest >= message {
		t.Errorf("legitimate mail took %v, but a lookup ends after %v", fastest, lookup)
	}
}
