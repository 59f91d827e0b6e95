package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is the maximum size of a UDP answer in bytes, which queries announce. Answers of this size are not fragmented on any path
	// (DNS flag day 2020).
	udpSize = 1232
	// tries is the number of times that a query is sent to one server within the timeout. A query is repeated because UDP loses packets.
	// All tries use the same socket and ID, so that a late answer to an earlier try is accepted.
	tries = 3
)

// ReadServers returns the name servers in a resolv.conf(5). If there are none, or the file does not exist, it returns 127.0.0.1, as libc
// does.
func ReadServers(path string) ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	conf, err := dns.ClientConfigFromFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		conf = &dns.ClientConfig{}
	case err != nil:
		return nil, fmt.Errorf("reading the name servers: %w", err)
	}
	for _, s := range conf.Servers {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("%s: nameserver %q is not an IP address", path, s)
		}
		servers = append(servers, netip.AddrPortFrom(addr, 53))
	}
	if len(servers) == 0 {
		servers = append(servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53))
	}
	return servers, nil
}

// network queries servers over the network.
type network struct {
	servers    []netip.AddrPort
	timeout    time.Duration // the timeout of a query to one server
	roots      []*rootProbe  // one for each server
	preference preference
	log        *slog.Logger
	failedOver func() // may be nil
}

func newNetwork(o Options) *network {
	n := &network{servers: o.Servers, timeout: o.Timeout, log: o.Log, failedOver: o.FailedOver}
	n.preference.n = n
	for _, s := range o.Servers {
		n.roots = append(n.roots, &rootProbe{ask: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) { return n.askOne(ctx, s, q) }})
	}
	return n
}

// ask queries the servers one after the other until one answers. It starts with the preferred server.
func (n *network) ask(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	if len(n.servers) == 0 {
		return nil, &queryError{status: NoServer}
	}
	first := 0
	if len(n.servers) > 1 {
		first = n.preference.get()
		// When ask sends a query again because the server has not replied, it also starts the check of the server, without waiting for the
		// timeout.
		late := time.AfterFunc(n.timeout/tries, func() { n.preference.suspect(first) })
		defer late.Stop()
	}
	var reply *dns.Msg
	var failure, lack error
	for i := range n.servers {
		m, err := n.askOne(ctx, n.servers[(first+i)%len(n.servers)], q)
		if ctx.Err() != nil {
			return nil, &queryError{status: Timeout}
		}
		switch {
		case isLack(err):
			lack = err
			continue
		case err != nil:
			failure = err
		case m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError:
			return m, nil
		default:
			reply = m
		}
		if i == 0 && len(n.servers) > 1 {
			n.preference.suspect(first)
		}
	}
	switch {
	case lack != nil && (reply == nil || !errors.Is(lack, syscall.EADDRNOTAVAIL)):
		// Another server might have answered, but this host has no resources for a query. EADDRNOTAVAIL is an exception: a host without
		// IPv6 returns it for ::1.
		return nil, lack
	case reply != nil:
		return reply, nil
	}
	return nil, failure
}

// askOne queries one server over UDP, and over TCP if the answer was truncated. Each error is a *queryError.
func (n *network) askOne(ctx context.Context, server netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	end := time.Now().Add(n.timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	m, err := n.byUDP(ctx, server, q, end)
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) && q.IsEdns0() != nil {
		// RFC 6891 section 7: a server without EDNS answers like this.
		q = q.Copy()
		q.Extra = nil
		m, err = n.byUDP(ctx, server, q, end)
	}
	if err == nil && m.Truncated {
		m, err = byTCP(ctx, server, q, end)
	}
	if err == nil && m.Truncated {
		err = &queryError{status: Truncated}
	}
	var timeout net.Error
	switch {
	case err == nil:
		return m, nil
	case isLack(err): // this case precedes the check for a timeout, because EAGAIN also counts as a timeout
	case ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout():
		return nil, &queryError{status: Timeout}
	}
	return nil, queryErrorOf(err)
}

// byUDP queries a server over UDP. It uses a new socket for each query, because an unpredictable source port prevents forged answers (RFC
// 5452 section 9.2). The library has no contexts, so byUDP sets a deadline in the past when ctx ends.
func (n *network) byUDP(ctx context.Context, server netip.AddrPort, q *dns.Msg, end time.Time) (*dns.Msg, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &dns.Conn{Conn: c, UDPSize: udpSize}
	for try := 1; ; try++ {
		next := end
		if try < tries {
			next = time.Now().Add(n.timeout / tries)
		}
		if err := c.SetDeadline(next); err != nil {
			return nil, err
		}
		if ctx.Err() != nil { // ctx may have set a deadline in the past, which SetDeadline has then replaced; so ctx is checked afterwards
			return nil, ctx.Err()
		}
		m, err := query(conn, q)
		if err == nil || try == tries || !errors.Is(err, os.ErrDeadlineExceeded) {
			return m, err
		}
	}
}

func byTCP(ctx context.Context, server netip.AddrPort, q *dns.Msg, end time.Time) (*dns.Msg, error) {
	c, err := (&net.Dialer{Deadline: end}).DialContext(ctx, "tcp", server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(end); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return query(&dns.Conn{Conn: c, UDPSize: udpSize}, q)
}

// query writes q and reads its answer. It ignores UDP answers with another ID or question, which may be forged.
func query(conn *dns.Conn, q *dns.Msg) (*dns.Msg, error) {
	if err := conn.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		m, err := receive(conn)
		var network net.Error
		_, stream := conn.Conn.(*net.TCPConn)
		switch {
		case errors.As(err, &network), m == nil && stream:
			return nil, err
		case m == nil, m.Id != q.Id, !m.Response, !sameQuestion(m, q):
			if stream {
				return nil, &queryError{status: UnrelatedAnswer}
			}
			continue
		}
		if err != nil {
			return nil, &queryError{Malformed, err}
		}
		return m, nil
	}
}

// receive reads a message. The library also accepts a message that ends before the records that its header counts. It would be taken for a negative
// answer.
func receive(conn *dns.Conn) (*dns.Msg, error) {
	data, err := conn.ReadMsgHeader(nil)
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(data); err != nil || m.Truncated {
		return m, err
	}
	for i, n := range []int{len(m.Question), len(m.Answer), len(m.Ns), len(m.Extra)} {
		if counted := binary.BigEndian.Uint16(data[4+2*i:]); int(counted) != n {
			return m, errors.New("the message ends before its last record")
		}
	}
	return m, nil
}

func sameQuestion(m, q *dns.Msg) bool {
	// A server that cannot parse the query may omit the question.
	if len(m.Question) == 0 {
		return m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeRefused
	}
	return len(m.Question) == 1 && m.Question[0].Qtype == q.Question[0].Qtype &&
		dns.CanonicalName(m.Question[0].Name) == q.Question[0].Name
}
