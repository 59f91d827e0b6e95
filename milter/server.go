package milter

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Server serves milter connections on any number of listeners.
type Server struct {
	options Options
	slots   chan struct{} // one slot for each connection that may be open
	buffers buffers       // for reading

	work    chan *session // to a goroutine that waits in serveSessions
	waiting chan struct{} // one slot for each of these goroutines

	mu    sync.Mutex
	conns map[*conn]struct{}
	done  sync.WaitGroup
}

// NewServer returns a Server with these options. Call Serve to start it.
func NewServer(o Options) *Server {
	if o.Connections <= 0 {
		o.Connections = DefaultConnections
	}
	return &Server{
		options: o, slots: make(chan struct{}, o.Connections), buffers: make(buffers, keptBuffers),
		work: make(chan *session), waiting: make(chan struct{}, keptGoroutines),
		conns: map[*conn]struct{}{},
	}
}

// Serve accepts connections on ln until ctx ends. Then it closes ln and returns nil. Open connections continue; call Drain to close them.
// Serve also ends if ln fails, and returns that error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		select {
		case s.slots <- struct{}{}:
		default:
			s.options.Log.Warn("too many milter connections, new ones wait", "limit", s.options.Connections)
			select {
			case s.slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
		}
		nc, err := accept(ctx, ln, s.options)
		if err != nil {
			<-s.slots
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		s.serve(nc)
	}
}

// accept accepts a connection. It retries after errors, such as a lack of file descriptors, until ctx ends or ln is closed.
func accept(ctx context.Context, ln net.Listener, o Options) (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		nc, err := ln.Accept()
		if err == nil {
			return nc, nil
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		o.Log.Error("accepting a milter connection failed, retrying", "error", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

func (s *Server) serve(nc net.Conn) {
	// This context is not derived from that of Serve, because messages in progress continue after Serve ends.
	ctx, cancel := context.WithCancel(context.Background())
	c, err := newConn(nc, s.buffers, cancel)
	if err != nil {
		s.options.Log.Error("a milter connection cannot be used", "error", err)
		cancel()
		nc.Close()
		<-s.slots
		return
	}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.done.Add(1)
	session := &session{ctx: ctx, conn: c, options: s.options}
	select {
	case s.work <- session:
	default:
		go s.serveSessions(session)
	}
}

// keptGoroutines is the number of goroutines that wait for another connection. The stack of such a goroutine already has the size that a
// message needs. Growing the stack of a new goroutine took 6 % of the processor time of a small message.
const keptGoroutines = 16

// serveSessions serves the session, and then others, until enough other goroutines wait for one or Drain is called.
func (s *Server) serveSessions(session *session) {
	for waits := true; waits; {
		s.serveSession(session)
		select {
		case s.waiting <- struct{}{}:
			session, waits = <-s.work
			<-s.waiting
		default:
			waits = false
		}
	}
}

func (s *Server) serveSession(session *session) {
	defer s.done.Done()
	c := session.conn
	if err := session.run(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.options.Log.Warn("milter connection ended", "remote", c.RemoteAddr().String(), "error", err)
	}
	c.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	<-s.slots
}

// If a connection has no message in progress, Drain closes it after idleGrace. Postfix buffers events that need no reply, so a message may
// be in progress although none of its events has arrived.
const idleGrace = time.Second

// Drain closes all connections. If a connection has a message in progress, Drain closes it at the end of the message. It closes all other
// connections after idleGrace. When ctx ends, it closes the remaining connections. Call it once, after Serve has returned.
func (s *Server) Drain(ctx context.Context) {
	close(s.work)
	ended := make(chan struct{})
	go func() {
		s.done.Wait()
		close(ended)
	}()
	for _, c := range s.open() {
		c.drain()
	}
	select {
	case <-ended:
		return
	case <-time.After(idleGrace):
	}
	for _, c := range s.open() {
		c.closeIdle()
	}
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	for _, c := range s.open() {
		c.Close()
	}
	<-ended
}

// Full reports whether all slots are in use. Each Serve that waits for a connection uses one slot.
func (s *Server) Full() bool { return len(s.slots) == cap(s.slots) }

// Connections returns the number of open connections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) open() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		open = append(open, c)
	}
	return open
}
