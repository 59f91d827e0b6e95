// Package testmilter is Postfix's side of a milter connection, for tests. It uses the client of go-milter for the packets that Postfix
// sends, so that an independent implementation checks Signpost's. Packets that Postfix never sends are written as bytes.
package testmilter

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"
)

// Like Postfix, the client offers all actions and all events. A reply has no timeout other than the timeout of the connection.
const (
	allActions = 0x1ff
	allEvents  = 0x1fffff
)

// MTA is one connection. Its methods end the test if the connection fails. A test in which the connection may fail uses Conn.
type MTA struct {
	t testing.TB
	net.Conn
	session *milter.ClientSession
}

// Dial connects to a milter. The connection is closed when the test ends.
func Dial(t testing.TB, network, addr string) *MTA {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &MTA{t: t, Conn: c}
}

// Packet returns a packet as bytes.
func Packet(code byte, data string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data)+1)), append([]byte{code}, data...)...)
}

// Send writes one packet.
func (m *MTA) Send(code byte, data string) {
	m.t.Helper()
	if _, err := m.Write(Packet(code, data)); err != nil {
		m.t.Fatal(err)
	}
}

// next reads one packet.
func (m *MTA) next() (code byte, data string) {
	m.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(m, size[:]); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(m, b); err != nil {
		m.t.Fatal(err)
	}
	return b[0], string(b[1:])
}

// dialed is a milter.Dialer that returns an existing connection.
type dialed struct{ net.Conn }

func (d dialed) Dial(string, string) (net.Conn, error) { return d.Conn, nil }

// Handshake negotiates as Postfix does.
func (m *MTA) Handshake() {
	m.t.Helper()
	var err error
	m.session, err = milter.NewClientWithOptions("", "", milter.ClientOptions{Dialer: dialed{m.Conn}, ActionMask: allActions, ProtocolMask: allEvents}).Session()
	if err != nil {
		m.t.Fatal(err)
	}
}

// must ends the test unless the milter lets the session continue.
func (m *MTA) must(action *milter.Action, err error) {
	m.t.Helper()
	if err != nil || action.Code != milter.ActContinue {
		m.t.Fatalf("%+v %v", action, err)
	}
}

// macros sends the macros of an event. pairs has alternating names and values.
func (m *MTA) macros(event milter.Code, pairs ...string) {
	m.t.Helper()
	if err := m.session.Macros(event, pairs...); err != nil {
		m.t.Fatal(err)
	}
}

// Connect sends the handshake and CONNECT from 192.0.2.10 by SMTP.
func (m *MTA) Connect() {
	m.t.Helper()
	m.ConnectFrom(netip.MustParseAddr("192.0.2.10"), "helo.example")
}

// ConnectFrom sends the handshake, CONNECT from a client by SMTP, and HELO. At CONNECT, it sends the macros that Signpost requests. At
// HELO, it sends Postfix's default macros, which have no value without TLS.
func (m *MTA) ConnectFrom(client netip.Addr, helo string) {
	m.t.Helper()
	m.Handshake()
	family := milter.FamilyInet
	if client.Is6() {
		family = milter.FamilyInet6
	}
	m.macros(milter.CodeConn, "{client_addr}", client.String(), "{client_name}", "c.example", "{client_ptr}", "c.example", "{client_connections}", "1",
		"{daemon_name}", "mx.example", "v", "Postfix 3.7.11", "j", "mx.example")
	m.must(m.session.Conn("c.example", family, 25, client.String()))
	m.macros(milter.CodeHelo)
	m.must(m.session.Helo(helo))
}

// Message sends one message and returns the answers to the end of the message, each as code and data. A header is "Name\x00 value\x00".
// Message sends the macros of a client without a login: the macros that Signpost requests, and Postfix's defaults at RCPT.
func (m *MTA) Message(sender string, header ...string) (replies []string) {
	m.t.Helper()
	const id = "QUEUEID"
	m.macros(milter.CodeMail)
	m.must(m.session.Mail(sender, nil))
	m.macros(milter.CodeRcpt, "{rcpt_addr}", "bob@example.net", "{rcpt_host}", "example.net", "{rcpt_mailer}", "virtual")
	m.must(m.session.Rcpt("bob@example.net", nil))
	for _, h := range header {
		name, value, _ := strings.Cut(strings.TrimSuffix(h, "\x00"), "\x00")
		m.macros(milter.CodeHeader, "i", id)
		m.must(m.session.HeaderField(name, value))
	}
	m.macros(milter.CodeEOH, "i", id)
	m.must(m.session.HeaderEnd())
	m.macros(milter.CodeBody, "i", id)
	m.must(m.session.BodyChunk([]byte("text\r\n")))
	m.macros(milter.CodeEOB, "i", id)
	edits, action, err := m.session.End()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range edits {
		replies = append(replies, edit(e))
	}
	if action.Code == milter.ActReplyCode {
		return append(replies, fmt.Sprintf("y%d %s\x00", action.SMTPCode, action.SMTPText))
	}
	return append(replies, string(action.Code))
}

// edit returns an edit as code and data.
func edit(e milter.ModifyAction) string {
	data := string(e.Code)
	switch e.Code {
	case milter.ActQuarantine:
		return data + e.Reason + "\x00"
	case milter.ActChangeHeader, milter.ActInsertHeader:
		data += string(binary.BigEndian.AppendUint32(nil, e.HeaderIndex))
	}
	return data + e.HeaderName + "\x00" + e.HeaderValue + "\x00"
}

// Answers reads packets up to the answer that ends a message. It is for a message that the test has sent with Send.
func (m *MTA) Answers() (replies []string) {
	m.t.Helper()
	for {
		code, data := m.next()
		replies = append(replies, string(code)+data)
		if strings.ContainsRune("acdrty", rune(code)) {
			return replies
		}
	}
}
