// Package authres reads and writes Authentication-Results header fields: RFC 8601.
//
// [Format] writes the [Result] values of a message. [ReadClaim] reports whether a field of the message claims to be ours. Signpost removes
// such a field if the client is not authenticated. [Read] parses a field strictly. [ReadTrusted] parses a field of a trusted sealer
// leniently.
//
//	value := authres.Format("mx.example.org", []authres.Result{{
//		Method: "spf", Value: "pass",
//		Props: []authres.Prop{{Type: "smtp", Name: "mailfrom", Value: "example.com"}},
//	}})
//	// value is " mx.example.org;
//	spf=pass smtp.mailfrom=example.com".
package authres

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"signpost/internal/domain"

	"golang.org/x/net/idna"
)

// FieldName is the name of the header field.
const FieldName = "Authentication-Results"

// Claim states whose results a field claims to contain: ours, or those of another host.
type Claim int

// The values of Claim. Only a field of another host that can be parsed is Foreign.
const (
	Foreign    Claim = iota
	Ours             // the field has our authserv-id
	Unreadable       // the field cannot be parsed, or contains our name before the first result; a program may treat it as ours
	Unnamed          // the field has no authserv-id and does not contain our name
)

// maxID is the length in bytes of the longest authserv-id: the longest domain name in UTF-8. The time to convert U-labels grows with the
// square of the length.
const maxID = 4 * 253

// ReadClaim compares the authserv-id of a field's value with ours and its aliases. It recognizes every spelling that RFC 8601 section 2.2
// allows: case, comments, quotes, a version, folds, A-labels and U-labels.
//
// Some filters do not parse the field: they search it for our name, split it at the first semicolon, or match its beginning. So our name
// anywhere before the first result is also a claim. A field that cannot be parsed is also a claim.
func ReadClaim(value string, ids []string) Claim {
	if len(value) > maxRead || !plain(value) {
		return Unreadable
	}
	start, ok := skipCFWS(value)
	if !ok {
		return Unreadable
	}
	if start == "" || start[0] == ';' {
		return unlessMentioned(Unnamed, value, start, ids)
	}
	if _, _, ok := readResult(start); ok {
		return unnamed(value, start, ids)
	}
	id, rest, ok := readValue(start)
	if !ok || id == "" || len(id) > maxID {
		return Unreadable
	}
	// Some programs implement RFC 5451 as "id/version".
	bare, _, _ := strings.Cut(id, "/")
	foldedID, foldedBare := fold(id), fold(bare)
	for _, own := range ids {
		if folded := fold(own); own != "" && (folded == foldedID || folded == foldedBare) {
			return Ours
		}
	}
	if rest, ok = skipVersion(rest); !ok || !nameable(bare) {
		return Unreadable
	}
	return unlessMentioned(Foreign, value, rest, ids)
}

// unlessMentioned returns claim or Unreadable. It returns claim if the results can be parsed and our name does not precede them. rest is
// the end of value, which contains the results.
func unlessMentioned(claim Claim, value, rest string, ids []string) Claim {
	_, first, ok := readResults(rest)
	if head := value[:len(value)-len(first)]; !ok || mentions(head, ids) {
		return Unreadable
	}
	return claim
}

// unnamed returns the claim of a value that has no id before its results, which begin at start. Exchange Online writes such fields. In some
// of these fields, domains replace results between the semicolons. So the function unnamed also accepts results that cannot be parsed.
func unnamed(value, start string, ids []string) Claim {
	if _, _, ok := readResults(";" + start); !ok && mentions(value, ids) || mentions(value[:len(value)-len(start)], ids) {
		return Unreadable
	}
	return Unnamed
}

// mentions reports whether a lenient reader could find one of ids in text, as A-labels or U-labels. Such a reader may ignore case, and may
// remove quotes, escapes, folds and invalid bytes. A single label counts only as a whole name, because many names contain it. An encoded
// word (RFC 2047) also counts, because it can decode to any text.
func mentions(text string, ids []string) bool {
	if strings.Contains(text, "=?") {
		return true
	}
	text = strings.ToLower(strings.ToValidUTF8(text, ""))
	if dropped := "\\\"'\r\n"; strings.ContainsAny(text, dropped) {
		text = strings.Map(func(r rune) rune {
			if strings.ContainsRune(dropped, r) {
				return -1
			}
			return r
		}, text)
	}
	has := func(name string) bool {
		return strings.Contains(text, name) && (strings.Contains(name, ".") || containsName(text, name))
	}
	for _, own := range ids {
		a := fold(own)
		if a == "" {
			continue
		}
		u := a
		if strings.Contains(a, "xn--") {
			u, _ = idna.ToUnicode(a)
		}
		if has(a) || has(u) {
			return true
		}
	}
	return false
}

// containsName reports whether text contains name as a whole name. A part of a longer name does not count.
func containsName(text, name string) bool {
	isPart := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-._", r) }
	return slices.Contains(strings.FieldsFunc(text, func(r rune) bool { return !isPart(r) }), name)
}

// plain reports whether a value has no control characters, and no line ends outside of folds. Programs interpret other line ends in
// different ways.
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

// nameable reports whether an id is a token (RFC 2045 section 5.1) or a name with U-labels. A program may parse other ids wrongly: it may
// cut, trim, unquote or split an id, and then find our name.
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

// fold returns a name with A-labels, in the form that is used to compare names. RFC 8601 section 5 requires a comparison of U-labels, which
// has the same result.
func fold(s string) string {
	s = domain.Fold(s)
	if strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		if a, err := idna.Lookup.ToASCII(s); err == nil {
			return a
		}
	}
	return s
}

// readValue reads a token or a quoted string. It accepts more characters in a token than RFC 2045, so that an id with an unusual
// character is found.
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
