package send

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"slices"
	"time"
)

// The timeouts of RFC 5321 section 4.5.3.2. With a shorter timeout after the message, a slow server would get the same copy again.
const (
	replyTimeout = 5 * time.Minute  // the greeting, and replies to EHLO, MAIL and RCPT
	dataTimeout  = 2 * time.Minute  // the reply to DATA
	blockTimeout = 3 * time.Minute  // writing one block of the message
	endTimeout   = 10 * time.Minute // the reply to the message
	quitTimeout  = 10 * time.Second // the reply to QUIT and RSET, which do not matter: no limit of RFC 5321
	blockSize    = 32 << 10         // bytes
)

// RefusedError is the error of a message that the server rejects for good: a reply 5xx.
type RefusedError struct {
	Code int
	Text string
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Text) }

// Server is a client of the SMTP server that relays the reports. It uses no TLS, because the server is usually on the same host.
type Server struct {
	Addr string // HOST:PORT
	Name string // for EHLO
}

// Connection is a connection to the server. Close it after use.
type Connection struct {
	c    *smtp.Client
	conn net.Conn
	dsn  bool // RFC 3461
}

// Dial connects to the server.
func (s Server) Dial(ctx context.Context) (*Connection, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	return s.greet(conn)
}

// greet begins an SMTP session on a connection, which it closes after an error.
func (s Server) greet(conn net.Conn) (*Connection, error) {
	c := &Connection{conn: conn}
	c.limit(replyTimeout)
	host, _, _ := net.SplitHostPort(s.Addr)
	var err error
	if c.c, err = smtp.NewClient(conn, host); err != nil {
		conn.Close()
		return nil, reply(err)
	}
	c.limit(replyTimeout)
	if err := c.c.Hello(s.Name); err != nil {
		c.c.Close()
		return nil, reply(err)
	}
	c.dsn, _ = c.c.Extension("DSN")
	return c, nil
}

// limit sets the timeout of the next step.
func (c *Connection) limit(timeout time.Duration) {
	_ = c.conn.SetDeadline(time.Now().Add(timeout)) // fails only if the connection is closed
}

// Close ends the connection.
func (c *Connection) Close() {
	c.limit(quitTimeout)
	if c.c.Quit() != nil {
		c.c.Close()
	}
}

// Send sends one message. If the server supports DSN, it asks for a bounce with only the header, and for no other notification. A
// *RefusedError means that a retry would not help. After another error, it is not known whether the server has accepted the message.
func (c *Connection) Send(from, to string, message []byte) error {
	mail, rcpt := "MAIL FROM:<"+from+">", "RCPT TO:<"+to+">"
	if c.dsn {
		mail, rcpt = mail+" RET=HDRS", rcpt+" NOTIFY=FAILURE"
	}
	for _, command := range []string{mail, rcpt} {
		if err := c.command(250, command); err != nil {
			c.reset()
			return err
		}
	}
	c.limit(dataTimeout)
	w, err := c.c.Data()
	if err != nil {
		c.reset()
		return reply(err)
	}
	for block := range slices.Chunk(message, blockSize) {
		c.limit(blockTimeout)
		if _, err := w.Write(block); err != nil {
			return err
		}
	}
	c.limit(endTimeout)
	return reply(w.Close())
}

// reset ends a transaction. Its error adds nothing to the one before.
func (c *Connection) reset() {
	c.limit(quitTimeout)
	_ = c.c.Reset()
}

func (c *Connection) command(want int, text string) error {
	c.limit(replyTimeout)
	id, err := c.c.Text.Cmd("%s", text)
	if err != nil {
		return err
	}
	c.c.Text.StartResponse(id)
	defer c.c.Text.EndResponse(id)
	_, _, err = c.c.Text.ReadResponse(want)
	return reply(err)
}

// lost returns err if the connection cannot be used after it: err is not a reply of the server.
func lost(err error) error {
	var r *textproto.Error
	if errors.As(err, &r) && r.Code != 421 {
		return nil
	}
	return err
}

// reply converts a reply 5xx to a RefusedError.
func reply(err error) error {
	var r *textproto.Error
	if errors.As(err, &r) && r.Code >= 500 {
		return &RefusedError{r.Code, r.Msg}
	}
	return err
}
