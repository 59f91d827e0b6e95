package testsql

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy forwards connections to a server, and can disturb them.
type Proxy struct {
	server   *Server
	listener net.Listener
	mu       sync.Mutex
	hole     bool
	refuse   bool
	delay    time.Duration
	conns    map[net.Conn]bool
}

// Proxy returns a proxy for the server.
func (s *Server) Proxy(t testing.TB) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{server: s, listener: l, conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		l.Close()
		p.Cut()
	})
	go p.serve()
	return p
}

// URL is like the method of Server.
func (p *Proxy) URL(database string) string {
	return p.server.urlAt(p.listener.Addr().(*net.TCPAddr).Port, database)
}

// BlackHole makes the proxy accept and keep connections, but forward nothing, until it is called with false.
func (p *Proxy) BlackHole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = on
}

// Delay delays each packet of the server.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

// Refuse closes all connections, and each new one, until it is called with false.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	p.refuse = on
	p.mu.Unlock()
	p.Cut()
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		to := p.server.Addr()
		p.mu.Unlock()
		server, err := net.Dial("tcp", to)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		refuse := p.refuse
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		if refuse {
			p.Cut()
			continue
		}
		go p.forward(server, client)
		go p.forward(client, server)
	}
}

func (p *Proxy) forward(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		hole, delay := p.hole, p.delay
		p.mu.Unlock()
		if hole {
			_, _ = io.Copy(io.Discard, from) // until the connection is closed
			return
		}
		time.Sleep(delay)
		if _, writeErr := to.Write(buf[:n]); err != nil || writeErr != nil {
			return
		}
	}
}
