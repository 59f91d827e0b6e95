// Package testdns is a small name server on loopback, for tests and for the demo. It simulates the faults of real servers.
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

	stopped chan struct{}
	stop    sync.Once

	mu      sync.Mutex
	zone    *signpostdns.Zone
	faults  []fault
	queries []string
	delay   time.Duration
	conns   map[string]*dribbleConn // open TCP connections, by the client's address
}

// fault is a fault in the answers for a name, or for all names below it. The function kinds lists the kinds of faults.
type fault struct {
	name  string // with its final dot; "*." at its beginning stands for all names below
	kind  string
	delay time.Duration // of SLOW
}

// slowDelay is the delay of SLOW if the fault does not contain a delay.
const slowDelay = 300 * time.Millisecond

// kinds returns all kinds of faults: SERVFAIL, REFUSED, TIMEOUT (no answer), SLOW (the right answer after a delay), TRUNCATED (only the TC
// bit by UDP, the answer by TCP), TRUNCATED-ONLY (no answer by TCP either), DRIBBLE (truncated by UDP; by TCP single bytes without an end),
// NOEDNS (FORMERR if the query has EDNS), and those of lie.
func kinds() []string {
	return []string{"SERVFAIL", "REFUSED", "TIMEOUT", "SLOW", "TRUNCATED", "TRUNCATED-ONLY", "DRIBBLE", "NOEDNS",
		"WRONG-ID", "WRONG-QUESTION", "OTHER-NAME", "OTHER-TYPE", "LOOP", "HUGE", "THOUSAND", "UPPER-CASE"}
}

// Start serves a zone text on a free port of 127.0.0.1, by UDP and TCP. Names are fully qualified. A line ";fault NAME KIND" defines a
// fault. A delay may follow SLOW, as in "SLOW 2s". A NAME that begins with "*." matches every name below it. A fault of the name itself
// takes precedence. The root has name servers, so that the query `. NS` gets an answer.
func Start(zone string) (*Server, error) { return StartAt("127.0.0.1:0", zone) }

// StartAt serves a zone text at a loopback address and a port. If port is 0, it uses a free port.
func StartAt(addr, zone string) (*Server, error) {
	s := &Server{stopped: make(chan struct{}), conns: map[string]*dribbleConn{}}
	if err := s.SetZone(zone); err != nil {
		return nil, err
	}
	udp, tcp, err := listen(addr)
	if err != nil {
		return nil, err
	}
	s.addr = udp.LocalAddr().String()
	s.servers = []*dns.Server{{PacketConn: udp, Handler: s}, {Listener: dribbleListener{tcp, s}, Handler: s}}
	for _, server := range s.servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started // before this, Shutdown would fail
	}
	return s, nil
}

// listen listens on a port that is free for both UDP and TCP.
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

// SetZone replaces the zone text.
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
		f, ok := parseFault(rest)
		if !ok {
			return fmt.Errorf("%q is not a fault", strings.TrimSpace(line))
		}
		faults = append(faults, f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone, s.faults = zone, faults
	return nil
}

func parseFault(text string) (f fault, ok bool) {
	words := strings.Fields(text)
	if len(words) < 2 || !slices.Contains(kinds(), words[1]) {
		return fault{}, false
	}
	f = fault{name: dns.CanonicalName(words[0]), kind: words[1]}
	switch {
	case f.kind == "SLOW" && len(words) == 3:
		d, err := time.ParseDuration(words[2])
		f.delay = d
		return f, err == nil
	case f.kind == "SLOW":
		f.delay = slowDelay
	}
	return f, len(words) == 2
}

// faultOf returns the fault of a name. If a name has several faults, it returns the last one.
func faultOf(faults []fault, name string) (found fault) {
	for _, f := range faults {
		below, subtree := strings.CutPrefix(f.name, "*")
		switch {
		case f.name == name:
			found = f
		case subtree && found.name != name && len(name) > len(below) && strings.HasSuffix(name, below):
			found = f
		}
	}
	return found
}

// SetDelay delays every answer.
func (s *Server) SetDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// Addr returns host:port.
func (s *Server) Addr() string { return s.addr }

// Queries returns all queries so far as "name type", including retries.
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// sleep waits, and reports whether the server still runs.
func (s *Server) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.stopped:
		return false
	}
}

// Stop stops the server.
func (s *Server) Stop() {
	s.stop.Do(func() { close(s.stopped) })
	for _, server := range s.servers {
		_ = server.Shutdown()
	}
}

// ServeDNS answers one query.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	tcp := w.LocalAddr().Network() == "tcp"
	s.mu.Lock()
	zone, f, delay := s.zone, fault{}, s.delay
	if len(q.Question) == 1 {
		name := dns.CanonicalName(q.Question[0].Name)
		s.queries = append(s.queries, strings.TrimSuffix(name, ".")+" "+dns.TypeToString[q.Question[0].Qtype])
		f = faultOf(s.faults, name)
	}
	if c := s.conns[w.RemoteAddr().String()]; c != nil && tcp {
		c.slow.Store(f.kind == "DRIBBLE")
	}
	s.mu.Unlock()
	if delay += f.delay; delay > 0 && !s.sleep(delay) {
		return
	}
	m := zone.Answer(q)
	rootServers(m)
	lie(m, f.kind)
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
	switch f.kind {
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
	case "TRUNCATED", "DRIBBLE":
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
