package dmarc

import (
	"io"
	"mime"
	"strings"
	"unicode"
)

// hidesAddress says whether the encoded words of a From field hide the address from a reader whose program shows them as
// they come out: up to a NUL, or as an address on a line of its own. A line end without an address is a sloppy script's.
func hidesAddress(s string) bool {
	text := decodeWords(s)
	return strings.IndexByte(text, 0) >= 0 || strings.ContainsAny(text, "\r\n") && strings.Contains(text, "@")
}

// decodeWords gives the text of all encoded words (RFC 2047 section 2), wherever they stand: some programs decode them even
// where section 5 forbids them. An octet of a character set that is not known stands for itself.
func decodeWords(s string) string {
	decoder := mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}
	var b strings.Builder
	for {
		_, rest, ok := strings.Cut(s, "=?")
		if !ok {
			return b.String()
		}
		s = rest
		parts := strings.SplitN(rest, "?", 4) // character set, encoding, text
		if len(parts) < 4 || !strings.HasPrefix(parts[3], "=") {
			continue
		}
		if text, err := decoder.Decode("=?" + strings.Join(parts[:3], "?") + "?="); err == nil {
			b.WriteString(text)
			s = parts[3][1:]
		}
	}
}

// shownAsIs is false for a local part that a reader is shown as something else: an encoded word, which RFC 2047 section 5
// forbids in an address, and which some programs decode all the same; and what turns the text around or breaks its line.
func shownAsIs(local string) bool {
	if _, rest, ok := strings.Cut(local, "=?"); ok && strings.Contains(rest, "?=") {
		return false
	}
	return !strings.ContainsFunc(local, func(r rune) bool {
		return r >= 0x80 && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp))
	})
}
