package send

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"time"

	"encoding/base64"
)

func sample() Mail {
	return Mail{From: "dmarc@reports.b.test", OrgName: `B "Test", Inc.`, To: "d@a.test", Domain: "a.test", MessageID: "20261130.abc@reports.b.test",
		Subject: "Report Domain: a.test Submitter: mx.b.test Report-ID: 20261130.abc@" + strings.Repeat("x", 60) + ".b.test",
		Date:    time.Date(2026, 12, 1, 0, 30, 0, 0, time.UTC), Begin: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 11, 30, 23, 59, 59, 0, time.UTC),
		File: "mx.b.test!a.test!1796083200!1796169599!abc.xml.gz", Gzip: bytes.Repeat([]byte{0x1f, 0x8b, 0, 255}, 100)}
}

// A mail program reads the report that was attached. The message is the same each time.
func TestMail(t *testing.T) {
	m := sample()
	if !bytes.Equal(m.Bytes(), m.Bytes()) {
		t.Error("two copies of the message differ")
	}
	read, err := mail.ReadMessage(bytes.NewReader(m.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	from, err := read.Header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Name != m.OrgName || from[0].Address != m.From {
		t.Errorf("From: %v %v", from, err)
	}
	if got := read.Header.Get("Subject"); got != m.Subject {
		t.Errorf("Subject: %q", got)
	}
	if date, err := read.Header.Date(); err != nil || !date.Equal(m.Date) {
		t.Errorf("Date: %v %v", date, err)
	}
	_, params, err := mime.ParseMediaType(read.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(read.Body, params["boundary"])
	if _, err := parts.NextPart(); err != nil {
		t.Fatal(err)
	}
	part, err := parts.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, part))
	if err != nil || !bytes.Equal(got, m.Gzip) || part.FileName() != m.File || part.Header.Get("Content-Type") != "application/gzip" {
		t.Errorf("%v %q %v %v", err, part.FileName(), part.Header, len(got))
	}
	for line := range strings.SplitSeq(string(m.Bytes()), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n") || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			t.Errorf("line %q", line)
		}
	}
}

// A name outside ASCII is encoded.
func TestOrgName(t *testing.T) {
	m := sample()
	m.OrgName = "Bücher & Söhne, eine Gesellschaft mit einem recht langen Namen in der schönen Stadt Köln am Rhein"
	read, err := mail.ReadMessage(bytes.NewReader(m.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if from, err := read.Header.AddressList("From"); err != nil || from[0].Name != m.OrgName {
		t.Errorf("%v %v", from, err)
	}
}
