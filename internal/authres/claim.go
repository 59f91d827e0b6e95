// Package authres is about the Authentication-Results header field of RFC 8601.
package authres

import (
	"strings"
	"unicode/utf8"

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

// maxID is how many octets an authserv-id has at most: as many as a domain name in UTF-8. U-labels take a time that grows
// with the square of the length.
const maxID = 4 * 253

// ReadClaim finds the authserv-id of a field's value and compares it with ours and its aliases, in every spelling that RFC
// 8601 section 2.2 allows: case, comments, quotes, a version, folds, A-labels and U-labels.
func ReadClaim(value string, ids []string) Claim {
	if !plain(value) {
		return Unreadable
	}
	start, ok := skipCFWS(value)
	if !ok || start == "" {
		return Unreadable
	}
	id, rest, ok := readValue(start)
	if !ok || id == "" {
		return Unreadable
	}
	if len(id) > maxID {
		return Unreadable
	}
	before := strings.ToLower(value[:len(value)-len(start)])
	// RFC 5451 was read by some as "id/version".
	bare, _, _ := strings.Cut(id, "/")
	foldedID, foldedBare := fold(id), fold(bare)
	for _, own := range ids {
		if own == "" {
			continue
		}
		if folded := fold(own); folded == foldedID || folded == foldedBare {
			return Ours
		}
		// In a comment before the id it has no honest use, and not every program knows where a nested one ends.
		if strings.Contains(before, strings.ToLower(own)) {
			return Unreadable
		}
	}
	// RFC 2047 section 5 has encoded words in comments only; a program that decodes them first reads whatever they say.
	if !nameable(bare) || strings.Contains(value[:len(value)-len(rest)], "=?") {
		return Unreadable
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

// plain is false for a value with control characters, or line ends that begin no fold: programs part it differently.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\n':
			if i+1 < len(s) && s[i+1] != ' ' && s[i+1] != '\t' {
				return false
			}
		case c == '\r':
			if i+1 < len(s) && s[i+1] != '\n' {
				return false
			}
		case c == 0x7f || c < ' ' && c != '\t':
			return false
		}
	}
	return true
}

// nameable says whether an id is a token (RFC 2045 section 5.1) or a name with U-labels. Another one a sloppy reader may
// cut, trim, unquote or split before it compares, and so come to our name.
func nameable(id string) bool {
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c == 0x7f || strings.IndexByte("()<>@,;:\\\"/[]?=", c) >= 0 {
			return false
		}
		if id[i] >= 0x80 {
			_, err := idna.Lookup.ToASCII(id)
			return err == nil && utf8.ValidString(id)
		}
	}
	return id != ""
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
