package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"signpost/internal/dkim"
)

const recipient = "bob@example.net"

// peer is an SMTP client.
type peer struct{ addr, name, login string }

// These are the clients: an authenticated user, the server of the sending domain, and a client that SPF does not permit.
func user() peer   { return peer{"192.0.2.10", "pc.example.org", "ann@example.org"} }
func sender() peer { return peer{"203.0.113.9", "mail.example.com", ""} }
func forger() peer { return peer{"198.51.100.66", "mail.stranger.example", ""} }

// mail is one message, with CRLF at the end of each line and a space before each value.
type mail struct {
	from   peer
	sender string
	id     string // queue ID
	fields []dkim.Field
	body   []byte
}

// letter returns a message of the given size in bytes, including the header. It has about twenty header fields and a text. Beyond 8 KiB,
// the rest is an attachment in base64, as in real messages. The number n makes the message unique.
func letter(n, size int, from peer, author string) *mail {
	m := &mail{from: from, sender: author, id: fmt.Sprintf("4T%07dzBench", n)}
	_, domain, _ := strings.Cut(author, "@")
	boundary := fmt.Sprintf("=_%032x", n)
	text := [][2]string{
		{"Received", "from " + from.name + " (" + from.name + " [" + from.addr + "])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\n\t key-exchange X25519 server-signature RSA-PSS (2048 bits))\n\tby mx.example.net (Postfix) with ESMTPS id " + m.id + "\n\tfor <" + recipient + ">; Wed, 25 Nov 2026 10:00:01 +0000 (UTC)"},
		{"Received", "from [192.168.178.21] (p5b0c8d2a.dip.example [203.0.113.77])\n\t(Authenticated sender: ann)\n\tby " + from.name + " (Postfix) with ESMTPSA id 4TZZ" + fmt.Sprint(n) + "\n\tfor <" + recipient + ">; Wed, 25 Nov 2026 10:00:00 +0000 (UTC)"},
		{"From", "Ann Example <" + author + ">"},
		{"To", "Bob Example <" + recipient + ">"},
		{"Cc", "\"Carol, Accounts\" <carol@example.net>, Dave <dave@example.net>"},
		{"Subject", fmt.Sprintf("Re: The minutes of the %d. meeting, and what is to be done until the next one", n)},
		{"Date", "Wed, 25 Nov 2026 10:00:00 +0000"},
		{"Message-ID", fmt.Sprintf("<%d.%d@%s>", n, size, domain)},
		{"In-Reply-To", fmt.Sprintf("<%d.first@example.net>", n)},
		{"References", fmt.Sprintf("<%d.zero@example.net>\n <%d.first@example.net>", n, n)},
		{"Reply-To", "Ann Example <" + author + ">"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "multipart/mixed;\n boundary=\"" + boundary + "\""},
		{"Content-Language", "en-GB"},
		{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Thunderbird"},
		{"Organization", "Example Ltd"},
		{"X-Priority", "3 (Normal)"},
		{"Autocrypt", "addr=" + author + "; prefer-encrypt=mutual"},
		{"X-Mailer-Info", "abcdefghijklmnopqrstuvwxyz0123456789"},
		{"List-Unsubscribe", fmt.Sprintf("<https://%s/u/%d>", domain, n)},
	}
	for _, f := range text {
		m.fields = append(m.fields, dkim.Field{Name: f[0], Value: " " + dkim.CRLF(f[1])})
		size -= len(f[0]) + len(f[1]) + len(": \r\n") + strings.Count(f[1], "\n")
	}
	m.body = body(n, max(size-len("\r\n"), 0), boundary)
	return m
}

// maxText is the maximum size of the text in a body.
const maxText = 8 << 10

func body(n, size int, boundary string) []byte {
	r := rand.New(rand.NewPCG(uint64(n), uint64(size)))
	words := strings.Fields("the minutes were read and approved without a word from anybody but the treasurer who asked once more where last year's receipts had gone")
	var b bytes.Buffer
	b.Grow(size + 100)
	fmt.Fprintf(&b, "--%s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", boundary)
	for col := 0; b.Len() < min(size, maxText); {
		w := words[r.IntN(len(words))]
		if col += len(w) + 1; col > 72 {
			b.WriteString("\r\n")
			col = len(w)
		}
		b.WriteString(w + " ")
	}
	if size > maxText {
		fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var line [78]byte
	line[76], line[77] = '\r', '\n'
	for b.Len() < size {
		for i := range 76 {
			line[i] = alphabet[r.Uint64()>>58]
		}
		b.Write(line[:])
	}
	b.Truncate(max(size-4, 0))
	b.WriteString("..\r\n")
	text := b.Bytes()
	if i := len(text) - 5; i >= 0 && text[i] == '\r' {
		text[i] = '.' // avoids an incomplete line end, which not all servers treat in the same way
	}
	return text
}

// sign adds a signature at the top.
func (m *mail) sign(key dkim.Key) error {
	s, err := dkim.NewSigner(m.fields, []dkim.Key{key}, time.Now(), 7*24*time.Hour)
	if err != nil {
		return err
	}
	s.Write(m.body)
	signed, err := s.Sign()
	if err != nil {
		return err
	}
	// The signature is below this server's Received field, as in inbound mail.
	m.fields = append([]dkim.Field{m.fields[0], signed[0]}, m.fields[1:]...)
	return nil
}

// wire returns the message as it is sent to the next server.
func (m *mail) wire() []byte {
	var b bytes.Buffer
	for _, f := range m.fields {
		b.WriteString(f.Wire())
	}
	b.WriteString("\r\n")
	b.Write(m.body)
	return b.Bytes()
}

// with returns the message after a milter has added a field at the top.
func (m *mail) with(f dkim.Field) *mail {
	changed := *m
	changed.fields = append([]dkim.Field{f}, m.fields...)
	return &changed
}

// These are the roles in which a server is measured.
const (
	signing   = "sign"
	verifying = "verify"
)

// pool returns n different messages. If cold is set, each message has a different domain, so that no DNS answer for it is cached.
func (w *world) pool(role string, size, n int, cold bool) ([]*mail, error) {
	if cold && w.coldUsed+n > coldDomains {
		return nil, fmt.Errorf("%d new domains are not enough", coldDomains)
	}
	var all []*mail
	for i := range n {
		if role == signing {
			all = append(all, letter(i, size, user(), "ann@example.org"))
			continue
		}
		domain := "example.com"
		if cold {
			domain = coldDomain(w.coldUsed)
			w.coldUsed++
		}
		m := letter(i, size, sender(), "ann@"+domain)
		if err := m.sign(dkim.Key{Domain: domain, Selector: selector, Signer: w.key}); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}
