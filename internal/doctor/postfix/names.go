package postfix

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// resolve returns the socket that a service opens. The service runs in the queue directory; in a chroot, absolute paths start there too.
func (l *site) resolve(address string, chroot bool) (network, at string) {
	kind, rest, _ := strings.Cut(address, ":")
	switch {
	case kind == "inet":
		return "tcp", rest
	case kind != "unix" && kind != "local":
		return "", address
	case chroot || !filepath.IsAbs(rest):
		return "unix", filepath.Join(l.postconf.main["queue_directory"], rest)
	}
	return "unix", filepath.Clean(rest)
}

// lookUp looks up the addresses of the hosts in the entries and in our sockets.
func (l *site) lookUp(ctx context.Context) {
	l.hosts = map[string][]netip.Addr{}
	var all []string
	for _, ln := range l.Listen {
		all = append(all, ln.Address)
	}
	for _, one := range l.allLists() {
		for _, e := range one.entries {
			all = append(all, strings.TrimPrefix(e.address, "inet:"))
		}
	}
	for _, address := range all {
		host, _, err := net.SplitHostPort(address)
		if _, known := l.hosts[host]; err != nil || known {
			continue
		}
		if a, err := netip.ParseAddr(host); err == nil {
			l.hosts[host] = []netip.Addr{a.Unmap()}
			continue
		}
		found, _ := l.Lookup(ctx, host) // the error is ignored, because Postfix cannot look up the name either
		for _, a := range found {
			l.hosts[host] = append(l.hosts[host], a.Unmap())
		}
	}
}

// protocol returns the network that Postfix uses for an inet address: inet_protocols.
func (l *site) protocol() string {
	switch strings.Join(words(l.postconf.main["inet_protocols"]), " ") {
	case "ipv4":
		return "tcp4"
	case "ipv6":
		return "tcp6"
	}
	return "tcp"
}

// reaches reports whether inet_protocols allows Postfix to connect to an address.
func (l *site) reaches(a netip.Addr) bool {
	switch l.protocol() {
	case "tcp4":
		return a.Is4()
	case "tcp6":
		return a.Is6()
	}
	return true
}

// here reports whether an address is an address of this host.
func (l *site) here(a netip.Addr) bool {
	return a.IsLoopback() || a.IsUnspecified() || slices.Contains(l.Addresses, a)
}

// leadsTo reports whether a connection to HOST:PORT reaches the socket ln. Postfix tries each address of a host.
func (l *site) leadsTo(at string, ln Listener) bool {
	host, port, err := net.SplitHostPort(at)
	ourHost, ourPort, ourErr := net.SplitHostPort(ln.Address)
	if err != nil || ourErr != nil || !samePort(port, ourPort) {
		return false
	}
	ours := l.hosts[ourHost]
	if len(ours) == 0 || len(l.hosts[host]) == 0 {
		return host == ourHost // socket-answers reports a name that cannot be looked up
	}
	if i := slices.IndexFunc(ours, netip.Addr.Is4); i >= 0 {
		ours = ours[i:] // net.Listen uses only one of the addresses, and prefers an IPv4 address
	}
	return slices.ContainsFunc(l.hosts[host], func(a netip.Addr) bool {
		switch {
		case !l.reaches(a):
			return false
		case ours[0].IsUnspecified():
			return l.here(a) && (ours[0].Is6() || a.Is4())
		case a.IsUnspecified():
			return ours[0].IsLoopback() && ours[0].Is4() == a.Is4()
		}
		return a == ours[0]
	})
}

// samePort reports whether two ports are equal. Either may be a name from services(5).
func samePort(a, b string) bool {
	first, err := net.LookupPort("tcp", a)
	second, err2 := net.LookupPort("tcp", b)
	return err == nil && err2 == nil && first == second
}

// socketOf returns our socket to which an entry connects. It returns false if there is none.
func (l *site) socketOf(e entry, chroot bool) (Listener, bool) {
	network, at := l.resolve(e.address, chroot)
	i := slices.IndexFunc(l.Listen, func(ln Listener) bool {
		return ln.Network == network && (network == "unix" && filepath.Clean(ln.Address) == at || network == "tcp" && l.leadsTo(at, ln))
	})
	if i < 0 || e.fault != "" {
		return Listener{}, false
	}
	return l.Listen[i], true
}

// right reports whether an entry connects to one of our sockets.
func (l *site) right(e entry, chroot bool) bool {
	_, ok := l.socketOf(e, chroot)
	return ok
}

// meant reports whether an entry was intended for one of our sockets, even if its address is wrong. Such an entry has the port of one of
// our sockets and an address of this host.
func (l *site) meant(e entry, chroot bool) bool {
	if l.right(e, chroot) || strings.Contains(e.address, "signpost") {
		return true
	}
	_, rest, _ := strings.Cut(e.address, ":")
	return slices.ContainsFunc(l.Listen, func(ln Listener) bool {
		return ln.Network == "unix" && ln.Address == rest || ln.Network == "tcp" && l.samePortHere(rest, ln)
	})
}

// samePortHere reports whether an inet address has the port of one of our sockets, and is on this host.
func (l *site) samePortHere(name string, ln Listener) bool {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		port, host, _ = strings.Cut(name, "@") // Sendmail's form of an address is inet:PORT@HOST
	}
	ourHost, ourPort, err := net.SplitHostPort(ln.Address)
	return err == nil && samePort(port, ourPort) && (host == ourHost || host == "localhost" || slices.ContainsFunc(l.hosts[host], l.here))
}

// name returns the address of our first socket in the form for main.cf. It returns "" if Postfix cannot connect to that socket.
func (l *site) name() string { return l.nameOf(l.Listen[0]) }

// nameFor returns the address that main.cf should have instead of a wrong entry. It is the address of our socket with the same port or,
// without such a socket, of our first socket.
func (l *site) nameFor(e entry) string {
	_, rest, _ := strings.Cut(e.address, ":")
	i := slices.IndexFunc(l.Listen, func(ln Listener) bool { return ln.Network == "tcp" && l.samePortHere(rest, ln) })
	return l.nameOf(l.Listen[max(i, 0)])
}

// nameOf returns the address of one of our sockets in the form for main.cf. It returns "" if the socket is outside the chroot, or if its
// address has an IP version that Postfix does not use. A relative path works both with and without a chroot.
func (l *site) nameOf(ln Listener) string {
	if ln.Network != "unix" {
		host, port, _ := net.SplitHostPort(ln.Address)
		ip, err := netip.ParseAddr(host)
		switch {
		case err != nil:
			return "inet:" + net.JoinHostPort(host, port)
		case ip.IsUnspecified() && ip.Is6() && l.protocol() == "tcp6":
			host = "::1"
		case ip.IsUnspecified():
			host = "127.0.0.1"
		}
		if ip, _ = netip.ParseAddr(host); !l.reaches(ip) {
			return ""
		}
		return "inet:" + net.JoinHostPort(host, port)
	}
	if below, ok := strings.CutPrefix(filepath.Clean(ln.Address), filepath.Clean(l.postconf.main["queue_directory"])+"/"); ok {
		return "unix:" + below
	}
	for _, s := range slices.Concat(l.postconf.of("smtpd"), l.postconf.of("cleanup")) {
		if s.chroot {
			return ""
		}
	}
	return "unix:" + ln.Address
}

// listenLine returns the line for signpost.toml that moves the first socket to an address to which Postfix can connect.
func (l *site) listenLine() string {
	if ln := l.Listen[0]; ln.Network != "unix" {
		_, port, _ := net.SplitHostPort(ln.Address)
		host := "127.0.0.1"
		if l.protocol() == "tcp6" {
			host = "::1"
		}
		return `listen = ["inet:` + net.JoinHostPort(host, port) + `"]`
	}
	return `listen = ["unix:` + filepath.Join(l.postconf.main["queue_directory"], "signpost/milter.sock") + `"]`
}
