package spf

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"signpost/internal/domain"
)

// maxName is the length of a domain name (RFC 1035 section 3.1, without the octets of the wire).
const maxName = 253

// expand gives the name that a domain-spec stands for: RFC 7208 section 7. known is false where it can be no name in DNS, so
// that nothing matches it: RFC 8616 section 4 has that for what is not ASCII.
func (e *evaluation) expand(ctx context.Context, spec DomainSpec, domain string) (name string, known bool) {
	var b strings.Builder
	s := string(spec)
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++ // the parser has seen that something follows
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
	// Section 7.3: what is too long loses labels from the left.
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
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// macro gives the value of what stands between the braces: a letter, how many parts count, r, and where it is cut.
func (e *evaluation) macro(ctx context.Context, body, domain string) string {
	value := e.value(ctx, body[0]|0x20, domain)
	rest := strings.TrimLeft(body[1:], "0123456789")
	digits := body[1 : len(body)-len(rest)]
	rest, reverse := cutReverse(rest)
	delimiters := rest
	if delimiters == "" {
		delimiters = "."
	}
	// Empty parts stay: what is cut at "." and joined again is the same.
	parts := split(value, delimiters)
	if reverse {
		slices.Reverse(parts)
	}
	if digits != "" {
		// A number that is larger than any name has parts is as good as that.
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

func cutReverse(s string) (rest string, reverse bool) {
	if s != "" && s[0]|0x20 == 'r' {
		return s[1:], true
	}
	return s, false
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

// value is the letter's: section 7.2. The letters c, r and t are for explanations, which are not given.
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

// address has dots between the numbers of an IPv4 address, and between the half octets of an IPv6 one.
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

// clientName: section 7.3: of the client's verified names the domain itself, else one below it, else any.
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

// escape is for the letters in upper case: RFC 3986 section 2.3 has what stands as it is.
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
