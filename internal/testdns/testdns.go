// Package testdns is a small authoritative name server on loopback, for tests and for the demo.
package testdns

import (
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
)

// Server answers from records that do not change.
type Server struct {
	records map[string][]dns.RR // by lower-case name
	servers []*dns.Server
	addr    string
}

// Start serves the records of a zone text (RFC 1035 section 5, every name in full) on a free port of 127.0.0.1, by UDP and
// TCP.
func Start(zone string) (*Server, error) {
	s := &Server{records: map[string][]dns.RR{}}
	parser := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name := strings.ToLower(rr.Header().Name)
		s.records[name] = append(s.records[name], rr)
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("reading the zone: %w", err)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.addr = udp.LocalAddr().String()
	tcp, err := net.Listen("tcp", s.addr)
	if err != nil {
		udp.Close()
		return nil, err
	}
	s.servers = []*dns.Server{{PacketConn: udp, Handler: s}, {Listener: tcp, Handler: s}}
	for _, server := range s.servers {
		go func() { _ = server.ActivateAndServe() }()
	}
	return s, nil
}

// Addr is host:port.
func (s *Server) Addr() string { return s.addr }

// Stop ends it.
func (s *Server) Stop() {
	for _, server := range s.servers {
		_ = server.Shutdown()
	}
}

// ServeDNS answers one query: records, NODATA where the name or one below it has others, NXDOMAIN otherwise.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	if len(q.Question) == 1 {
		name := strings.ToLower(q.Question[0].Name)
		for _, rr := range s.records[name] {
			if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if !s.exists(name) {
			m.Rcode = dns.RcodeNameError
		}
	}
	size := dns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		size = int(opt.UDPSize())
		m.SetEdns0(dns.DefaultMsgSize, false)
	}
	if w.LocalAddr().Network() == "tcp" {
		size = dns.MaxMsgSize
	}
	m.Truncate(size)
	_ = w.WriteMsg(m)
}

func (s *Server) exists(name string) bool {
	for known := range s.records {
		if known == name || strings.HasSuffix(known, "."+name) {
			return true
		}
	}
	return false
}
