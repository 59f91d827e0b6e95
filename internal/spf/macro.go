package spf

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"signpost/internal/domain"
)

// maxName is the maximum length of a domain name in bytes: RFC 1035 section 3.1, without the length octets of the wire format.
const maxName = 253

// expand returns a domain-spec with its macros expanded: RFC 7208 section 7. known is false if the result cannot be a DNS name, so that
// nothing matches it. RFC 8616 section 4 requires this for a result that is not ASCII.
func (e *evaluation) expand(ctx context.Context, spec DomainSpec, domain string) (name string, known bool) {
	var b strings.Builder
	s := string(spec)
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++ // the parser ensures that a byte follows
		switch s[i] {
		case '%':
			b.WriteByte('%')
		case '_':
			b.WriteByte(' ')
		case '-':
			b.WriteString("%20")
		default:
			body, _, _ := strings.Cut(s[i+1:], "}")
			b.WriteString(e.macro(ctx, body, domain))
			i += len(body) + 1
		}
	}
	name = strings.TrimSuffix(b.String(), ".")
	// Section 7.3: labels are removed from the left of a name that is too long.
	for len(name) > maxName {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return name, false
		}
		name = rest
	}
	return name, ascii(name)
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// macro returns the value of a macro. body is the text between the braces: a letter, the number of parts, r, and delimiters.
func (e *evaluation) macro(ctx context.Context, body, domain string) string {
	value := e.value(ctx, body[0]|0x20, domain)
	rest := strings.TrimLeft(body[1:], "0123456789")
	digits := body[1 : len(body)-len(rest)]
	reverse := rest != "" && rest[0]|0x20 == 'r'
	if reverse {
		rest = rest[1:]
	}
	delimiters := rest
	if delimiters == "" {
		delimiters = "."
	}
	// Empty parts are kept, so that a value that is split at "." and joined again is unchanged.
	parts := split(value, delimiters)
	if reverse {
		slices.Reverse(parts)
	}
	if digits != "" {
		// A number larger than the number of parts means all parts.
		if n, err := strconv.Atoi(digits); err == nil && n < len(parts) {
			parts = parts[len(parts)-n:]
		}
	}
	value = strings.Join(parts, ".")
	if body[0] >= 'A' && body[0] <= 'Z' {
		value = escape(value)
	}
	return value
}

func split(s, delimiters string) []string {
	var parts []string
	for {
		i := strings.IndexAny(s, delimiters)
		if i < 0 {
			return append(parts, s)
		}
		parts = append(parts, s[:i])
		s = s[i+1:]
	}
}

// value returns the value of a macro letter: section 7.2. The letters c, r and t occur in explanations only.
func (e *evaluation) value(ctx context.Context, letter byte, domain string) string {
	switch letter {
	case 's':
		return e.local + "@" + e.sender
	case 'l':
		return e.local
	case 'o':
		return e.sender
	case 'd':
		return domain
	case 'i':
		return e.address()
	case 'p':
		return e.clientName(ctx, domain)
	case 'v':
		if e.client.Is6() {
			return "ip6"
		}
		return "in-addr"
	case 'h':
		return e.helo
	}
	return ""
}

// address returns the value of %{i}: an IPv4 address, or the hexadecimal digits of an IPv6 address with dots between them.
func (e *evaluation) address() string {
	if e.client.Is4() {
		return e.client.String()
	}
	var parts []string
	for _, b := range e.client.As16() {
		parts = append(parts, fmt.Sprintf("%x", b>>4), fmt.Sprintf("%x", b&15))
	}
	return strings.Join(parts, ".")
}

// clientName returns the value of %{p} (section 7.3): the domain itself if it is a verified name of the client. Otherwise it is a verified
// name below the domain or, if there is none, any other verified name.
func (e *evaluation) clientName(ctx context.Context, own string) string {
	names := e.validated(ctx)
	own = strings.ToLower(own)
	if slices.Contains(names, own) {
		return own
	}
	if i := slices.IndexFunc(names, func(n string) bool { return domain.Within(n, own) }); i >= 0 {
		return names[i]
	}
	if len(names) > 0 {
		return names[0]
	}
	return "unknown"
}

// escape returns the value of a macro whose letter is in upper case. It escapes all characters except the unreserved ones of RFC 3986
// section 2.3.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isAlnum(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
