package dkim

import (
	"bytes"
	"strings"
)

// MaxLine is the maximum length of a line of a message in bytes, without CRLF: RFC 5322 section 2.1.1. Postfix breaks longer lines when it
// sends a message by SMTP (smtp_line_length_limit): it inserts CRLF and a space after 998 bytes. No canonicalization ignores such a break
// in the body. In the header, relaxed ignores a break only if it is next to white space.
const MaxLine = 998

// LongLines describes the lines of a message that are longer than MaxLine.
type LongLines struct {
	// LongestLineBytes is the length of the longest line that is signed, without CRLF; 0 if no signed line is too long.
	LongestLineBytes int `json:"longest_line_bytes,omitempty"`
	// Field is the name of the header field that has this line; empty for the body.
	Field string `json:"field,omitempty"`
	// Unsigned are the names of the header fields that were not signed because one of their lines is too long.
	Unsigned []string `json:"unsigned,omitempty"`
}

// Found reports whether a line is too long.
func (l LongLines) Found() bool { return l.LongestLineBytes > 0 || len(l.Unsigned) > 0 }

func (l *LongLines) add(n int, field string) {
	if n > l.LongestLineBytes {
		l.LongestLineBytes, l.Field = n, field
	}
}

// longestLine returns the length in bytes of the longest line of a field, without CRLF.
func longestLine(f Field) int {
	n := len(f.Name) + len(":")
	if n+len(f.Value) <= MaxLine {
		return n + len(f.Value)
	}
	longest := 0
	for line := range strings.SplitSeq(f.Value, "\r\n") {
		longest = max(longest, n+len(line))
		n = 0
	}
	return longest
}

// lineMeter measures the lines of a body that is written in parts.
type lineMeter struct {
	ended int  // length of the longest line that has ended
	open  int  // bytes since the last LF
	cr    bool // the last of these bytes is CR
}

func (m *lineMeter) write(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		text := p
		if i >= 0 {
			text = p[:i]
		}
		if len(text) > 0 {
			m.open += len(text)
			m.cr = text[len(text)-1] == '\r'
		}
		if i < 0 {
			return
		}
		if m.cr {
			m.open--
		}
		m.ended = max(m.ended, m.open)
		m.open, m.cr = 0, false
		p = p[i+1:]
	}
}

// longest returns the length of the longest line so far, without its CRLF. The last line may have no CRLF.
func (m *lineMeter) longest() int { return max(m.ended, m.open) }
