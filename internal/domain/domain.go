// Package domain parses domain names and converts them to a single form. Signpost compares, queries and logs names in this form.
package domain

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxInput limits the number of bytes that Parse converts to A-labels: a name of 253 characters of up to 4 bytes. The time of the
// conversion grows with the square of the length: half a minute for 100 KiB.
const maxInput = 4 * 253

// Parse returns a domain name as lower-case A-labels. It converts U-labels as in RFC 8616 section 5. A final dot is an error, and so is a
// character other than letters, digits, hyphens, underscores and dots. Because of these checks, no other character reaches a DNS query, the
// log or a header field.
func Parse(s string) (string, error) {
	if len(s) > maxInput || !utf8.ValidString(s) {
		return "", notName()
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		a, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", notName()
		}
		s = a
	}
	if s == "" || len(s) > 253 {
		return "", notName()
	}
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return "", notName()
		}
	}
	return strings.ToLower(s), nil
}

// ParseArgument is like Parse, but for a name that a person wrote, for example in a command line, a file of domains or the configuration.
// It accepts a final dot, and its error quotes the name.
func ParseArgument(s string) (string, error) {
	name, err := Parse(strings.TrimSuffix(s, "."))
	if err != nil {
		return "", fmt.Errorf("%q is %w", s, err)
	}
	return name, nil
}

// Forms returns the forms in which a program may have stored a name that Parse returned: as A-labels and, if it has any, with U-labels.
func Forms(name string) []string {
	u, err := idna.Display.ToUnicode(name)
	if err != nil || u == name {
		return []string{name}
	}
	return []string{name, u}
}

// notName returns the error of Parse.
func notName() error { return errors.New("not a domain name") }

// validLabel reports whether s is a label of letters, digits and hyphens (RFC 5321) or underscores, which selectors in use
// contain.
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

// Fold returns a name in lower case without its final dot. It does not check the name.
func Fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Within reports whether name is parent or a subdomain of it. Both are in the form that Parse returns.
func Within(name, parent string) bool {
	return name == parent || strings.HasSuffix(name, "."+parent)
}
