package domain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ParseHosted is like ParseArgument, but for a domain that will get a key. It returns an error if no mail can come from the domain, or if
// the domain cannot be in DNS.
func ParseHosted(s string) (string, error) {
	name := strings.TrimSuffix(s, ".")
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return "", fmt.Errorf("%q is an IP address: a key signs for a domain", s)
	}
	if _, at, isAddress := strings.Cut(name, "@"); isAddress {
		return "", fmt.Errorf("%q is an address: a key signs for a whole domain\nhint: use %q", s, at)
	}
	name, err := Parse(name)
	if err != nil {
		return "", fmt.Errorf("%q is not a domain name", s)
	}
	if selector, of, isRecord := strings.Cut(name, "._domainkey."); isRecord {
		return "", fmt.Errorf("%q is the name of a key's record\nhint: the domain is %s, the selector is %s (--selector %s)", s, of, selector, selector)
	}
	labels := strings.Split(name, ".")
	top := labels[len(labels)-1]
	switch {
	case strings.Contains(name, "_"):
		return "", fmt.Errorf("%q has an underscore: no mail can come from such a domain (RFC 5321 section 4.1.2)", s)
	// RFC 6761 sections 6.3 and 6.4, RFC 7686.
	case slices.Contains([]string{"localhost", "invalid", "onion"}, top):
		return "", fmt.Errorf("%q: names under %s are never in DNS, so the key record cannot be published", s, top)
	case len(labels) == 1:
		return "", fmt.Errorf("%q is a single label: a top-level domain, or a host name without its domain", s)
	// RFC 3696 section 2.
	case strings.Trim(top, "0123456789") == "":
		return "", fmt.Errorf("%q: no top-level domain is a number", s)
	}
	return name, nil
}
