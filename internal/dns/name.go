package dns

import (
	"errors"
	"strings"

	"github.com/miekg/dns"
)

// canonical returns a name in canonical form: lower case, with the final dot and zone-file escapes. It returns an error if name cannot be a
// DNS name.
func canonical(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	if hostLike(name) {
		return strings.ToLower(name + "."), nil
	}
	if name == "" {
		return "", errors.New("an empty name")
	}
	if strings.Contains("."+name, "..") {
		return "", errors.New("not a domain name")
	}
	// All bytes except dots are literal, because SPF macros insert text that a sender chooses.
	var text strings.Builder
	for i := range len(name) {
		if strings.IndexByte(`\"(); @`, name[i]) >= 0 {
			text.WriteByte('\\')
		}
		text.WriteByte(name[i])
	}
	text.WriteByte('.')
	return respell(text.String())
}

// hostLike reports whether a name is a DNS name without bytes that zone files escape. Almost all names are.
func hostLike(name string) bool {
	const maxName, maxLabel = 253, 63 // RFC 1035 section 2.3.4; maxName does not count the final dot and the root label
	label := 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.' && label > 0:
			label = 0
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c >= 'A' && c <= 'Z':
			if label++; label > maxLabel {
				return false
			}
		default:
			return false
		}
	}
	return label > 0 && len(name) <= maxName
}

// respell converts a name from any zone-file spelling to canonical form. The library returns names from the network in that form.
func respell(text string) (string, error) {
	var wire [256]byte
	n, err := dns.PackDomainName(text, wire[:], 0, nil, false)
	if err != nil || n > 255 {
		return "", errors.New("not a domain name")
	}
	back, _, err := dns.UnpackDomainName(wire[:n], 0)
	if err != nil {
		return "", errors.New("not a domain name")
	}
	return dns.CanonicalName(back), nil
}
