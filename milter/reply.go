package milter

import (
	"fmt"
	"strings"
)

// maxReply limits the text of a reply, in bytes. RFC 5321 section 4.5.3.1.5 allows lines of 512 octets, with code and CRLF.
const maxReply = 480

// replyText returns the data of SMFIR_REPLYCODE: one line. "%" is doubled, because Postfix passes it to a printf function.
func replyText(r Reply) string {
	text := plain(r.Text)
	if len(text) > maxReply {
		text = text[:maxReply]
	}
	return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, strings.ReplaceAll(text, "%", "%%"))
}

// plain replaces each character that is not printable ASCII by "?": RFC 5321 section 4.2 allows no other characters in replies.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
