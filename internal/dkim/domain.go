package dkim

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxName is how many octets are looked at: UTF-8 has four for a character at most, and a name 253 of those. What makes
// A-labels takes a time that grows with the square of the length, half a minute for 100 KiB.
const maxName = 4 * 253

// Domain brings a domain name into the one form in which names are compared here: lower-case A-labels, no final dot.
// U-labels are taken as RFC 8616 section 5 allows. A name that holds anything but letters, digits, hyphens, underscores
// and dots is an error, so that no octet of a stranger's reaches a DNS query, a log or a header unchecked.
func Domain(s string) (string, error) {
	if len(s) > maxName || !utf8.ValidString(s) {
		return "", errors.New("not a domain name")
	}
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			a, err := idna.Lookup.ToASCII(s)
			if err != nil {
				return "", errors.New("not a domain name")
			}
			s = a
			break
		}
	}
	if s == "" || len(s) > 253 {
		return "", errors.New("not a domain name")
	}
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return "", errors.New("not a domain name")
		}
	}
	return strings.ToLower(s), nil
}

// validLabel allows the underscore beside RFC 5321's letters, digits and hyphens: selectors in use have it.
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// Within says whether name is parent or a name below it. Both are in the form that Domain gives.
func Within(name, parent string) bool {
	return name == parent || strings.HasSuffix(name, "."+parent)
}
