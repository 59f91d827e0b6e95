package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// Authority finds the authoritative name servers of a name and queries each of them directly, so that the answers do not come from a
// cache.
type Authority struct {
	Resolver *Resolver // used to find the name servers
	Port     uint16    // the port of the name servers: 53, except in tests
	// Known are the name servers in the configuration. Their ports are used instead of Port.
	Known   []netip.AddrPort
	Timeout time.Duration
}

func (a *Authority) port(addr netip.Addr) uint16 {
	for _, k := range a.Known {
		if k.Addr() == addr {
			return k.Port()
		}
	}
	return a.Port
}

// Place describes where the TXT records of a name are: the name at the end of its aliases, the zone, and the zone's name servers.
type Place struct {
	Name        string        // the name at the end of the aliases, with its final dot
	Alias       bool          // the name has an alias
	AliasTTL    time.Duration // the longest TTL of the aliases
	Zone        string        // with its final dot
	Primary     string        // the SOA's MNAME
	NegativeTTL time.Duration // the time for which resolvers cache a negative answer
	Servers     []NameServer
	Hops        []Hop // the aliases, in their order
}

// Hop is an alias, and the name servers of the zone that contains it.
type Hop struct {
	Name, Target string // with their final dots
	Servers      []NameServer
}

// NameServer is one address of one name server of a zone.
type NameServer struct {
	Name string
	Addr netip.AddrPort
}

// Served is the result of a query to one name server. If NoRoute is true, this host cannot reach any address of the server's address
// family. In that case, Err is not a fault of the zone.
type Served struct {
	Server  NameServer
	Text    []string // nil: the server has no TXT record
	Target  string   // the target of the alias; empty: the server has no alias
	TTL     time.Duration
	NoRoute bool
	Err     error
}

// exchange sends a query to the recursive resolvers. It does not use the cache.
func (r *Resolver) exchange(ctx context.Context, name string, qtype uint16) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	q := new(dns.Msg).SetQuestion(name, qtype)
	q.SetEdns0(udpSize, false)
	m, err := r.ask(ctx, q)
	switch {
	case err != nil:
		return nil, fmt.Errorf("querying %s %s: %w", name, dns.TypeToString[qtype], err)
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("querying %s %s: %s", name, dns.TypeToString[qtype], rcodeStatus(m.Rcode))
	}
	return m, nil
}

// Find follows the aliases of a name, and finds the zone and its name servers.
func (a *Authority) Find(ctx context.Context, name string) (Place, error) {
	at, err := canonical(name)
	if err != nil {
		return Place{}, fmt.Errorf("%s: %w", name, err)
	}
	p := Place{Name: at}
	for hops := 0; ; hops++ {
		m, err := a.Resolver.exchange(ctx, p.Name, dns.TypeCNAME)
		if err != nil {
			return Place{}, err
		}
		c := aliasOf(p.Name, m)
		if c == nil {
			break
		}
		next := dns.CanonicalName(c.Target)
		p.AliasTTL = max(p.AliasTTL, time.Duration(c.Hdr.Ttl)*time.Second)
		if hops == maxHops || next == at {
			return Place{}, fmt.Errorf("the aliases of %s form a loop, or there are too many", name)
		}
		holder := Place{Name: p.Name}
		if err := a.findZone(ctx, &holder); err != nil {
			return Place{}, err
		}
		p.Hops = append(p.Hops, Hop{p.Name, next, holder.Servers})
		p.Name, p.Alias = next, true
	}
	err = a.findZone(ctx, &p)
	return p, err
}

// findZone finds the zone of p.Name, and its name servers. It queries the SOA of the name and of its parents. The SOA is in the answer,
// or in the authority section of a negative answer.
func (a *Authority) findZone(ctx context.Context, p *Place) error {
	for at := p.Name; at != "."; {
		m, err := a.Resolver.exchange(ctx, at, dns.TypeSOA)
		if err != nil {
			return err
		}
		for _, rr := range slices.Concat(m.Answer, m.Ns) {
			soa, ok := rr.(*dns.SOA)
			zone := dns.CanonicalName(rr.Header().Name)
			if ok && dns.IsSubDomain(zone, p.Name) {
				p.Zone, p.Primary = zone, dns.CanonicalName(soa.Ns)
				p.NegativeTTL = time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
				return a.findServers(ctx, p)
			}
		}
		_, at, _ = strings.Cut(at, ".")
		if at == "" {
			break
		}
	}
	return fmt.Errorf("no zone was found for %s", p.Name)
}

func (a *Authority) findServers(ctx context.Context, p *Place) error {
	m, err := a.Resolver.exchange(ctx, p.Zone, dns.TypeNS)
	if err != nil {
		return err
	}
	for _, rr := range m.Answer {
		ns, ok := rr.(*dns.NS)
		if !ok || dns.CanonicalName(ns.Hdr.Name) != p.Zone {
			continue
		}
		host := dns.CanonicalName(ns.Ns)
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			m, err := a.Resolver.exchange(ctx, host, qtype)
			if err != nil {
				return err
			}
			answer, _ := read(question{host, qtype}, host, m)
			for _, addr := range answer.addrs {
				p.Servers = append(p.Servers, NameServer{strings.TrimSuffix(host, "."), netip.AddrPortFrom(addr, a.port(addr))})
			}
		}
	}
	if len(p.Servers) == 0 {
		return fmt.Errorf("the zone %s has no name server with an address", p.Zone)
	}
	return nil
}

// Answers are the answers of the authoritative name servers for the TXT records of a name.
type Answers struct {
	Place
	Aliases [][]Served // for each of Hops
	Text    []Served   // for each of Servers
}

// Query finds the name servers of a name and queries each of them.
func (a *Authority) Query(ctx context.Context, name string) (Answers, error) {
	p, err := a.Find(ctx, name)
	if err != nil {
		return Answers{}, err
	}
	all := Answers{Place: p}
	for _, hop := range p.Hops {
		all.Aliases = append(all.Aliases, a.askHop(ctx, hop))
	}
	all.Text = a.ask(ctx, p)
	return all, nil
}

// LookupTXT returns the TXT records of a name from the recursive resolver.
func (a *Authority) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return a.Resolver.View(netip.Addr{}).LookupTXT(ctx, name)
}

// maxAsked is the maximum number of concurrent queries.
const maxAsked = 16

// ask queries every server of a place for the TXT records of its name, concurrently. The result is in the order of Place.Servers.
func (a *Authority) ask(ctx context.Context, p Place) []Served {
	return side(p.Servers, func(s NameServer) Served {
		m, served := a.direct(ctx, s, p.Name, dns.TypeTXT)
		if m == nil {
			return served
		}
		answer, _ := read(question{p.Name, dns.TypeTXT}, p.Name, m)
		if answer.err != nil && !answer.err.IsNotFound {
			served.Err = &queryError{status: Status(answer.err.Err)}
			return served
		}
		served.Text, served.TTL = answer.text, answer.ttl
		return served
	})
}

// askHop queries every server of an alias for its target.
func (a *Authority) askHop(ctx context.Context, h Hop) []Served {
	return side(h.Servers, func(s NameServer) Served {
		m, served := a.direct(ctx, s, h.Name, dns.TypeCNAME)
		if m == nil {
			return served
		}
		if c := aliasOf(h.Name, m); c != nil {
			served.Target = dns.CanonicalName(c.Target)
		}
		return served
	})
}

func side(servers []NameServer, ask func(NameServer) Served) []Served {
	all := make([]Served, len(servers))
	var asking errgroup.Group
	asking.SetLimit(maxAsked)
	for i, s := range servers {
		asking.Go(func() error {
			all[i] = ask(s)
			return nil
		})
	}
	_ = asking.Wait() // Wait returns no error: each Served has its own error
	return all
}

// direct queries one name server. If there is no usable answer, the message is nil and the Err of Served is set.
func (a *Authority) direct(ctx context.Context, s NameServer, name string, qtype uint16) (*dns.Msg, Served) {
	served := Served{Server: s}
	n := &network{servers: []netip.AddrPort{s.Addr}, timeout: a.Timeout}
	q := new(dns.Msg).SetQuestion(name, qtype)
	q.RecursionDesired = false
	q.SetEdns0(udpSize, false)
	m, err := n.ask(ctx, q)
	switch {
	case errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT):
		served.NoRoute, served.Err = true, err
	case err != nil:
		served.Err = err
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		served.Err = fmt.Errorf("it answers %s", rcodeStatus(m.Rcode))
	case !m.Authoritative:
		served.Err = errors.New("it is not authoritative for the zone (lame delegation)")
	default:
		return m, served
	}
	return nil, served
}
