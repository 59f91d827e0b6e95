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
	slots   chan struct{} // one for each connection that may be open
	buffers buffers       // for what is read

	mu    sync.Mutex
	conns map[*conn]struct{}
	done  sync.WaitGroup
}

// NewServer returns a Server. Call Serve to start it.
func NewServer(o Options) *Server {
	if o.Connections <= 0 {
		o.Connections = DefaultConnections
	}
	return &Server{options: o, slots: make(chan struct{}, o.Connections), buffers: make(buffers, keptBuffers), conns: map[*conn]struct{}{}}
}

// Serve accepts connections on ln until ctx ends, then closes ln and returns nil. Connections continue: see Drain.
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

// accept retries after temporary errors, such as a lack of file descriptors.
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
	// Not a child of Serve's context: a drain lets messages end.
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
	s.done.Go(func() {
		session := &session{ctx: ctx, conn: c, options: s.options}
		if err := session.run(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			s.options.Log.Warn("milter connection ended", "remote", nc.RemoteAddr().String(), "error", err)
		}
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		<-s.slots
	})
}

// idleGrace is how long a connection without a message stays open when a drain begins. Postfix holds back events that need no
// reply, so a message may be under way although nothing of it has arrived yet.
const idleGrace = time.Second

// Drain ends all connections: those with a message after it, the others after idleGrace, and the rest when ctx ends. Call it
// after Serve has returned.
func (s *Server) Drain(ctx context.Context) {
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

// Full reports whether all connections are in use, except the one that each Serve reserves before it accepts.
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
