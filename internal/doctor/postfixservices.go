package doctor

import (
	"net"
	"slices"
	"strings"
)

// host is the address that an inet service listens on, empty: those of inet_interfaces. port may be a name.
func (s *service) host() string {
	host, _ := s.listens()
	return host
}

func (s *service) listens() (host, port string) {
	name, kind, _ := strings.Cut(s.id, "/")
	if kind != "inet" {
		return "", ""
	}
	if host, port, err := net.SplitHostPort(name); err == nil {
		return host, port
	}
	return "", name
}

// loopback says whether only this machine reaches a service.
func (l *site) loopback(s *service) bool {
	if host := s.host(); host != "" {
		ip := net.ParseIP(host)
		return host == "localhost" || ip != nil && ip.IsLoopback()
	}
	addresses := words(l.facts.get(s, "inet_interfaces"))
	return len(addresses) > 0 && !slices.ContainsFunc(addresses, func(a string) bool {
		ip := net.ParseIP(strings.Trim(a, "[]"))
		return a != "loopback-only" && a != "localhost" && (ip == nil || !ip.IsLoopback())
	})
}

// filters are the parameters that send mail through a filter, which puts it back in.
func filters() []string { return []string{"content_filter", "smtpd_proxy_filter"} }

// comesBack says whether a service takes back what a filter has seen: it listens on an address of loopback that it names
// itself, and either takes the filter's name off for itself, or there is a filter and it has none.
func (l *site) comesBack(s *service) bool {
	if s.command != "smtpd" || s.host() == "" || !l.loopback(s) {
		return false
	}
	for _, name := range filters() {
		if v, ok := s.over[name]; ok && v == "" {
			return true
		}
		if l.facts.get(s, name) != "" {
			return false
		}
	}
	return slices.ContainsFunc(l.facts.services, func(other service) bool {
		return slices.ContainsFunc(filters(), func(name string) bool { return l.facts.get(&other, name) != "" })
	})
}
