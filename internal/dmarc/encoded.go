package dmarc

import (
	"errors"
	"io"
	"mime"
	"strings"
	"unicode"
)

// hidesAddress reports whether the decoded words of a From field could hide the address in a program that displays them unchanged. Words
// that contain a NUL could hide the address, and so could words that contain a line end and an address. A line end without an address is
// accepted, because some scripts add one by mistake.
func hidesAddress(s string) bool {
	text, _ := decodeWords(s, func(_ string, r io.Reader) (io.Reader, error) { return r, nil })
	return strings.IndexByte(text, 0) >= 0 || strings.ContainsAny(text, "\r\n") && strings.Contains(text, "@")
}

// namesOnly reports whether all encoded words of a display name can be decoded and contain no address. It returns false if a word cannot be
// decoded. It also returns false for a character set that can encode @ differently from the byte 0x40, such as UTF-7.
func namesOnly(name string) bool {
	text, rest := decodeWords(name, func(charset string, r io.Reader) (io.Reader, error) {
		for _, known := range []string{"utf-8*", "iso-8859-", "iso-2022-jp", "windows-125", "koi8-", "shift_jis", "euc-", "gb", "big5"} {
			if strings.HasPrefix(charset, known) {
				return r, nil
			}
		}
		return nil, errors.New("unknown character set")
	})
	return !strings.ContainsAny(text, "@<>") && !strings.Contains(text+rest, "=?")
}

// decodeWords returns the text of all encoded words (RFC 2047 section 2), wherever they occur. Some programs decode them even where section
// 5 forbids them. rest is the remaining text, including words that cannot be decoded.
func decodeWords(s string, charset func(string, io.Reader) (io.Reader, error)) (text, rest string) {
	decoder := mime.WordDecoder{CharsetReader: charset}
	var decoded, other strings.Builder
	for {
		before, after, ok := strings.Cut(s, "=?")
		other.WriteString(before)
		if !ok {
			return decoded.String(), other.String()
		}
		s = after
		parts := strings.SplitN(after, "?", 4) // character set, encoding, text
		if len(parts) == 4 && strings.HasPrefix(parts[3], "=") {
			if word, err := decoder.Decode("=?" + strings.Join(parts[:3], "?") + "?="); err == nil {
				decoded.WriteString(word)
				s = parts[3][1:]
				continue
			}
		}
		other.WriteString("=?")
	}
}

// shownAsIs reports whether programs display a local part unchanged. It returns false if the local part contains an encoded word; some
// programs decode it, although RFC 2047 section 5 forbids it in an address. It also returns false for a character that reverses the text
// or breaks the line.
func shownAsIs(local string) bool {
	if _, rest, ok := strings.Cut(local, "=?"); ok && strings.Contains(rest, "?=") {
		return false
	}
	return !strings.ContainsFunc(local, func(r rune) bool {
		return r >= 0x80 && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp))
	})
}
