package dmarc

import (
	"strings"
	"unicode/utf8"
)

// escape begins the shift sequences of ISO-2022-JP: RFC 1468.
const escape = "\x1b"

// loose reads a field that the grammar rejects because of its display name, such as
//
//	Acme, Inc. <news@example.org>
//
// It accepts one address in angle brackets at the end of the field, if there is no other @ anywhere (RFC 7103 section 7). So every program
// finds the same domain, even if it reads the display name differently.
func loose(text string) (a Address, ok bool) {
	text = strings.TrimRight(text, " \t")
	open := strings.LastIndexByte(text, '<')
	if open < 0 || !strings.HasSuffix(text, ">") || strings.Count(text, "@") != 1 {
		return Address{}, false
	}
	name, ok := unshift(text[:open])
	if !ok || strings.ContainsAny(name, "<>") || !balanced(name) || !namesOnly(text[:open]) {
		return Address{}, false
	}
	p := &parser{s: text, i: open}
	if p.angle("") != nil || p.i != len(text) {
		return Address{}, false
	}
	return p.addresses[0], true
}

// unshift removes the Japanese text of ISO-2022-JP, because its bytes look like ASCII punctuation. ok is false if s contains another
// escape sequence, or does not end in ASCII.
func unshift(s string) (ascii string, ok bool) {
	var b strings.Builder
	first, rest, shifted := strings.Cut(s, escape)
	b.WriteString(first)
	for shifted {
		var part string
		part, rest, shifted = strings.Cut(rest, escape)
		switch {
		case strings.HasPrefix(part, "(B"), strings.HasPrefix(part, "(J"): // ASCII and its Japanese variant
			b.WriteString(part[2:])
		case shifted && (strings.HasPrefix(part, "$B") || strings.HasPrefix(part, "$(D") || strings.HasPrefix(part, "(I")):
		default:
			return "", false
		}
	}
	return b.String(), true
}

// balanced reports whether all quoted strings in a display name end. A name in Shift_JIS or Big5 is not checked: the second
// byte of a character can be a backslash.
func balanced(name string) bool {
	if !utf8.ValidString(name) {
		return true
	}
	p := &parser{s: name}
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case '\\':
			p.i += 2
		case '"':
			if p.quoted() != nil {
				return false
			}
		default:
			p.i++
		}
	}
	return true
}
