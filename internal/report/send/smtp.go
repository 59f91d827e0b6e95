package send

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"time"
)

// smtpTimeout is the timeout for one message. Postfix's own limit for a milter at the end of a message is 300 s.
const smtpTimeout = 6 * time.Minute

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
	_ = conn.SetDeadline(time.Now().Add(smtpTimeout)) // fails only if the connection is closed
	host, _, _ := net.SplitHostPort(s.Addr)
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		conn.Close()
		return nil, reply(err)
	}
	if err := c.Hello(s.Name); err != nil {
		c.Close()
		return nil, reply(err)
	}
	dsn, _ := c.Extension("DSN")
	return &Connection{c: c, conn: conn, dsn: dsn}, nil
}

// Close ends the connection.
func (c *Connection) Close() {
	if c.c.Quit() != nil {
		c.c.Close()
	}
}

// Send sends one message. If the server supports DSN, it asks for a bounce with only the header, and for no other notification. A
// *RefusedError means that a retry would not help. After another error, it is not known whether the server has accepted the message.
func (c *Connection) Send(from, to string, message []byte) error {
	_ = c.conn.SetDeadline(time.Now().Add(smtpTimeout)) // as in Dial
	mail, rcpt := "MAIL FROM:<"+from+">", "RCPT TO:<"+to+">"
	if c.dsn {
		mail, rcpt = mail+" RET=HDRS", rcpt+" NOTIFY=FAILURE"
	}
	for _, command := range []string{mail, rcpt} {
		if err := c.command(250, command); err != nil {
			_ = c.c.Reset() // its error adds nothing
			return err
		}
	}
	w, err := c.c.Data()
	if err != nil {
		_ = c.c.Reset()
		return reply(err)
	}
	if _, err := w.Write(message); err != nil {
		return err
	}
	return reply(w.Close())
}

func (c *Connection) command(want int, text string) error {
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
