package testdns

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// dribbleInterval is the time between two bytes of an answer that dribbles.
const dribbleInterval = 100 * time.Millisecond

// dribbleListener accepts connections that can dribble.
type dribbleListener struct {
	net.Listener
	server *Server
}

func (l dribbleListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d := &dribbleConn{Conn: c, server: l.server}
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	l.server.conns[c.RemoteAddr().String()] = d
	return d, nil
}

// dribbleConn is a connection. If slow is set, it sends an answer that never ends.
type dribbleConn struct {
	net.Conn
	server *Server
	slow   atomic.Bool
}

// Write sends a length of 65535 bytes and then one byte at each dribbleInterval, until the client closes the connection or the server
// stops.
func (d *dribbleConn) Write(answer []byte) (int, error) {
	if !d.slow.Load() {
		return d.Conn.Write(answer)
	}
	next := binary.BigEndian.AppendUint16(nil, dns.MaxMsgSize-1)
	for i := 0; ; i++ {
		if _, err := d.Conn.Write(next); err != nil {
			return 0, err
		}
		if !d.server.sleep(dribbleInterval) {
			return 0, net.ErrClosed
		}
		next = answer[i%len(answer):][:1]
	}
}

func (d *dribbleConn) Close() error {
	d.server.mu.Lock()
	delete(d.server.conns, d.RemoteAddr().String())
	d.server.mu.Unlock()
	return d.Conn.Close()
}
