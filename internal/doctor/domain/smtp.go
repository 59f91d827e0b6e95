package domain

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"net/smtp"
	"time"
)

// maxRead is the maximum number of bytes that are read from a mail server for its certificates; a long chain has 20 KiB.
const maxRead = 256 << 10

var errNoTLS = errors.New("it does not offer STARTTLS")

// served returns the certificates that a mail exchange sends. The exchange's own certificate is first. It does not verify them.
func (l *examination) served(ctx context.Context, host string) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, maxPeer)
	defer cancel()
	c, err := l.connect(ctx, host, l.SMTPPort)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	client, err := smtp.NewClient(&bounded{Conn: c, left: maxRead}, host)
	if err != nil {
		return nil, err
	}
	name := "localhost.localdomain"
	if l.own != nil && l.own.HELO != "" {
		name = l.own.HELO
	}
	if err := client.Hello(name); err != nil {
		return nil, err
	}
	if ok, _ := client.Extension("STARTTLS"); !ok {
		return nil, errNoTLS
	}
	// The caller compares the certificate with the TLSA records: RFC 7672 section 3.1.
	if err := client.StartTLS(&tls.Config{ServerName: host, InsecureSkipVerify: true}); err != nil {
		return nil, err
	}
	state, _ := client.TLSConnectionState()
	_ = client.Quit()
	return state.PeerCertificates, nil
}

// connect tries the addresses of a host in order, and returns the first connection that succeeds.
func (l *examination) connect(ctx context.Context, host string, port uint16) (net.Conn, error) {
	addrs, err := l.addrs(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = errors.New(host + " has no address")
	}
	for _, a := range addrs {
		var c net.Conn
		if c, err = l.Dial(ctx, "tcp", netip.AddrPortFrom(a, port).String()); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// bounded is a connection from which at most left bytes can be read, because net/smtp does not limit the length of a line.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the reply is too long")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
