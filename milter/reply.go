package milter

import (
	"fmt"
	"strings"
)

// maxReply is the length of a reply's text: RFC 5321 section 4.5.3.1.5 allows 512 octets a line, code and CRLF included.
const maxReply = 480

// replyText returns the text of SMFIR_REPLYCODE: one line, with "%" doubled, since Postfix passes it to a printf.
func replyText(r Reply) string {
	text := plain(r.Text)
	if len(text) > maxReply {
		text = text[:maxReply]
	}
	return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, strings.ReplaceAll(text, "%", "%%"))
}

// plain replaces whatever is not printable ASCII: RFC 5321 section 4.2 allows nothing else in replies.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
