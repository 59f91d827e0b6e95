package trial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"strings"
	"time"
)

// stage is the part of an SMTP session in which an error occurred.
type stage string

const (
	stageConnect stage = "connect"
	stageTLS     stage = "STARTTLS"
	stageAuth    stage = "AUTH"
	stageXClient stage = "XCLIENT"
	stageMail    stage = "MAIL FROM"
	stageRcpt    stage = "RCPT TO"
	stageData    stage = "DATA"
)

// failure is an error of an SMTP session.
type failure struct {
	at    stage
	reply *textproto.Error // nil: no reply
	err   error
}

func (f *failure) Error() string { return f.text() }

// text returns the reply or, without a reply, the cause.
func (f *failure) text() string {
	if f.reply != nil {
		return fmt.Sprintf("%d %s", f.reply.Code, oneLine(f.reply.Msg))
	}
	var timeout net.Error
	var socket *net.OpError
	var system *os.SyscallError
	switch {
	case errors.As(f.err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(f.err, io.EOF):
		return "the server closed the connection"
	case errors.As(f.err, &system):
		return system.Err.Error()
	case errors.As(f.err, &socket):
		return socket.Err.Error()
	}
	return oneLine(f.err.Error())
}

// maxReply limits the text of a reply that is shown, in bytes.
const maxReply = 500

// oneLine returns the text of another server as one line, which cannot look like another finding.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxReply {
		text = text[:maxReply] + "..."
	}
	return text
}

func failed(at stage, err error) error {
	if err == nil {
		return nil
	}
	f := &failure{at: at, err: err}
	errors.As(err, &f.reply)
	return f
}

// maxReceived limits the bytes that are read from a connection.
const maxReceived = 1 << 20

// limited is a connection that ends at a point in time, whatever deadlines are set, and after maxReceived bytes.
type limited struct {
	net.Conn
	end  time.Time // zero: does not end
	left int
}

func (c *limited) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.New("the server sent more than a megabyte")
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func (c *limited) until(t time.Time) time.Time {
	if !c.end.IsZero() && (t.IsZero() || t.After(c.end)) {
		return c.end
	}
	return t
}

func (c *limited) SetDeadline(t time.Time) error      { return c.Conn.SetDeadline(c.until(t)) }
func (c *limited) SetReadDeadline(t time.Time) error  { return c.Conn.SetReadDeadline(c.until(t)) }
func (c *limited) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.until(t)) }

// dial connects to a server. The connection has the deadline of ctx.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	end, _ := ctx.Deadline()
	l := &limited{c, end, maxReceived}
	_ = l.SetDeadline(time.Time{}) // the error would be that the connection is closed
	return l, nil
}

// connect dials HOST:PORT. The connection has the deadline of ctx.
func connect(ctx context.Context, server string) (net.Conn, error) {
	c, err := dial(ctx, "tcp", server)
	if err != nil {
		return nil, failed(stageConnect, err)
	}
	return c, nil
}

// submit logs in with SASL PLAIN and sends a message. It returns the reply to the message, and the server's certificate, which is nil
// without TLS. On an address of this host, the certificate is not verified, because it is for the public name of the host. To another
// host, it sends no password without TLS.
func submit(ctx context.Context, s service, o Options, hello, text string) (reply string, certificate *x509.Certificate, err error) {
	conn, err := connect(ctx, s.address)
	if err != nil {
		return "", nil, err
	}
	defer conn.Close()
	host, _, _ := net.SplitHostPort(s.address)
	here := onHost(s.address) == nil
	config := &tls.Config{ServerName: host, InsecureSkipVerify: here}
	if here {
		host = "localhost" // net/smtp sends a password without TLS only to this name
	}
	if s.tls {
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return "", nil, failed(stageTLS, err)
		}
		conn = secure
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return "", nil, failed(stageConnect, err)
	}
	if err := c.Hello(hello); err != nil {
		return "", nil, failed(stageConnect, err)
	}
	if ok, _ := c.Extension("STARTTLS"); ok && !s.tls {
		if err := c.StartTLS(config); err != nil {
			return "", nil, failed(stageTLS, err)
		}
	}
	if state, ok := c.TLSConnectionState(); ok && len(state.PeerCertificates) > 0 {
		certificate = state.PeerCertificates[0]
	} else if !here {
		return "", nil, failed(stageTLS, errors.New("the server does not offer STARTTLS, so no password was sent"))
	}
	if ok, _ := c.Extension("AUTH"); !ok {
		return "", certificate, failed(stageAuth, errors.New("the server does not offer AUTH"))
	}
	if err := c.Auth(smtp.PlainAuth("", o.Login, o.Password, host)); err != nil {
		return "", certificate, failed(stageAuth, err)
	}
	dsn, _ := c.Extension("DSN")
	reply, err = transaction(c.Text, o.From, o.To, text, dsn)
	if err == nil {
		_ = c.Quit() // the message is accepted
	}
	return reply, certificate, err
}

// transaction sends one message and returns the reply to it. With DSN, the sender gets no bounce.
func transaction(t *textproto.Conn, from, to, text string, dsn bool) (string, error) {
	if _, err := command(t, 250, "MAIL FROM:<%s>", from); err != nil {
		return "", failed(stageMail, err)
	}
	notify := ""
	if dsn {
		notify = " NOTIFY=NEVER"
	}
	if _, err := command(t, 25, "RCPT TO:<%s>%s", to, notify); err != nil {
		return "", failed(stageRcpt, err)
	}
	if _, err := command(t, 354, "DATA"); err != nil {
		return "", failed(stageData, err)
	}
	w := t.DotWriter()
	_, err := w.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if err = errors.Join(err, w.Close()); err != nil {
		return "", failed(stageData, err)
	}
	_, reply, err := t.ReadResponse(250)
	return oneLine(reply), failed(stageData, err)
}

// command sends one command and reads the reply.
func command(t *textproto.Conn, want int, format string, args ...any) (string, error) {
	id, err := t.Cmd(format, args...)
	if err != nil {
		return "", err
	}
	t.StartResponse(id)
	defer t.EndResponse(id)
	_, text, err := t.ReadResponse(want)
	return text, err
}
