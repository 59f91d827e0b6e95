package policy

import (
	"fmt"
	"strings"

	"signpost/internal/dkim"
)

// LongLines returns a warning about the long lines of a signed message in words, or "" if it has none.
func LongLines(l *dkim.LongLines) string {
	if l == nil {
		return ""
	}
	var all []string
	if n := l.LongestLineBytes; n > 0 {
		where := "the body"
		if l.Field != "" {
			where = l.Field
		}
		all = append(all, fmt.Sprintf("a line of %d bytes in %s: Postfix breaks lines over %d bytes when it sends the message, which breaks the signature",
			n, where, dkim.MaxLine))
	}
	if len(l.Unsigned) > 0 {
		all = append(all, fmt.Sprintf("a line over %d bytes in %s: not signed, so that breaking the line does not break the signature",
			dkim.MaxLine, strings.Join(l.Unsigned, ", ")))
	}
	return strings.Join(all, "; ")
}

// Absent returns a note about missing fields of a signed message in words, or "" if none is missing.
func Absent(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "no " + strings.Join(names, " and no ") + ": adding one does not break the signature"
}
