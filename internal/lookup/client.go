package lookup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// Client is a client of a socketmap server. It keeps a few connections open.
type Client struct {
	network, address string
	name             string // of the table at the server; empty: the table of the lookup
	idle             chan *link
}

// link is an open connection.
type link struct {
	net.Conn
	in *bufio.Reader
}

const idleLinks = 4

// NewClient returns a Client for the server at address; network is "unix" or "tcp".
func NewClient(network, address string) *Client {
	return &Client{network: network, address: address, idle: make(chan *link, idleLinks)}
}

// ParseSocketmap returns a Client for a table of type socketmap, as in main.cf: socketmap:unix:PATH:NAME or socketmap:inet:HOST:PORT:NAME.
func ParseSocketmap(table string) (*Client, error) {
	wrong := fmt.Errorf("%q is not a socketmap: it must have the form socketmap:unix:PATH:NAME or socketmap:inet:HOST:PORT:NAME", table)
	after, isSocketmap := strings.CutPrefix(table, "socketmap:")
	network, rest, _ := strings.Cut(after, ":")
	i := strings.LastIndexByte(rest, ':') // as Postfix does
	if !isSocketmap || i <= 0 || i == len(rest)-1 {
		return nil, wrong
	}
	address := rest[:i]
	switch network {
	case "unix":
		if !strings.HasPrefix(address, "/") {
			return nil, wrong
		}
	case "inet":
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, wrong
		}
		network = "tcp"
	default:
		return nil, wrong
	}
	c := NewClient(network, address)
	c.name = rest[i+1:]
	return c, nil
}

// Sockets returns the paths of the unix sockets in tables of type socketmap.
func Sockets(tables []string) (paths []string) {
	for _, table := range tables {
		if c, err := ParseSocketmap(table); err == nil && c.network == "unix" {
			paths = append(paths, c.address)
		}
	}
	return paths
}

// Lookup implements Source.
func (c *Client) Lookup(ctx context.Context, table, key string) (Answer, error) {
	name := c.name
	if name == "" {
		var err error
		if name, err = check(table, key); err != nil {
			return Answer{}, err
		}
	} else if _, err := check("socketmap:"+name, key); err != nil {
		return Answer{}, err
	}
	request := netstring(name + " " + key)
	for {
		l, used, err := c.open(ctx)
		if err != nil {
			return Answer{}, failed(table, describe(err))
		}
		text, err := l.ask(ctx, request)
		if err == nil {
			c.keep(l)
			return parseReply(table, text)
		}
		l.Close()
		// The server may have closed a connection that was idle.
		if used && ctx.Err() == nil && !isTimeout(err) {
			continue
		}
		return Answer{}, failed(table, describe(err))
	}
}

// open returns an idle connection, or a new one. used reports whether it is not new.
func (c *Client) open(ctx context.Context) (l *link, used bool, err error) {
	for {
		select {
		case l := <-c.idle:
			if l.quiet() {
				return l, true, nil
			}
			l.Close()
			continue
		default:
		}
		break
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, c.network, c.address)
	if err != nil {
		return nil, false, err
	}
	return &link{conn, bufio.NewReader(conn)}, false, nil
}

// quiet reports whether the idle connection is open and has no bytes to read. Such bytes would be taken as the reply to the next request.
func (l *link) quiet() bool {
	conn, ok := l.Conn.(syscall.Conn)
	if !ok || l.in.Buffered() > 0 || l.SetDeadline(time.Time{}) != nil {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var reading error
	err = raw.Read(func(fd uintptr) bool {
		_, reading = syscall.Read(int(fd), make([]byte, 1)) // the descriptor is non-blocking
		return true
	})
	return err == nil && (errors.Is(reading, syscall.EAGAIN) || errors.Is(reading, syscall.EINTR))
}

func (c *Client) keep(l *link) {
	select {
	case c.idle <- l:
	default:
		l.Close()
	}
}

// ask sends a request and returns the reply. It returns an error when ctx ends.
func (l *link) ask(ctx context.Context, request []byte) (string, error) {
	deadline, _ := ctx.Deadline() // none: zero, so no deadline
	if err := l.SetDeadline(deadline); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })
	_, err := l.Write(request)
	var text string
	if err == nil {
		text, err = readNetstring(l.in, maxReply)
	}
	switch {
	case !stop():
		return "", ctx.Err() // the connection cannot be used again, because its deadline may be set at any time
	case err == nil && l.in.Buffered() > 0:
		return "", errors.New("the table server sent more than one reply")
	case errors.Is(err, errNetstring):
		return "", errors.New("the table server sent a reply that does not follow socketmap_table(5)")
	}
	return text, noEOF(err)
}

// describe returns the error in the words of an operator instead of those of Go's library.
func describe(err error) error {
	switch {
	case isTimeout(err):
		return err
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return errors.New("the table server is not running")
	case errors.Is(err, syscall.EACCES):
		return errors.New("permission denied at the socket of the table server")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("the table server closed the connection without a reply")
	}
	return err
}
