package send

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"strings"
	"time"
)

// Mail is the message that carries one report to one address.
type Mail struct {
	From, OrgName string    // the header From
	To            string    // the address
	Subject       string    // RFC 9990 section 3.5.2
	MessageID     string    // without angle brackets
	Date          time.Time // when the report was frozen: the message is the same, byte for byte, each time it is sent
	Domain        string    // the Policy Domain
	Begin, End    time.Time // the first and the last second of the report
	File          string    // the name of the attachment
	Gzip          []byte    // the attachment
}

// base64Line is the number of bytes of an attachment in one line: RFC 2045 section 6.8 allows 76 characters.
const base64Line = 57

// Bytes returns the message with CRLF line ends. All lines have at most 998 bytes, and all bytes are ASCII.
func (m Mail) Bytes() []byte {
	boundary := "report-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, m.MessageID)
	boundary = boundary[:min(len(boundary), 70)] // RFC 2046 section 5.1.1
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("From: %s <%s>", displayName(m.OrgName), m.From)
	line("To: <%s>", m.To)
	line("Subject: %s", folded(m.Subject))
	line("Date: %s", m.Date.UTC().Format(time.RFC1123Z))
	line("Message-ID: <%s>", m.MessageID)
	line("Auto-Submitted: auto-generated")
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/mixed; boundary=%q", boundary)
	line("")
	line("--%s", boundary)
	line("Content-Type: text/plain; charset=us-ascii")
	line("")
	line("This is a DMARC aggregate report (RFC 9990) about mail from %s,", m.Domain)
	line("from %s to %s.", m.Begin.UTC().Format(time.RFC3339), m.End.UTC().Format(time.RFC3339))
	line("")
	line("--%s", boundary)
	line("Content-Type: application/gzip")
	line("Content-Transfer-Encoding: base64")
	line("Content-Disposition: attachment;\r\n filename=%q", m.File)
	line("")
	for rest := m.Gzip; len(rest) > 0; {
		n := min(base64Line, len(rest))
		line("%s", base64.StdEncoding.EncodeToString(rest[:n]))
		rest = rest[n:]
	}
	line("")
	line("--%s--", boundary)
	return b.Bytes()
}

// displayName returns a name as a phrase in a header field.
func displayName(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		return mime.BEncoding.Encode("utf-8", name) // in Q encoding, a comma would end the phrase
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

// folded breaks a Subject before each word that would make the line longer than 78 characters: RFC 5322 section 2.1.1.
func folded(subject string) string {
	const most = 78
	var b strings.Builder
	n := len("Subject: ")
	for i, word := range strings.Fields(subject) {
		switch {
		case i == 0:
		case n+1+len(word) > most:
			b.WriteString("\r\n ")
			n = 1
		default:
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String()
}
