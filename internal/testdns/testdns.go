// Package testdns is a small name server on loopback, for tests and for the demo, which can be as unhelpful as real ones.
package testdns

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	signpostdns "signpost/internal/dns"
)

// Server answers like a recursive resolver.
type Server struct {
	servers []*dns.Server
	addr    string

	mu      sync.Mutex
	zone    *signpostdns.Zone
	faults  []fault
	queries []string
	delay   time.Duration
}

// fault is what is wrong with the answers for a name; kinds has them.
type fault struct{ name, kind string }

// kinds are SERVFAIL, REFUSED, TIMEOUT (none comes), TRUNCATED (by UDP nothing but the TC bit, the rest by TCP),
// TRUNCATED-ONLY (nothing by TCP either), NOEDNS (FORMERR where the query has EDNS), and the lies of lie.
func kinds() []string {
	return []string{"SERVFAIL", "REFUSED", "TIMEOUT", "TRUNCATED", "TRUNCATED-ONLY", "NOEDNS",
		"WRONG-ID", "WRONG-QUESTION", "OTHER-NAME", "OTHER-TYPE", "LOOP", "HUGE", "UPPER-CASE"}
}

// Start serves a zone text on a free port of 127.0.0.1, by UDP and TCP. Names are full; lines ";fault NAME KIND" are
// faults.
func Start(zone string) (*Server, error) { return StartAt("127.0.0.1:0", zone) }

// StartAt serves at an address of loopback and a port, 0 for a free one.
func StartAt(addr, zone string) (*Server, error) {
	s := &Server{}
	if err := s.SetZone(zone); err != nil {
		return nil, err
	}
	udp, tcp, err := listen(addr)
	if err != nil {
		return nil, err
	}
	s.addr = udp.LocalAddr().String()
	s.servers = []*dns.Server{{PacketConn: udp, Handler: s}, {Listener: tcp, Handler: s}}
	for _, server := range s.servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started // Shutdown fails before
	}
	return s, nil
}

// listen finds a port that is free for both.
func listen(addr string) (udp net.PacketConn, tcp net.Listener, err error) {
	for range 10 {
		if udp, err = net.ListenPacket("udp", addr); err != nil {
			return nil, nil, err
		}
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp, nil
		}
		udp.Close()
	}
	return nil, nil, err
}

// SetZone replaces everything that is served.
func (s *Server) SetZone(text string) error {
	zone, err := signpostdns.ParseZone(strings.NewReader(text), "zone")
	if err != nil {
		return err
	}
	var faults []fault
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, ";fault ")
		if !ok {
			continue
		}
		words := strings.Fields(rest)
		if len(words) != 2 || !slices.Contains(kinds(), words[1]) {
			return fmt.Errorf("%q is no fault", strings.TrimSpace(line))
		}
		faults = append(faults, fault{dns.CanonicalName(words[0]), words[1]})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone, s.faults = zone, faults
	return nil
}

// SetDelay makes every answer wait.
func (s *Server) SetDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// Addr is host:port.
func (s *Server) Addr() string { return s.addr }

// Queries are all questions so far, "name type" each, retries included.
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// Stop ends it.
func (s *Server) Stop() {
	for _, server := range s.servers {
		_ = server.Shutdown()
	}
}

// ServeDNS answers one query.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	tcp := w.LocalAddr().Network() == "tcp"
	s.mu.Lock()
	zone, kind, delay := s.zone, "", s.delay
	if len(q.Question) == 1 {
		name := dns.CanonicalName(q.Question[0].Name)
		s.queries = append(s.queries, strings.TrimSuffix(name, ".")+" "+dns.TypeToString[q.Question[0].Qtype])
		for _, f := range s.faults {
			if f.name == name {
				kind = f.kind
			}
		}
	}
	s.mu.Unlock()
	time.Sleep(delay)
	m := zone.Answer(q)
	lie(m, kind)
	m.Authoritative = true
	size := dns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		size = int(opt.UDPSize())
		m.SetEdns0(dns.DefaultMsgSize, false)
	}
	if tcp {
		size = dns.MaxMsgSize
	}
	m.Truncate(size)
	switch kind {
	case "SERVFAIL":
		m = new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	case "REFUSED":
		m = new(dns.Msg).SetRcode(q, dns.RcodeRefused)
	case "TIMEOUT":
		return
	case "NOEDNS":
		if q.IsEdns0() != nil {
			m = new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
		}
	case "TRUNCATED":
		if !tcp {
			m.Answer, m.Truncated = nil, true
		}
	case "TRUNCATED-ONLY":
		if tcp {
			w.Close()
			return
		}
		m.Answer, m.Truncated = nil, true
	}
	_ = w.WriteMsg(m)
}
