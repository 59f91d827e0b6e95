package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
)

// Host finds out what this mail host is to others: the name that it says, and the addresses that it sends from.
type Host struct {
	Dir   string       // of Postfix's configuration; empty: what postconf takes by itself
	Given []netip.Addr // what a person says that the addresses are; empty: they are found out
	// Postconf is what postconf prints for arguments; nil: it is run.
	Postconf func(ctx context.Context, args ...string) (string, error)
	// Source is the address from which the system would send to another; nil: the system is asked.
	Source func(to netip.AddrPort) (netip.Addr, error)
}

// clientSettings are Postfix's for the client that delivers to the Internet, and addresses that other clients of its bind to.
type clientSettings struct {
	main  map[string]string
	bound []netip.Addr
}

// Find gives what a domain of ours is held against, without its keys, and what there is to say about it. HELO is empty where
// another host delivers our mail, Sends where the addresses are not known.
func (h Host) Find(ctx context.Context) (Own, []Finding) {
	s, err := h.settings(ctx)
	if err != nil {
		fix := "postconf -x # and mend what it says"
		if errors.Is(err, exec.ErrNotFound) {
			fix = "apt-get install postfix"
		}
		return Own{Sends: h.Given, Partial: len(h.Given) == 0}, []Finding{{Check: "sends", Level: Yellow, What: "postconf does not say which name this host says and which addresses it sends from", Where: printable(err.Error()),
			Why: "the HELO name is not looked at", Fix: fix}}
	}
	if relay := s.relay(); relay != "" {
		return Own{Sends: h.Given, Partial: len(h.Given) == 0}, []Finding{{Check: "sends", Level: Green, What: "mail leaves through " + printable(relay) + ": its own name and address are what others see; --address ADDR looks at them"}}
	}
	own := Own{HELO: s.main["smtp_helo_name"], Sends: h.Given}
	if len(own.Sends) > 0 {
		return own, nil
	}
	var hidden []string
	for _, a := range h.sources(s) {
		if public(a) {
			own.Sends = append(own.Sends, a)
		} else if a.Is4() {
			hidden = append(hidden, a.String())
		}
	}
	own.Partial = len(hidden) > 0 || len(own.Sends) == 0
	switch {
	case len(hidden) > 0:
		return own, []Finding{{Check: "sends", Level: Yellow, What: "this host sends from " + strings.Join(hidden, " and ") + ", which others do not see", Where: "main.cf: smtp_bind_address = " + printable(s.main["smtp_bind_address"]),
			Why: "behind NAT the public address is not known here: whether it has a name and passes SPF is not looked at; give it", Fix: "signpost doctor --address ADDR"}}
	case len(own.Sends) == 0:
		return own, []Finding{{Check: "sends", Level: Yellow, What: "this host has no public address", Where: "neither smtp_bind_address nor a route to the Internet",
			Why: "whether the address that others see has a name and passes SPF is not looked at; give it", Fix: "signpost doctor --address ADDR"}}
	}
	return own, []Finding{{Check: "sends", Level: Green, What: fmt.Sprintf("this host says HELO %s and sends from %s", printable(own.HELO), joined(own.Sends))}}
}

func joined(addrs []netip.Addr) string {
	all := make([]string, 0, len(addrs))
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return strings.Join(all, " and ")
}

// settings asks postconf for the little that counts here: everything else would cost seconds.
func (h Host) settings(ctx context.Context) (*clientSettings, error) {
	postconf := h.Postconf
	if postconf == nil {
		postconf = (&facts{dir: h.Dir}).postconf
	}
	out, err := postconf(ctx, "-x", "smtp_helo_name", "smtp_bind_address", "smtp_bind_address6", "inet_interfaces", "inet_protocols", "relayhost", "default_transport")
	if err != nil {
		return nil, err
	}
	s := &clientSettings{main: map[string]string{}}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(line, "=")
		s.main[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	if out, err = postconf(ctx, "-P", "-x"); err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		where, value, _ := strings.Cut(line, "=")
		where, value = strings.TrimSpace(where), strings.TrimSpace(value)
		name := where[strings.LastIndexByte(where, '/')+1:]
		addr, err := netip.ParseAddr(value)
		switch {
		case strings.HasPrefix(where, "smtp/unix/"):
			s.main[name] = value
		case (name == "smtp_bind_address" || name == "smtp_bind_address6") && err == nil && public(addr):
			s.bound = append(s.bound, addr) // a transport of its own, for some senders or some domains
		}
	}
	return s, nil
}

// relay is the host that gets everything for the Internet.
func (s *clientSettings) relay() string {
	if _, hop, _ := strings.Cut(s.main["default_transport"], ":"); hop != "" {
		return hop
	}
	return s.main["relayhost"]
}

// sources are the addresses that mail leaves from: smtp_bind_address, the only address in inet_interfaces, or what the
// system takes on the way to a root name server, which nothing is sent to.
func (h Host) sources(s *clientSettings) []netip.Addr {
	source := h.Source
	if source == nil {
		source = systemSource
	}
	all := slices.Clone(s.bound)
	for _, family := range []struct{ protocol, bind, root string }{
		{"ipv4", "smtp_bind_address", "198.41.0.4"}, {"ipv6", "smtp_bind_address6", "2001:503:ba3e::2:30"},
	} {
		if used := words(s.main["inet_protocols"]); !slices.Contains(used, family.protocol) && !slices.Contains(used, "all") {
			continue
		}
		to := netip.MustParseAddr(family.root)
		addr, err := netip.ParseAddr(s.main[family.bind])
		if err != nil {
			addr, err = s.onlyInterface(to.Is4())
		}
		if err != nil {
			addr, err = source(netip.AddrPortFrom(to, 25))
		}
		if err == nil && !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	return all
}

// onlyInterface: postconf(5), smtp_bind_address: one address of a family that is not of loopback is bound to.
func (s *clientSettings) onlyInterface(four bool) (only netip.Addr, err error) {
	n := 0
	for _, w := range words(s.main["inet_interfaces"]) {
		a, err := netip.ParseAddr(strings.Trim(w, "[]"))
		if err != nil {
			return a, err
		}
		if a.Is4() == four {
			only = a
			n++
		}
	}
	if n != 1 || only.IsLoopback() {
		return only, fmt.Errorf("%d addresses", n)
	}
	return only, nil
}

// systemSource: connecting a UDP socket sends nothing.
func systemSource(to netip.AddrPort) (netip.Addr, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// public says that others on the Internet can see the address: RFC 6890 has those that they cannot.
func public(a netip.Addr) bool {
	for _, p := range []string{"100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "2001:db8::/32"} {
		if netip.MustParsePrefix(p).Contains(a) {
			return false
		}
	}
	return a.IsGlobalUnicast() && !a.IsPrivate()
}
