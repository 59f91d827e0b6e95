package domain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"signpost/internal/dns"
	"signpost/internal/doctor"
)

// Sender is how other servers see this host when it sends mail.
type Sender struct {
	HELO    string       // empty if another host delivers our mail
	Sends   []netip.Addr // the addresses that it sends from, as far as they are known
	Partial bool         // there may be more

	heloPlace string // where Postfix has the HELO name from; empty: smtp_helo_name and myhostname are not known
	heloUnset string // the command that makes it myhostname again; empty if it is myhostname
	hostname  string // myhostname

	failures []string // the lookups of its checks that failed
}

// Host has what is needed to determine the Sender, and to check its name and addresses.
type Host struct {
	Given    []netip.Addr  // the addresses, from the command line; empty: detected
	Domain   string        // one of this host, for names that are proposed
	Resolver *dns.Resolver // for the checks of the name and the addresses
	// Postconf returns the output of postconf(1).
	Postconf func(ctx context.Context, args ...string) (string, error)
	// Source returns the address from which the system would send to another; nil: it is queried.
	Source func(to netip.AddrPort) (netip.Addr, error)
}

// clientSettings are those of Postfix's client that delivers to the Internet, and the addresses to which its other clients bind.
type clientSettings struct {
	main    map[string]string
	bound   []netip.Addr
	ownHELO bool // master.cf sets smtp_helo_name
}

// HostChecks returns the checks of how other servers see this host, which are the same for all of its domains. The first one sets
// sender.
func HostChecks(h Host, sender *Sender) []doctor.Check {
	l := &examination{Facts: Facts{Resolver: h.Resolver}, domain: h.Domain, host: true}
	check := func(run func(context.Context)) func(context.Context) []doctor.Finding {
		return func(ctx context.Context) []doctor.Finding {
			if !h.Resolver.RootAnswers(ctx) {
				return nil // the check of the first domain reports it
			}
			ctx, cancel := context.WithTimeout(ctx, maxTime)
			defer cancel()
			l.all, l.own, l.view = nil, &Own{Sender: *sender}, cmp.Or(l.view, h.Resolver.View(netip.Addr{}).Limit(maxQueries))
			run(ctx)
			l.place(ctx)
			sender.failures = l.failures
			return l.all
		}
	}
	return []doctor.Check{
		{Name: "sends", Doc: "the HELO name and the addresses of this host: Postfix's settings, and the system's routes", Run: func(ctx context.Context) (found []doctor.Finding) {
			*sender, found = h.find(ctx)
			return found
		}},
		{Name: "ptr", Doc: "the PTR records of the addresses that this host sends from, and the addresses of these names", Run: check(l.checkPTR)},
		{Name: "helo", Doc: "the address of the HELO name, and its SPF record", Run: check(l.checkHELO)},
	}
}

func (h Host) find(ctx context.Context) (Sender, []doctor.Finding) {
	s, err := h.settings(ctx)
	if err != nil {
		fix := "postconf -x # and mend what it says"
		if errors.Is(err, exec.ErrNotFound) {
			fix = "apt-get install postfix"
		}
		return Sender{Sends: h.Given, Partial: len(h.Given) == 0}, []doctor.Finding{{Level: doctor.Yellow, What: "postconf does not say which name this host says and which addresses it sends from", Where: err.Error(),
			Why: "the HELO name is not looked at", Fix: fix}}
	}
	if relay := s.relay(); relay != "" {
		return Sender{Sends: h.Given, Partial: len(h.Given) == 0}, []doctor.Finding{{Level: doctor.Green, What: "mail leaves through " + relay + ": its own name and address are what others see; --address ADDR looks at them"}}
	}
	sender := Sender{HELO: s.main["smtp_helo_name"], Sends: h.Given, hostname: s.main["myhostname"]}
	switch {
	case s.ownHELO:
		sender.heloPlace, sender.heloUnset = "master.cf: smtp/unix -o smtp_helo_name="+sender.HELO, "postconf -PX 'smtp/unix/smtp_helo_name'"
	case sender.HELO != sender.hostname:
		sender.heloPlace, sender.heloUnset = "main.cf: smtp_helo_name = "+sender.HELO, "postconf -X 'smtp_helo_name'"
	default:
		sender.heloPlace = "main.cf: myhostname = " + sender.hostname
	}
	if len(sender.Sends) > 0 {
		return sender, nil
	}
	var private []string
	for _, a := range h.sources(s) {
		if public(a) {
			sender.Sends = append(sender.Sends, a)
		} else if a.Is4() {
			private = append(private, a.String())
		}
	}
	sender.Partial = len(private) > 0 || len(sender.Sends) == 0
	switch {
	case len(private) > 0:
		return sender, []doctor.Finding{{Level: doctor.Yellow, What: "this host sends from " + strings.Join(private, " and ") + ", which others do not see", Where: "main.cf: smtp_bind_address = " + s.main["smtp_bind_address"],
			Why: "behind NAT the public address is not known here: whether it has a name and passes SPF is not looked at; give it", Fix: "signpost doctor --address ADDR"}}
	case len(sender.Sends) == 0:
		return sender, []doctor.Finding{{Level: doctor.Yellow, What: "this host has no public address", Where: "neither smtp_bind_address nor a route to the Internet",
			Why: "whether the address that others see has a name and passes SPF is not looked at; give it", Fix: "signpost doctor --address ADDR"}}
	}
	return sender, []doctor.Finding{{Level: doctor.Green, What: fmt.Sprintf("this host says HELO %s and sends from %s", sender.HELO, doctor.Join(sender.Sends, " and ", netip.Addr.String))}}
}

// list returns the items of a list of Postfix.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(", \t", r) })
}

// settings reads only the settings that are needed: reading all of them takes seconds.
func (h Host) settings(ctx context.Context) (*clientSettings, error) {
	out, err := h.Postconf(ctx, "-x", "myhostname", "smtp_helo_name", "smtp_bind_address", "smtp_bind_address6", "inet_interfaces", "inet_protocols", "relayhost", "default_transport")
	if err != nil {
		return nil, err
	}
	s := &clientSettings{main: map[string]string{}}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(line, "=")
		s.main[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	if out, err = h.Postconf(ctx, "-P", "-x"); err != nil {
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
			s.ownHELO = s.ownHELO || name == "smtp_helo_name"
		case (name == "smtp_bind_address" || name == "smtp_bind_address6") && err == nil && public(addr):
			s.bound = append(s.bound, addr) // a transport of its own, for some senders or some domains
		}
	}
	return s, nil
}

// relay returns the host that receives all mail for the Internet.
func (s *clientSettings) relay() string {
	if _, hop, _ := strings.Cut(s.main["default_transport"], ":"); hop != "" {
		return hop
	}
	return s.main["relayhost"]
}

// sources returns the addresses that mail is sent from: smtp_bind_address, the only address in inet_interfaces, or the system's
// source address for a root name server, to which nothing is sent.
func (h Host) sources(s *clientSettings) []netip.Addr {
	source := h.Source
	if source == nil {
		source = systemSource
	}
	all := slices.Clone(s.bound)
	for _, family := range []struct{ protocol, bind, root string }{
		{"ipv4", "smtp_bind_address", "198.41.0.4"}, {"ipv6", "smtp_bind_address6", "2001:503:ba3e::2:30"},
	} {
		if used := list(s.main["inet_protocols"]); !slices.Contains(used, family.protocol) && !slices.Contains(used, "all") {
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

// onlyInterface returns the address to which Postfix binds: the only one of its family that is not loopback (smtp_bind_address in
// postconf(5)).
func (s *clientSettings) onlyInterface(four bool) (only netip.Addr, err error) {
	n := 0
	for _, w := range list(s.main["inet_interfaces"]) {
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

// systemSource connects a UDP socket, which sends nothing.
func systemSource(to netip.AddrPort) (netip.Addr, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// public reports whether an address is not one of RFC 6890, which others on the Internet do not see.
func public(a netip.Addr) bool {
	for _, p := range []string{"100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "2001:db8::/32"} {
		if netip.MustParsePrefix(p).Contains(a) {
			return false
		}
	}
	return a.IsGlobalUnicast() && !a.IsPrivate()
}
