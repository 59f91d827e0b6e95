// Package authres is about the Authentication-Results header field of RFC 8601.
package authres

import (
	"strings"

	"golang.org/x/net/idna"
)

// FieldName is the field's name.
const FieldName = "Authentication-Results"

// Claim says in whose name a field speaks.
type Claim int

// The claims. A field that cannot be read might be read by somebody: where results are removed it counts as ours.
const (
	Foreign Claim = iota
	Ours
	Unreadable
)

// ReadClaim finds the authserv-id of a field's value and compares it with ours and its aliases, in every spelling that RFC
// 8601 section 2.2 allows: case, comments, quotes, a version, folds, A-labels and U-labels.
func ReadClaim(value string, ids []string) Claim {
	if hasControl(value) {
		return Unreadable
	}
	rest, ok := skipCFWS(value)
	if !ok || rest == "" {
		return Unreadable
	}
	id, rest, ok := readValue(rest)
	if !ok || id == "" {
		return Unreadable
	}
	// RFC 5451 was read by some as "id/version".
	bare, _, _ := strings.Cut(id, "/")
	for _, own := range ids {
		if own != "" && (fold(id) == fold(own) || fold(bare) == fold(own)) {
			return Ours
		}
	}
	if rest, ok = skipCFWS(rest); !ok {
		return Unreadable
	}
	if rest = strings.TrimLeft(rest, "0123456789"); rest != "" {
		if rest, ok = skipCFWS(rest); !ok || rest != "" && rest[0] != ';' {
			return Unreadable
		}
	}
	return Foreign
}

// fold brings a name into the one form in which it is compared: RFC 8601 section 5 asks for U-labels, which is the same
// thing from the other side.
func fold(s string) string {
	s = strings.TrimSuffix(strings.ToLower(s), ".")
	if a, err := idna.Lookup.ToASCII(s); err == nil {
		return a
	}
	return s
}

// readValue reads a token or a quoted string. The token is wider than RFC 2045's, so that an id with an odd character is
// still seen.
func readValue(s string) (value, rest string, ok bool) {
	if s[0] != '"' {
		end := strings.IndexAny(s, " \t\r\n;(\"")
		if end < 0 {
			return s, "", true
		}
		return s[:end], s[end:], s[end] != '"'
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return strings.TrimSpace(b.String()), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
			b.WriteByte(s[i])
		case '\r', '\n': // a fold
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

// skipCFWS skips white space and comments, which may nest.
func skipCFWS(s string) (rest string, ok bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			i++
		case depth == 0 && !strings.ContainsRune(" \t\r\n", rune(c)):
			return s[i:], true
		}
	}
	return "", depth == 0
}
