// Package hostheader checks the Host header field of HTTP requests. A page in a browser can resolve a name of its own to
// this host and then read what we answer (DNS rebinding). Such a request carries that name in Host.
package hostheader

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/domain"
)

// Own reports whether host, with or without a port, is an IP address, localhost, or one of names, which are in lower case.
// No foreign name can be rebound to these.
func Own(host string, names []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = domain.Fold(host)
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return host == "localhost" || slices.Contains(names, host)
}
