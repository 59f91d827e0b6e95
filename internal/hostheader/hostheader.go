// Package hostheader checks the Host header field of HTTP requests, to prevent DNS rebinding. In that attack, a web site changes the DNS
// record of its own name to the address of this host. A browser then lets the site's page read the answers. The Host field of such a
// request has the name of the web site. For example:
//
//	if !hostheader.Own(r.Host, names) {
//		http.Error(w, "unknown host", http.StatusForbidden)
//	}
package hostheader

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/domain"
)

// Own reports whether host, with or without a port, is an IP address, localhost, or one of names. The names are in lower case. A web site
// cannot use these hosts for DNS rebinding.
func Own(host string, names []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = domain.Fold(host)
	address := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		address = host[1 : len(host)-1]
	}
	if _, err := netip.ParseAddr(address); err == nil {
		return true
	}
	return host == "localhost" || slices.Contains(names, host)
}
