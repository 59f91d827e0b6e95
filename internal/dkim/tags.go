package dkim

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// parseTags parses a tag-list: RFC 6376 section 3.2. A duplicate tag makes the whole list invalid. White space around values is
// removed. Empty parts between semicolons are ignored, because many key records have them.
func parseTags(s string) (map[string]string, *Fault) {
	tags := make(map[string]string, 12)
	for spec := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(spec, "=")
		name = trimFWS(name)
		if !ok {
			if name == "" {
				continue
			}
			return nil, &Fault{Cause: TagWithoutEqualsSign}
		}
		if !validTagName(name) {
			return nil, &Fault{Cause: MalformedTagName}
		}
		if _, twice := tags[name]; twice {
			return nil, tagFault(DuplicateTag, name)
		}
		value = trimFWS(value)
		if !validTagValue(value) {
			return nil, tagFault(InvalidCharacterInTag, name)
		}
		tags[name] = value
	}
	return tags, nil
}

// fws contains the bytes of folding white space.
const fws = " \t\r\n"

func isFWS(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimFWS(s string) string {
	for s != "" && isFWS(s[0]) {
		s = s[1:]
	}
	for s != "" && isFWS(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func validTagName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '_')) {
			return false
		}
	}
	return s != ""
}

// validTagValue allows printable ASCII, folding white space and, by RFC 8616 section 5, UTF-8.
func validTagValue(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == 0x7f || c < 0x20 && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

func untilFWS(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' && isFWS(s[i]) {
			return i
		}
	}
	return len(s)
}

// stripFWS removes folding white space, which may occur anywhere in base64 and between the items of a list.
func stripFWS(s string) string {
	end := untilFWS(s)
	if end == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for s != "" {
		b.WriteString(s[:end])
		for s = s[end:]; s != "" && isFWS(s[0]); {
			s = s[1:]
		}
		end = untilFWS(s)
	}
	return b.String()
}

// decodeBase64 decodes base64 with folding white space in it. Padding may be missing or incomplete, and unused bits of the last character
// may be set. Some signers write such base64, and other verifiers accept it. Too much padding is an error, and so is text without data.
func decodeBase64(s string) ([]byte, error) {
	s = stripFWS(s)
	data := strings.TrimRight(s, "=")
	if data == "" || len(s)-len(data) > (4-len(data)%4)%4 {
		return nil, errors.New("not base64")
	}
	return base64.RawStdEncoding.DecodeString(data)
}

// listHas reports whether a colon-separated list contains one of words. Values are case-sensitive: RFC 6376 section 3.2.
func listHas(list string, words ...string) bool {
	for item := range strings.SplitSeq(list, ":") {
		if slices.Contains(words, trimFWS(item)) {
			return true
		}
	}
	return false
}

// decodeQP decodes dkim-quoted-printable (RFC 6376 section 2.11), which i= may use in its local part.
func decodeQP(s string) (string, *Fault) {
	s = stripFWS(s)
	if !strings.Contains(s, "=") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		hi, lo := -1, -1
		if i+2 < len(s) {
			hi, lo = unhex(s[i+1]), unhex(s[i+2])
		}
		if hi < 0 || lo < 0 {
			if _, err := hex.DecodeString(s[i+1 : min(i+3, len(s))]); err == nil && i+2 < len(s) {
				return "", &Fault{Cause: LowerCaseEscapeInIdentity}
			}
			return "", &Fault{Cause: BareEqualsSignInIdentity}
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F': // upper case only: RFC 6376 section 2.11
		return int(c-'A') + 10
	}
	return -1
}
