package lookup

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// Server is a socketmap server for all tables of its source.
type Server struct {
	Source  Source
	Timeout time.Duration // of a lookup
	Log     *slog.Logger
}

const (
	maxConnections = 200
	writeTimeout   = 10 * time.Second
)

// Serve answers the clients of ln until ctx ends. Then it closes ln and the connections, and returns nil. If ln fails, it closes the
// connections and returns the error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	var clients sync.WaitGroup
	defer clients.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop() // ends the connections if ln fails
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	slots := make(chan struct{}, maxConnections)
	idle := newIdleClients()
	var logged time.Time
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() { // too few file descriptors
				s.Log.Error("accepting a connection failed, retrying", "error", err)
				time.Sleep(100 * time.Millisecond)
				continue
			}
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			if time.Since(logged) >= logInterval {
				s.Log.Warn("too many connections of table clients, closing the one that is idle for the longest time", "limit", maxConnections)
				logged = time.Now()
			}
			if !idle.closeOldest() {
				c.Close()
				continue
			}
			slots <- struct{}{} // the closed connection releases its slot
		}
		idle.add(c) // here, so that the order is that of the connections
		clients.Go(func() {
			defer func() { <-slots }()
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			if err := s.answer(ctx, c, idle); err != nil && ctx.Err() == nil {
				s.Log.Warn("a connection of a table client ended", "error", err)
			}
		})
	}
}

// answer reads the requests of one client, which is idle, and writes the replies, one after the other. A client that does not wait for the reply is not an
// error: its own time limit may have ended, in an outage at each lookup.
func (s *Server) answer(ctx context.Context, c net.Conn, idle *idleClients) (err error) {
	defer func() {
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			err = nil
		}
	}()
	in := bufio.NewReader(c)
	for ; ; idle.add(c) {
		request, err := readNetstring(in, maxRequest)
		if !idle.remove(c) { // it was closed for a new client
			return nil
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.SetWriteDeadline(time.Now().Add(s.Timeout + writeTimeout)); err != nil {
			return err
		}
		if _, err := c.Write(netstring(s.reply(ctx, request))); err != nil {
			return err
		}
	}
}

func (s *Server) reply(ctx context.Context, request string) string {
	name, key, ok := splitRequest(request)
	if !ok {
		return reply(Answer{}, &Error{Permanent, "", "the request must have the form NAME KEY"})
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	answer, err := s.Source.Lookup(ctx, tableOf(name), key)
	if err == nil && len("OK ")+len(answer.Value) > maxReply {
		err = &Error{Permanent, name, "the value is longer than the protocol permits"}
	}
	return reply(answer, err)
}
