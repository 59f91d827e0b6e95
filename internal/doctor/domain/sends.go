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

// Sender is the HELO name and the addresses of this host as other servers see them.
type Sender struct {
	HELO    string       // empty if a relayhost delivers our mail
	Sends   []netip.Addr // the known addresses from which this host sends
	Partial bool         // Sends may be incomplete

	heloPlace string // the setting that contains the HELO name; empty: smtp_helo_name and myhostname are not known
	heloUnset string // the command that resets the HELO name to myhostname; empty if it is myhostname
	hostname  string // myhostname

	failures []string // the failed lookups of the checks of this host
}

// Host is the input of HostChecks.
type Host struct {
	Given    []netip.Addr  // the addresses from the command line; empty: detected
	Domain   string        // a domain of this host, which is used in proposed host names
	Resolver *dns.Resolver // makes the lookups for the checks
	// Postconf returns the output of postconf(1).
	Postconf func(ctx context.Context, args ...string) (string, error)
	// Source returns the source address that the system uses for a destination; nil: the system is queried.
	Source func(to netip.AddrPort) (netip.Addr, error)
}

// clientSettings has the settings of the smtp(8) client that delivers to the Internet. It also has the addresses to which other smtp(8)
// clients bind.
type clientSettings struct {
	main    map[string]string
	bound   []netip.Addr
	ownHELO bool // master.cf sets smtp_helo_name
}

// HostChecks returns the checks of this host as other servers see it. They are the same for all domains of this host. The first check sets
// sender.
func HostChecks(h Host, sender *Sender) []doctor.Check {
	l := &examination{Facts: Facts{Resolver: h.Resolver}, domain: h.Domain, host: true}
	check := func(run func(context.Context)) func(context.Context) []doctor.Finding {
		return func(ctx context.Context) []doctor.Finding {
			if !h.Resolver.RootAnswers(ctx) {
				return nil // no DNS server answers; the check of the first domain reports this
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
		{Name: "sends", Doc: "the HELO name and the addresses that this host sends from, according to Postfix's settings and the system's routes", Run: func(ctx context.Context) (found []doctor.Finding) {
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
		fix := "postconf -x # then correct the error that it prints"
		if errors.Is(err, exec.ErrNotFound) {
			fix = "apt-get install postfix"
		}
		return Sender{Sends: h.Given, Partial: len(h.Given) == 0}, []doctor.Finding{{Level: doctor.Yellow, What: "cannot determine the HELO name and the addresses of this host: postconf(1) failed", Where: err.Error(),
			Why: "doctor does not check the HELO name", Fix: fix}}
	}
	if s.sendsNothing() {
		return Sender{Sends: h.Given, Partial: len(h.Given) == 0}, []doctor.Finding{{Level: doctor.Green, What: "this host sends no mail to other hosts", Where: "main.cf: default_transport = " + s.main["default_transport"]}}
	}
	if relay := s.relay(); relay != "" {
		return Sender{Sends: h.Given, Partial: len(h.Given) == 0}, []doctor.Finding{{Level: doctor.Green, What: "mail is sent through " + relay + ", whose name and address other servers see; check its address with --address ADDR"}}
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
		return sender, []doctor.Finding{{Level: doctor.Yellow, What: "this host sends from " + strings.Join(private, " and ") + ", which is not a public address", Where: "main.cf: smtp_bind_address = " + s.main["smtp_bind_address"],
			Why: "behind NAT, doctor does not know the public address and cannot check its PTR record and SPF; pass --address", Fix: "signpost doctor --address ADDR"}}
	case len(sender.Sends) == 0:
		return sender, []doctor.Finding{{Level: doctor.Yellow, What: "this host has no public address", Where: "neither smtp_bind_address nor a route to the Internet",
			Why: "doctor cannot check the PTR record and SPF of the public address; pass --address", Fix: "signpost doctor --address ADDR"}}
	}
	return sender, []doctor.Finding{{Level: doctor.Green, What: fmt.Sprintf("this host uses HELO %s and sends from %s", sender.HELO, doctor.Join(sender.Sends, " and ", netip.Addr.String))}}
}

// list returns the items of a list of Postfix.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(", \t", r) })
}

// settings reads only the needed settings, because reading all of them takes seconds.
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
			s.bound = append(s.bound, addr) // this smtp(8) client is a separate transport for some senders or domains
		}
	}
	return s, nil
}

// sendsNothing reports whether Postfix passes mail for other hosts to a transport that sends nothing.
func (s *clientSettings) sendsNothing() bool {
	agent, _, _ := strings.Cut(s.main["default_transport"], ":")
	return slices.Contains([]string{"error", "retry", "discard", "local", "virtual"}, agent)
}

// relay returns the host that receives all mail for the Internet, or "" if there is none.
func (s *clientSettings) relay() string {
	if _, hop, _ := strings.Cut(s.main["default_transport"], ":"); hop != "" {
		return hop
	}
	return s.main["relayhost"]
}

// sources returns the addresses that mail is sent from. It uses the first of these that exists: smtp_bind_address, a single address in
// inet_interfaces, and the system's source address for a root name server. It sends no packet.
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

// onlyInterface returns the address of a family in inet_interfaces if there is exactly one. Postfix binds to this address unless it is
// loopback: smtp_bind_address in postconf(5).
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

// systemSource returns the local address of a connected UDP socket. It sends no packet.
func systemSource(to netip.AddrPort) (netip.Addr, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// public reports whether an address is reachable from the Internet. Special-purpose addresses (RFC 6890) are not.
func public(a netip.Addr) bool {
	for _, p := range []string{"100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "2001:db8::/32"} {
		if netip.MustParsePrefix(p).Contains(a) {
			return false
		}
	}
	return a.IsGlobalUnicast() && !a.IsPrivate()
}
