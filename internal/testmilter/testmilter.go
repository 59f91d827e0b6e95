// Package testmilter plays Postfix's side of a milter connection packet by packet, for tests of what Postfix itself would
// never send.
package testmilter

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// MTA is one connection. Its methods end the test where the connection fails; Conn is for what may.
type MTA struct {
	t testing.TB
	net.Conn
}

// Dial connects; the connection is closed when the test ends.
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
	return &MTA{t, c}
}

// Packet is a packet as it goes over the wire.
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

// Next reads one packet.
func (m *MTA) Next() (code byte, data string) {
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

// Handshake negotiates as Postfix does.
func (m *MTA) Handshake() {
	m.t.Helper()
	m.Send('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff")
	if code, _ := m.Next(); code != 'O' {
		m.t.Fatalf("handshake answered with %q", code)
	}
}

// Connect is the handshake and CONNECT from 192.0.2.10 by SMTP.
func (m *MTA) Connect() {
	m.t.Helper()
	m.ConnectFrom(netip.MustParseAddr("192.0.2.10"), "helo.example")
}

// ConnectFrom is the handshake, CONNECT from a client by SMTP, and its HELO.
func (m *MTA) ConnectFrom(client netip.Addr, helo string) {
	m.t.Helper()
	m.Handshake()
	m.Send('D', "C{client_connections}\x001\x00{client_name}\x00c.example\x00j\x00mx.example\x00")
	family := "4"
	if client.Is6() {
		family = "6"
	}
	m.Send('C', "c.example\x00"+family+"\x00\x19"+client.String()+"\x00")
	m.Send('H', helo+"\x00")
}

// Message sends one up to its end and gives the answers to that, code and data each. A header is "Name\x00 value\x00".
func (m *MTA) Message(sender string, header ...string) (replies []string) {
	m.t.Helper()
	m.Send('M', "<"+sender+">\x00")
	m.Send('R', "<bob@example.net>\x00")
	for _, h := range header {
		m.Send('L', h)
	}
	m.Send('D', "Ni\x00QUEUEID\x00")
	m.Send('N', "")
	m.Send('B', "text\r\n")
	m.Send('D', "Ei\x00QUEUEID\x00")
	m.Send('E', "")
	return m.Answers()
}

// Answers reads up to the answer that ends a message.
func (m *MTA) Answers() (replies []string) {
	m.t.Helper()
	for {
		code, data := m.Next()
		replies = append(replies, string(code)+data)
		if strings.ContainsRune("acdrty", rune(code)) {
			return replies
		}
	}
}
